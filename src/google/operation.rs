//! Long-running operations. They are polled until they are done, and their errors are presented as
//! errors of the request. <https://google.aip.dev/151>

use std::time::Duration;

use reqwest::{Method, Url};
use serde::Deserialize;
use serde_json::Value;

use super::error::GoogleError;
use super::refusal::Rpc;
use super::{Api, Backoff, Google};

/// A long-running operation of an API.
#[derive(Debug, Deserialize)]
pub struct Operation {
    /// The path of the operation below `v1/`.
    pub name: String,
    #[serde(default)]
    done: bool,
    error: Option<Rpc>,
    response: Option<Value>,
}

/// The time limit of an operation. gcloud waits half an hour; the operations used here have not
/// been seen to take more than a minute.
const LIMIT: Duration = Duration::from_secs(10 * 60);

impl Google {
    /// Waits until `operation` of `api` is done, and returns its result. `request` is the request
    /// that started it.
    ///
    /// # Errors
    ///
    /// If it ends in an error, or is not done in time.
    pub async fn wait_operation(
        &self,
        api: Api,
        mut operation: Operation,
        request: (Method, Url),
    ) -> Result<Value, GoogleError> {
        let mut backoff = Backoff::new(LIMIT);
        while !operation.done {
            if !backoff.wait().await {
                let (method, url) = request;
                return Err(GoogleError::not_done(&method, &url, operation.name));
            }
            let url = api.url(&format!("v1/{}", operation.name));
            operation = self.get(url).await?;
        }
        match operation.error {
            Some(error) => Err(GoogleError::of_operation(request.0, request.1, error)),
            None => Ok(operation.response.unwrap_or_default()),
        }
    }
}
