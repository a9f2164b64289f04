//! One request as a service gets it: its parts, its credentials and its query.

use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::{HeaderMap, Method, header};

use crate::behaviour::Behaviour;
use crate::body::Upload;
use crate::hosts::RequestedHost;
use crate::server::Shared;

/// A request and everything that is needed to answer it.
pub(crate) struct Call {
    pub(crate) shared: Arc<Shared>,
    pub(crate) behaviour: Arc<Behaviour>,
    pub(crate) site: RequestedHost,
    pub(crate) method: Method,
    pub(crate) query: Query,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Upload,
    /// See `FaultAction::ForgetBlobs`.
    pub(crate) forget_blobs: bool,
}

impl Call {
    /// A header as text.
    pub(crate) fn header(&self, name: header::HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// True if a header gives the length of the body, or says that it is chunked.
    pub(crate) fn has_length(&self) -> bool {
        self.headers.contains_key(header::CONTENT_LENGTH)
            || (self.behaviour.chunked_coding
                && self.headers.contains_key(header::TRANSFER_ENCODING))
    }

    /// The `Host` header names another host than the one the tunnel was opened to.
    pub(crate) fn is_sent_to_wrong_host(&self) -> bool {
        let host = self.header(header::HOST).unwrap_or_default();
        let host = host.strip_suffix(":443").unwrap_or(host);
        self.site.tunnel && !host.is_empty() && host != self.site.host
    }
}

/// A decoded query, in order and with repetitions.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn parse(query: &str) -> Self {
        let pairs = url::form_urlencoded::parse(query.as_bytes());
        Self(pairs.into_owned().collect())
    }

    /// All parameters, in order.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        let pairs = self.0.iter();
        pairs.map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The first value of a parameter.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(key, _)| key == name)?;
        Some(&found.1)
    }

    /// All values of a parameter.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let pairs = self.0.iter().filter(move |(key, _)| key == name);
        pairs.map(|(_, value)| value.as_str())
    }
}

/// User and password of a Basic credential (RFC 7617).
pub(crate) fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let decoded = BASE64_STANDARD.decode(credential(headers, "basic")?).ok()?;
    let text = String::from_utf8(decoded).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

/// The token of a Bearer credential (RFC 6750).
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    credential(headers, "bearer")
}

fn credential<'a>(headers: &'a HeaderMap, wanted: &str) -> Option<&'a str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, credential) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case(wanted)
        .then_some(credential.trim())
}
