//! Long-running operations: polled until they are done, and their errors told as if the request
//! itself had been refused.
//! <https://google.aip.dev/151>

use std::time::Duration;

use reqwest::{Method, Url};
use serde::Deserialize;
use serde_json::Value;

use super::error::GoogleError;
use super::refusal::Rpc;
use super::{Api, Backoff, Google};

/// What an API gives in place of a result that takes a while.
#[derive(Debug, Deserialize)]
pub struct Operation {
    /// The operation's path below `v1/`.
    pub name: String,
    #[serde(default)]
    done: bool,
    error: Option<Rpc>,
    response: Option<Value>,
}

/// How long an operation may take. gcloud waits half an hour; none of ours has been seen to take
/// more than a minute.
const LIMIT: Duration = Duration::from_secs(10 * 60);

impl Google {
    /// Waits until `operation` of `api` is done, and gives its result; `asked` is the request that
    /// began it.
    ///
    /// # Errors
    ///
    /// When it ends in an error, or not in time.
    pub async fn wait_operation(
        &self,
        api: Api,
        mut operation: Operation,
        asked: (Method, Url),
    ) -> Result<Value, GoogleError> {
        let mut patience = Backoff::new(LIMIT);
        while !operation.done {
            if !patience.wait().await {
                let (method, url) = asked;
                return Err(GoogleError::unfinished(method, url, operation.name));
            }
            let url = api.url(&format!("v1/{}", operation.name));
            operation = self.get(url).await?;
        }
        match operation.error {
            Some(error) => Err(GoogleError::of_operation(asked.0, asked.1, error)),
            None => Ok(operation.response.unwrap_or_default()),
        }
    }
}
