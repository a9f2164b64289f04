//! Requests on their way to a registry. Redirects are followed here and not by reqwest, so that a
//! PUT stays a PUT, a login goes to the registry's own host and port alone, and an error names the
//! host that it is about.

use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Method, RequestBuilder, Response, Url};

use super::RegistryError;
use super::error::redacted;
use super::hints::host;
use crate::http::{
    MAX_REDIRECTS, RateLimiter, RedirectError, RegistryClients, UploadClient, redirect_target,
    send_logged,
};

/// How often a request is sent again that the connection was closed for before it went out.
const RESENDS: u32 = 2;

/// The clients for one registry.
#[derive(Clone)]
pub(super) struct Transport(RegistryClients);

/// One request, but for its body and its further headers.
pub(super) struct Ask<'a> {
    pub(super) method: Method,
    pub(super) url: &'a Url,
    pub(super) authorization: Option<HeaderValue>,
}

impl Transport {
    pub(super) fn new(clients: RegistryClients) -> Self {
        Self(clients)
    }

    /// The client for blobs that are sent.
    pub(super) fn uploads(&self) -> &UploadClient {
        &self.0.uploads
    }

    /// A request that sends a blob, for [`Self::uploads`].
    pub(super) fn upload_request(&self, url: Url) -> RequestBuilder {
        self.0.requests.put(url)
    }

    /// Sends a request to where it leads in the end; the status is the caller's to judge.
    ///
    /// # Errors
    ///
    /// When there is no answer, or it redirects to where must not be followed.
    pub(super) async fn send(
        &self,
        ask: Ask<'_>,
        pace: &RateLimiter,
        complete: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<Response, RegistryError> {
        let Ask {
            method,
            url,
            authorization,
        } = ask;
        let mut at = url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let mut request = self.0.requests.request(method.clone(), at.clone());
            if let Some(header) = &authorization
                && at.origin() == url.origin()
            {
                request = request.header(AUTHORIZATION, header.clone());
            }
            let answer = deliver(complete(request), &shown(&method, url, &at))
                .await
                .map_err(|cause| {
                    RegistryError::broken(method.clone(), url.clone(), cause.without_url()).at(&at)
                })?;
            match redirect_target(&method, &answer) {
                Ok(None) => return Ok(answer),
                Ok(Some(next)) => at = next,
                Err(cause) => {
                    return Err(RegistryError::broken(method, url.clone(), cause).at(&at));
                }
            }
            if at.origin() == url.origin() {
                pace.count();
            }
        }
        Err(RegistryError::broken(
            method,
            url.clone(),
            RedirectError::TooMany,
        ))
    }
}

/// What the log shows of where a request goes: of a redirect the host alone, because its path and
/// query may be all that it takes to read a blob.
fn shown(method: &Method, url: &Url, at: &Url) -> String {
    if at == url {
        redacted(method, url)
    } else {
        format!("{}://{}/...", at.scheme(), host(at))
    }
}

/// Sends a request once, and again where the connection was closed before any of it went out.
async fn deliver(request: RequestBuilder, address: &str) -> reqwest::Result<Response> {
    let mut resends = 0;
    loop {
        let Some(again) = request.try_clone() else {
            return send_logged(request, address).await;
        };
        match send_logged(again, address).await {
            Err(error) if resends < RESENDS && was_not_sent(&error) => resends += 1,
            answer => return answer,
        }
    }
}

/// True when hyper says that it had not begun to send, and no cause says why: a server that ends
/// the connection at once has its reason told by the next one.
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
