//! Signs the assertion of a service-account key. This is the only file that uses yup-oauth2.
//!
//! yup-oauth2 is only used to sign. Its own exchange reads responses of any length, panics on a
//! lifetime that no calendar can hold, and drops the status and the text of an error. So it gets a
//! connection that leads nowhere, and the assertion that it writes to it is sent by the HTTP client
//! of all other exchanges.

use std::future::{Ready, ready};
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use parking_lot::Mutex;

use http::Uri;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::AsyncReadExt as _;
use tokio::net::UnixStream;
use tower_service::Service;
use yup_oauth2::authenticator::Authenticator;
use yup_oauth2::{CustomHyperClientBuilder, ServiceAccountAuthenticator};

use super::key::ServiceAccountKey;
use crate::auth::exchange::SCOPE;
use crate::diagnostics::secret::Secret;

/// Signs with one key.
pub(crate) struct Signer {
    authenticator: Authenticator<AssertionCapture>,
    sent: Arc<Mutex<Option<Secret>>>,
}

impl Signer {
    /// Loads the key.
    pub(crate) async fn new(key: &ServiceAccountKey) -> io::Result<Self> {
        let key = yup_oauth2::ServiceAccountKey {
            key_type: Some("service_account".to_owned()),
            project_id: key.project_id.clone(),
            private_key_id: key.id().map(str::to_owned),
            private_key: key.private_key.expose().to_owned(),
            client_email: key.client_email.clone(),
            client_id: None,
            auth_uri: None,
            token_uri: key.token_uri.clone(),
            auth_provider_x509_cert_url: None,
            client_x509_cert_url: None,
        };
        let sent = Arc::default();
        let nowhere = AssertionCapture {
            sent: Arc::clone(&sent),
        };
        let client = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .build(nowhere);
        let client = CustomHyperClientBuilder::from(client);
        let authenticator = ServiceAccountAuthenticator::with_client(key, client);
        Ok(Self {
            authenticator: authenticator.build().await?,
            sent,
        })
    }

    /// Signs an assertion that is valid for an hour.
    pub(crate) async fn assertion(&self) -> io::Result<Secret> {
        // The result is ignored, because no real server answers.
        let _ = self.authenticator.force_refreshed_token(&[SCOPE]).await;
        let mut sent = self.sent.lock();
        sent.take()
            .ok_or_else(|| io::Error::other("the key cannot sign"))
    }
}

/// A connector that opens no connection. It receives a request and stores the assertion in it.
#[derive(Clone)]
struct AssertionCapture {
    sent: Arc<Mutex<Option<Secret>>>,
}

impl Service<Uri> for AssertionCapture {
    type Response = TokioIo<UnixStream>;
    type Error = io::Error;
    type Future = Ready<io::Result<Self::Response>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _destination: Uri) -> Self::Future {
        ready(UnixStream::pair().map(|(ours, theirs)| {
            let sent = Arc::clone(&self.sent);
            tokio::spawn(async move {
                let mut theirs = theirs;
                let Ok(form) = receive(&mut theirs).await else {
                    return;
                };
                let mut pairs = url::form_urlencoded::parse(&form);
                let assertion = pairs.find(|(name, _)| name == "assertion");
                let assertion = assertion.map(|(_, value)| Secret::new(value));
                // The assertion must be stored before the connection ends, because it is read then.
                *sent.lock() = assertion;
            });
            TokioIo::new(ours)
        }))
    }
}

/// Reads the body of one request.
async fn receive(stream: &mut UnixStream) -> io::Result<Vec<u8>> {
    let mut request = Vec::new();
    loop {
        if stream.read_buf(&mut request).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let text = String::from_utf8_lossy(&request);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            let is_length = name.eq_ignore_ascii_case("content-length");
            is_length.then(|| value.trim().parse::<usize>().ok())?
        });
        if length.is_some_and(|length| body.len() >= length) {
            return Ok(body.as_bytes().to_vec());
        }
    }
}
