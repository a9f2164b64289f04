//! What a connection failed on, told by the chain of causes that an HTTP client leaves.

use std::error::Error;
use std::io;

use crate::error::ExitCode;

/// What a connection failed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Nobody that is trusted signed the certificate, or it is for another host.
    Certificate,
    /// What answers speaks no TLS.
    NoTls,
    /// What answers speaks no HTTP that can be read.
    NoHttp,
    /// No name server knows the host.
    Name,
    /// The proxy asks who we are.
    ProxyLogin,
    /// The proxy does not connect us.
    ProxyRefusal,
    /// The proxy itself cannot be reached.
    ProxyAway,
    /// Nothing came for too long.
    Stalled,
    /// It leads to where it must not be followed.
    Redirect,
    /// There is no connection.
    Unreachable,
    /// There was a connection, and it broke.
    Broken,
}

impl Trouble {
    /// Looks for what is known in a chain of causes.
    pub fn of(error: &(dyn Error + 'static)) -> Self {
        let mut trouble = Self::Broken;
        for cause in chain(error) {
            if let Some(found) = Self::of_one(cause) {
                // The deeper the cause, the more it tells; only a proxy's own failure is told
                // apart by what stands above it.
                match (trouble, found) {
                    (Self::ProxyAway, _) => return trouble,
                    // A connection that takes too long to be made is none.
                    (Self::Unreachable, Self::Stalled) => {}
                    _ => trouble = found,
                }
            }
        }
        trouble
    }

    fn of_one(error: &(dyn Error + 'static)) -> Option<Self> {
        if let Some(error) = error.downcast_ref::<rustls::Error>() {
            return match error {
                rustls::Error::InvalidCertificate(_) => Some(Self::Certificate),
                rustls::Error::InvalidMessage(_) => Some(Self::NoTls),
                _ => None,
            };
        }
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return (error.kind() == io::ErrorKind::TimedOut).then_some(Self::Stalled);
        }
        if let Some(error) = error.downcast_ref::<hyper::Error>() {
            return error.is_parse().then_some(Self::NoHttp);
        }
        if let Some(error) = error.downcast_ref::<reqwest::Error>() {
            return match error {
                _ if error.is_connect() => Some(Self::Unreachable),
                _ if error.is_timeout() => Some(Self::Stalled),
                _ if error.is_redirect() => Some(Self::Redirect),
                _ => None,
            };
        }
        if let Some(error) = error.downcast_ref::<hyper_util::client::legacy::Error>() {
            return error.is_connect().then_some(Self::Unreachable);
        }
        // The types of these two are private to hyper-util; a test has their texts.
        let text = error.to_string();
        if text.starts_with("dns error") {
            return Some(Self::Name);
        }
        match text.strip_prefix("tunnel error: ")? {
            "proxy authorization required" => Some(Self::ProxyLogin),
            "failed to create underlying connection" => Some(Self::ProxyAway),
            _ => Some(Self::ProxyRefusal),
        }
    }

    /// True when there may be nobody there, or no way to them.
    pub(crate) fn is_absence(self) -> bool {
        matches!(
            self,
            Self::Name | Self::Unreachable | Self::ProxyAway | Self::ProxyRefusal
        )
    }

    /// What the process exits with.
    pub fn exit_code(self) -> ExitCode {
        match self {
            Self::Certificate | Self::NoTls | Self::NoHttp | Self::Redirect => ExitCode::Failed,
            Self::ProxyLogin => ExitCode::Denied,
            Self::Name
            | Self::ProxyRefusal
            | Self::ProxyAway
            | Self::Stalled
            | Self::Unreachable
            | Self::Broken => ExitCode::Temporary,
        }
    }

    /// What to do about it, where `host` was to be met.
    pub fn hint(self, host: &str) -> String {
        match self {
            Self::Certificate => {
                "if a company proxy or a private registry signed this certificate, give its root \
                 in `ca_certificates`"
                    .to_owned()
            }
            Self::NoTls => format!(
                "`{host}` speaks no TLS there; a registry that is meant to be spoken to over \
                 plain HTTP is named in `insecure_registries`"
            ),
            Self::NoHttp => format!(
                "what answers at `{host}` is no HTTP that can be read: check the host and the \
                 port, and what stands between here and there"
            ),
            Self::Name => format!(
                "no name server knows `{host}`: check how it is spelt; a name that only a proxy \
                 knows needs `HTTPS_PROXY`"
            ),
            Self::ProxyLogin => "the proxy asks for a login: give it in `HTTPS_PROXY`, as in \
                                 `http://USER:PASSWORD@PROXY:PORT`"
                .to_owned(),
            Self::ProxyRefusal => format!(
                "the proxy in `HTTPS_PROXY` does not connect to `{host}`: have it allowed there, \
                 or name the host in `NO_PROXY`"
            ),
            Self::ProxyAway => {
                "the proxy in `HTTPS_PROXY` cannot be reached: check its address".to_owned()
            }
            Self::Stalled => "the other side or the network stood still: try again; \
                              `stall_timeout` says how long is waited"
                .to_owned(),
            Self::Redirect => format!(
                "check that `{host}` is the registry itself, and that no proxy or sign-in page \
                 answers in its place"
            ),
            Self::Unreachable => format!(
                "check that `{host}` is right and that this machine reaches it; a proxy is taken \
                 from `HTTPS_PROXY`"
            ),
            Self::Broken => "the connection broke on the way: try again; if it always breaks at \
                             the same place, a proxy or firewall may allow no more"
                .to_owned(),
        }
    }
}

/// An error and its causes, outermost first. What stands inside an [`io::Error`] is a cause too,
/// although `source` passes over it.
fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| {
        let error: &'a (dyn Error + 'static) = *error;
        match error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
        {
            Some(inner) => Some(inner as &(dyn Error + 'static)),
            None => error.source(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cause in words, above another.
    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Words(&'static str, #[source] Option<Box<Words>>);

    fn of(texts: &[&'static str]) -> Trouble {
        let chain = texts
            .iter()
            .rev()
            .fold(None, |below, text| Some(Box::new(Words(text, below))));
        Trouble::of(&*chain.unwrap())
    }

    #[test]
    fn a_certificate_is_found_inside_of_an_io_error() {
        let tls = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let nested = io::Error::other(io::Error::other(tls));
        assert_eq!(Trouble::of(&nested), Trouble::Certificate);
    }

    #[test]
    fn a_proxy_s_words_are_told_apart() {
        assert_eq!(of(&["tunnel error: unsuccessful"]), Trouble::ProxyRefusal);
        assert_eq!(
            of(&["x", "tunnel error: proxy authorization required"]),
            Trouble::ProxyLogin
        );
        assert_eq!(
            of(&[
                "tunnel error: failed to create underlying connection",
                "dns error"
            ]),
            Trouble::ProxyAway
        );
        assert_eq!(of(&["dns error: no such host"]), Trouble::Name);
        assert_eq!(of(&["anything else"]), Trouble::Broken);
    }
}
