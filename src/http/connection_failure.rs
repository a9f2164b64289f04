//! Classifies why a connection failed, by the chain of causes in the error of an HTTP client.

use std::error::Error;
use std::io;
use std::time::{Duration, SystemTime};

use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError};

use super::redirect::RedirectError;
use super::tls::{NoRoots, is_authority};
use crate::diagnostics::ExitCode;

/// Why a connection failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionFailure {
    /// No trusted authority signed the certificate.
    Certificate,
    /// The certificate is self-signed and not one of the given authorities.
    SelfSigned,
    /// The certificate is for another host.
    CertificateName,
    /// The certificate has expired, at this time if it is known.
    Expired(Option<UnixTime>),
    /// The certificate is not valid before this time, if it is known.
    NotYetValid(Option<UnixTime>),
    /// The system has no trusted authorities.
    NoRoots,
    /// The server requires a client certificate.
    ClientCertificate,
    /// There is no common TLS version or cipher.
    Handshake,
    /// The server does not speak TLS.
    NoTls,
    /// The server does not speak valid HTTP.
    NoHttp,
    /// The name of the host cannot be resolved.
    Name,
    /// The name server does not answer.
    NameServer,
    /// The process has too many open files.
    TooManyFiles,
    /// The request cannot be sent as it is.
    InvalidRequest,
    /// The proxy requires authentication.
    ProxyLogin,
    /// The proxy refused to connect to the host.
    ProxyRefusal,
    /// The proxy cannot be reached.
    ProxyUnreachable,
    /// Nothing was received for too long.
    Stalled,
    /// A redirect that must not be followed.
    Redirect,
    /// No connection could be opened.
    Unreachable,
    /// The connection was opened and broke.
    Broken,
}

impl ConnectionFailure {
    /// Classifies a chain of causes.
    pub fn of(error: &(dyn Error + 'static)) -> Self {
        let mut failure = Self::Broken;
        for cause in chain(error) {
            if let Some(known) = Self::of_cause(cause) {
                // The deepest known cause is the most specific. Only an unreachable proxy is
                // identified by an outer error.
                match (failure, known) {
                    (Self::ProxyUnreachable, _) => return failure,
                    // A connection that times out while it is opened is unreachable.
                    (Self::Unreachable, Self::Stalled) => {}
                    _ => failure = known,
                }
            }
        }
        failure
    }

    fn of_cause(error: &(dyn Error + 'static)) -> Option<Self> {
        if let Some(error) = error.downcast_ref::<rustls::Error>() {
            return Self::of_tls(error);
        }
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return Self::of_io(error);
        }
        if error.is::<RedirectError>() {
            return Some(Self::Redirect);
        }
        if let Some(error) = error.downcast_ref::<hyper::Error>() {
            return match error {
                _ if error.is_parse() => Some(Self::NoHttp),
                _ if error.is_user() => Some(Self::InvalidRequest),
                _ => None,
            };
        }
        if let Some(error) = error.downcast_ref::<reqwest::Error>() {
            return match error {
                _ if error.is_builder() => Some(Self::InvalidRequest),
                _ if error.is_connect() => Some(Self::Unreachable),
                _ if error.is_timeout() => Some(Self::Stalled),
                _ if error.is_redirect() => Some(Self::Redirect),
                _ => None,
            };
        }
        if let Some(error) = error.downcast_ref::<hyper_util::client::legacy::Error>() {
            return error.is_connect().then_some(Self::Unreachable);
        }
        // The types of these two errors are private to hyper-util. A test checks their texts.
        let text = error.to_string();
        if text.starts_with("dns error") {
            return Some(Self::Name);
        }
        match text.strip_prefix("tunnel error: ")? {
            "proxy authorization required" => Some(Self::ProxyLogin),
            "failed to create underlying connection" => Some(Self::ProxyUnreachable),
            _ => Some(Self::ProxyRefusal),
        }
    }

    fn of_tls(error: &rustls::Error) -> Option<Self> {
        match error {
            rustls::Error::InvalidCertificate(fault) => Some(Self::of_certificate(fault)),
            rustls::Error::InvalidMessage(_) => Some(Self::NoTls),
            rustls::Error::PeerIncompatible(_) => Some(Self::Handshake),
            rustls::Error::AlertReceived(alert) => match alert {
                // The alert depends on the TLS version and on the server.
                AlertDescription::CertificateRequired
                | AlertDescription::BadCertificate
                | AlertDescription::UnsupportedCertificate
                | AlertDescription::CertificateExpired
                | AlertDescription::CertificateRevoked
                | AlertDescription::CertificateUnknown
                | AlertDescription::UnknownCA
                | AlertDescription::AccessDenied => Some(Self::ClientCertificate),
                AlertDescription::HandshakeFailure
                | AlertDescription::ProtocolVersion
                | AlertDescription::InsufficientSecurity
                | AlertDescription::IllegalParameter
                | AlertDescription::NoApplicationProtocol => Some(Self::Handshake),
                AlertDescription::UnrecognisedName => Some(Self::CertificateName),
                _ => None,
            },
            _ => None,
        }
    }

    fn of_certificate(fault: &CertificateError) -> Self {
        match fault {
            CertificateError::Expired => Self::Expired(None),
            CertificateError::ExpiredContext { not_after, .. } => Self::Expired(Some(*not_after)),
            CertificateError::NotValidYet => Self::NotYetValid(None),
            CertificateError::NotValidYetContext { not_before, .. } => {
                Self::NotYetValid(Some(*not_before))
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Self::CertificateName
            }
            CertificateError::Other(cause) if cause.0.is::<NoRoots>() => Self::NoRoots,
            fault if is_authority(fault) => Self::SelfSigned,
            _ => Self::Certificate,
        }
    }

    fn of_io(error: &io::Error) -> Option<Self> {
        use rustix::io::Errno;
        let number = error.raw_os_error();
        if number == Some(Errno::MFILE.raw_os_error())
            || number == Some(Errno::NFILE.raw_os_error())
        {
            return Some(Self::TooManyFiles);
        }
        if error.kind() == io::ErrorKind::TimedOut {
            return Some(Self::Stalled);
        }
        // The text of `getaddrinfo` for EAI_AGAIN, in glibc.
        let text = error.to_string();
        let again = ["Temporary failure in name resolution", "Try again"];
        (text.starts_with("failed to lookup address") && again.iter().any(|a| text.contains(a)))
            .then_some(Self::NameServer)
    }

    /// True if a certificate or the handshake failed, so that plain HTTP must not be used instead.
    pub(crate) fn is_tls_failure(self) -> bool {
        matches!(
            self,
            Self::Certificate
                | Self::SelfSigned
                | Self::CertificateName
                | Self::Expired(_)
                | Self::NotYetValid(_)
                | Self::NoRoots
                | Self::ClientCertificate
                | Self::Handshake
        )
    }

    /// True if the host may be down or not reachable.
    pub(crate) fn is_unreachable(self) -> bool {
        matches!(
            self,
            Self::Name
                | Self::NameServer
                | Self::Unreachable
                | Self::ProxyUnreachable
                | Self::ProxyRefusal
        )
    }

    /// The exit code of the process.
    pub fn exit_code(self) -> ExitCode {
        match self {
            Self::Certificate
            | Self::SelfSigned
            | Self::CertificateName
            | Self::Expired(_)
            | Self::NotYetValid(_)
            | Self::NoRoots
            | Self::ClientCertificate
            | Self::Handshake
            | Self::NoTls
            | Self::NoHttp
            | Self::InvalidRequest
            | Self::Redirect => ExitCode::Failed,
            Self::ProxyLogin => ExitCode::Denied,
            Self::Name
            | Self::NameServer
            | Self::TooManyFiles
            | Self::ProxyRefusal
            | Self::ProxyUnreachable
            | Self::Stalled
            | Self::Unreachable
            | Self::Broken => ExitCode::Temporary,
        }
    }

    /// The hint for a failed connection to `host`.
    pub fn hint(self, host: &str) -> String {
        match self {
            Self::Certificate => {
                "if a company proxy or a private registry signed this certificate, put its root \
                 certificate in `ca_certificates`"
                    .to_owned()
            }
            Self::SelfSigned => {
                format!("the certificate of `{host}` is self-signed: put it in `ca_certificates`")
            }
            Self::CertificateName => format!(
                "the certificate is not valid for `{host}`: use a name that is in it, or get a \
                 certificate for this name"
            ),
            Self::Expired(until) => format!(
                "the certificate of `{host}` expired on {}; the clock of this machine says {}: \
                 renew the certificate, or correct the clock",
                date(until),
                now()
            ),
            Self::NotYetValid(from) => format!(
                "the certificate of `{host}` is not valid before {}; the clock of this machine \
                 says {}: correct the clock, or get a new certificate",
                date(from),
                now()
            ),
            Self::NoRoots => {
                "install certificate authorities (Debian: `ca-certificates`), or put some in \
                 `ca_certificates`"
                    .to_owned()
            }
            Self::ClientCertificate => format!(
                "`{host}` requires a client certificate: set `client_certificate` and \
                 `client_key`, or use Docker's files `/etc/docker/certs.d/{host}/client.cert` and \
                 `client.key`"
            ),
            Self::Handshake => format!(
                "`{host}` does not support TLS 1.2 or 1.3 with a secure cipher: update it, or the \
                 proxy in front of it"
            ),
            Self::NameServer => format!(
                "the DNS server did not answer for `{host}`: check this machine's network, and try \
                 again"
            ),
            Self::TooManyFiles => {
                "the limit of open files is too low: raise `ulimit -n`, or lower `concurrency`"
                    .to_owned()
            }
            Self::InvalidRequest => format!(
                "`{host}` returned an address that cannot be used: check that it is a registry"
            ),
            Self::NoTls => format!(
                "`{host}` does not use TLS on this port; if it is meant to use plain HTTP, add it \
                 to `insecure_registries`"
            ),
            Self::NoHttp => format!(
                "`{host}` did not return valid HTTP: check the host and the port, and any proxy on \
                 the way"
            ),
            Self::Name => format!(
                "the name `{host}` is not in DNS: check the spelling; if only a proxy can find it, \
                 set `HTTPS_PROXY`"
            ),
            Self::ProxyLogin => "the proxy requires a login: put it in `HTTPS_PROXY`, as in \
                                 `http://USER:PASSWORD@PROXY:PORT`"
                .to_owned(),
            Self::ProxyRefusal => format!(
                "the proxy in `HTTPS_PROXY` does not connect to `{host}`: ask its administrator to \
                 allow it, or add the host to `NO_PROXY`"
            ),
            Self::ProxyUnreachable => {
                "the proxy in `HTTPS_PROXY` cannot be reached: check its address".to_owned()
            }
            Self::Stalled => "the server or the network did not respond in time; try again, or \
                              raise `stall_timeout`"
                .to_owned(),
            Self::Redirect => format!(
                "check that `{host}` is the registry itself, and that no proxy or sign-in page \
                 answers instead"
            ),
            Self::Unreachable => format!(
                "check that `{host}` is correct and that this machine can reach it; if it needs a \
                 proxy, set `HTTPS_PROXY`"
            ),
            Self::Broken => "the connection was interrupted: try again; if it always stops at the \
                             same point, a proxy or firewall may limit the transfer"
                .to_owned(),
        }
    }
}

/// The last second of the year 9999.
const LAST_SECOND: u64 = 253_402_300_799;

/// Formats a time in a certificate.
fn date(time: Option<UnixTime>) -> String {
    let Some(time) = time else {
        return "an unknown date".to_owned();
    };
    // httpdate panics past the year 9999.
    if time.as_secs() > LAST_SECOND {
        return "a date after the year 9999".to_owned();
    }
    httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(time.as_secs()))
}

fn now() -> String {
    httpdate::fmt_http_date(SystemTime::now())
}

/// Returns an error and its causes, the outermost first. The error inside an [`io::Error`] is
/// included, which `source` skips.
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

    /// An error with a text and a cause.
    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Words(&'static str, #[source] Option<Box<Words>>);

    fn of(texts: &[&'static str]) -> ConnectionFailure {
        let chain = texts
            .iter()
            .rev()
            .fold(None, |below, text| Some(Box::new(Words(text, below))));
        ConnectionFailure::of(&*chain.unwrap())
    }

    #[test]
    fn certificate_error_is_found_inside_an_io_error() {
        let tls = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let nested = io::Error::other(io::Error::other(tls));
        assert_eq!(
            ConnectionFailure::of(&nested),
            ConnectionFailure::Certificate
        );
    }

    #[test]
    fn certificate_errors_are_distinguished() {
        let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let expired = CertificateError::ExpiredContext {
            time: at(1_800_000_000),
            not_after: at(1_700_000_000),
        };
        let hint = ConnectionFailure::of(&rustls::Error::from(expired)).hint("r.example");
        assert!(
            hint.contains("expired on Tue, 14 Nov 2023 22:13:20 GMT"),
            "{hint}"
        );
        assert!(hint.contains("clock"), "{hint}");
        let far = CertificateError::NotValidYetContext {
            time: at(0),
            not_before: at(u64::MAX),
        };
        let hint = ConnectionFailure::of(&rustls::Error::from(far)).hint("r.example");
        assert!(
            hint.contains("not valid before a date after the year 9999"),
            "{hint}"
        );
        for (fault, expected) in [
            (
                CertificateError::NotValidForName,
                ConnectionFailure::CertificateName,
            ),
            (
                CertificateError::UnknownIssuer,
                ConnectionFailure::Certificate,
            ),
        ] {
            assert_eq!(ConnectionFailure::of(&rustls::Error::from(fault)), expected);
        }
        for (alert, expected) in [
            (
                AlertDescription::CertificateRequired,
                ConnectionFailure::ClientCertificate,
            ),
            (
                AlertDescription::ProtocolVersion,
                ConnectionFailure::Handshake,
            ),
            (
                AlertDescription::HandshakeFailure,
                ConnectionFailure::Handshake,
            ),
            (AlertDescription::InternalError, ConnectionFailure::Broken),
        ] {
            assert_eq!(
                ConnectionFailure::of(&rustls::Error::AlertReceived(alert)),
                expected
            );
        }
    }

    #[test]
    fn too_many_files_and_silent_dns_are_reported() {
        assert_eq!(
            ConnectionFailure::of(&io::Error::from_raw_os_error(24)),
            ConnectionFailure::TooManyFiles
        );
        let silent = "failed to lookup address information: Temporary failure in name resolution";
        let silent = io::Error::other(silent);
        assert_eq!(
            ConnectionFailure::of(&silent),
            ConnectionFailure::NameServer
        );
        assert_eq!(
            ConnectionFailure::NameServer.exit_code(),
            ExitCode::Temporary
        );
    }

    #[test]
    fn proxy_errors_are_recognized() {
        assert_eq!(
            of(&["tunnel error: unsuccessful"]),
            ConnectionFailure::ProxyRefusal
        );
        assert_eq!(
            of(&["x", "tunnel error: proxy authorization required"]),
            ConnectionFailure::ProxyLogin
        );
        assert_eq!(
            of(&[
                "tunnel error: failed to create underlying connection",
                "dns error"
            ]),
            ConnectionFailure::ProxyUnreachable
        );
        assert_eq!(of(&["dns error: no such host"]), ConnectionFailure::Name);
        assert_eq!(of(&["anything else"]), ConnectionFailure::Broken);
    }
}
