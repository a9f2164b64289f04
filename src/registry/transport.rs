//! Sends requests to a registry and follows redirects. reqwest does not follow them, so that a PUT
//! stays a PUT, credentials are sent only to the registry's own host and port, and an error names
//! the host that failed.

use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Method, RequestBuilder, Response, Url};

use super::RegistryError;
use crate::http::{
    MAX_REDIRECTS, RateLimiter, RedirectError, RegistryClients, UploadClient, host, redacted,
    redirect_target, send_logged,
};

/// How often a request is repeated if the connection was closed before it was sent.
const MAX_RESENDS: u32 = 2;

/// The HTTP clients for one registry.
#[derive(Clone)]
pub(super) struct Transport(RegistryClients);

/// A request without its body and its other headers.
pub(super) struct RegistryRequest<'a> {
    pub(super) method: Method,
    pub(super) url: &'a Url,
    pub(super) authorization: Option<HeaderValue>,
}

impl Transport {
    pub(super) fn new(clients: RegistryClients) -> Self {
        Self(clients)
    }

    /// The client for uploads of blobs.
    pub(super) fn uploads(&self) -> &UploadClient {
        &self.0.uploads
    }

    /// Builds an upload request, for [`Self::uploads`].
    pub(super) fn upload_request(&self, url: Url) -> RequestBuilder {
        self.0.requests.put(url)
    }

    /// Sends a request and follows redirects. The caller checks the status.
    ///
    /// # Errors
    ///
    /// If there is no response, or a redirect must not be followed.
    pub(super) async fn send(
        &self,
        request: RegistryRequest<'_>,
        rate_limiter: &RateLimiter,
        complete: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<Response, RegistryError> {
        let RegistryRequest {
            method,
            url,
            authorization,
        } = request;
        let mut at = url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let mut request = self.0.requests.request(method.clone(), at.clone());
            if let Some(header) = &authorization
                && at.origin() == url.origin()
            {
                request = request.header(AUTHORIZATION, header.clone());
            }
            let response = send_once(complete(request), &logged_url(&method, url, &at))
                .await
                .map_err(|cause| {
                    RegistryError::connection_failed(
                        method.clone(),
                        url.clone(),
                        cause.without_url(),
                    )
                    .at(&at)
                })?;
            match redirect_target(&method, &response) {
                Ok(None) => return Ok(response),
                Ok(Some(next)) => at = next,
                Err(cause) => {
                    return Err(
                        RegistryError::connection_failed(method, url.clone(), cause).at(&at)
                    );
                }
            }
            if at.origin() == url.origin() {
                rate_limiter.count();
            }
        }
        Err(RegistryError::connection_failed(
            method,
            url.clone(),
            RedirectError::TooMany,
        ))
    }
}

/// The URL of a request in the log. After a redirect it is only the host, because the path and
/// query may permit reading the blob.
fn logged_url(method: &Method, url: &Url, at: &Url) -> String {
    if at == url {
        redacted(method, url)
    } else {
        format!("{}://{}/...", at.scheme(), host(at))
    }
}

/// Sends a request, and repeats it if the connection was closed before any of it was sent.
async fn send_once(request: RequestBuilder, address: &str) -> reqwest::Result<Response> {
    let mut resends = 0;
    loop {
        let Some(again) = request.try_clone() else {
            return send_logged(request, address).await;
        };
        match send_logged(again, address).await {
            Err(error) if resends < MAX_RESENDS && was_not_sent(&error) => resends += 1,
            response => return response,
        }
    }
}

/// True if hyper had not started to send, and no other cause explains the failure. If a server
/// closes every connection at once, the next try reports the reason.
fn was_not_sent(error: &reqwest::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<hyper::Error>() {
            let deeper = std::error::Error::source(error);
            return error.is_canceled()
                && deeper.is_none_or(|deeper| deeper.to_string() == "connection was not ready");
        }
        cause = error.source();
    }
    false
}
