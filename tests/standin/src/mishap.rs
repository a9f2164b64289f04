//! Carrying a fault out, as far as that happens before a request is looked at.

use std::future::pending;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::header::{self, HeaderName};
use http::{HeaderMap, Uri};
use serde_json::json;

use crate::answer::{self, Answer, Refusal};
use crate::body::Spoil;
use crate::connection::{Broken, Link};
use crate::faults::{FaultAction, usual_error};
use crate::log::{Entry, RequestKind};
use crate::server::Shared;

/// What a fault changes before the request is looked at.
#[derive(Default)]
pub(crate) struct Spoilt {
    /// Answered in place of the real answer.
    pub(crate) instead: Option<Answer>,
    /// Done to the request's body.
    pub(crate) request: Option<Spoil>,
    /// Done to the answer's body.
    pub(crate) response: Option<Spoil>,
}

/// Lets a fault act on a request that has just arrived.
pub(crate) async fn befall(
    shared: &Shared,
    link: &Link,
    entry: &Entry,
    fault: Option<&FaultAction>,
    uri: &Uri,
    has_body: bool,
) -> Result<Spoilt, Broken> {
    let mut spoilt = Spoilt::default();
    let Some(fault) = fault else {
        return Ok(spoilt);
    };
    entry.faulted();
    match fault {
        FaultAction::Status {
            code,
            retry_after,
            body,
            headers,
        } => spoilt.instead = Some(instead(*code, *retry_after, body.as_deref(), headers)),
        FaultAction::Redirect { code, to } => spoilt.instead = redirect(*code, to.as_deref(), uri),
        FaultAction::ResetBeforeAnswer => {
            link.reset();
            return Err(Broken);
        }
        FaultAction::Stall => pending::<()>().await,
        FaultAction::CutRequestAt(at) => spoilt.request = Some(Spoil::Cut(*at)),
        FaultAction::StallRequestAt(at) => spoilt.request = Some(Spoil::Stall(*at)),
        FaultAction::CutResponseAt(at) => spoilt.response = Some(Spoil::Cut(*at)),
        FaultAction::StallResponseAt(at) => spoilt.response = Some(Spoil::Stall(*at)),
        FaultAction::CorruptByte(at) if has_body => spoilt.request = Some(Spoil::Corrupt(*at)),
        FaultAction::CorruptByte(at) => spoilt.response = Some(Spoil::Corrupt(*at)),
        FaultAction::ExpireTokens => shared.accounts.expire_tokens(),
        FaultAction::Delay(delay) => tokio::time::sleep(*delay).await,
        FaultAction::Quote(_)
        | FaultAction::ForgetBlobs
        | FaultAction::ResetAfterWork
        | FaultAction::Header { .. } => {}
    }
    Ok(spoilt)
}

/// Lets a fault act on the answer to a request that was served.
pub(crate) fn aftermath(answer: &mut Answer, link: &Link, fault: Option<&FaultAction>) {
    match fault {
        Some(FaultAction::ResetAfterWork) => link.reset(),
        Some(FaultAction::Header { name, value }) => {
            let name: HeaderName = name.parse().expect("a fault's header names are names");
            match value {
                Some(value) => answer::set(answer, name, value),
                None => drop(answer.headers_mut().remove(name)),
            }
        }
        _ => {}
    }
}

/// A refusal that quotes what it was sent, in the form of the service that is played.
pub(crate) fn quoting(kind: RequestKind, code: u16, headers: &HeaderMap, body: &[u8]) -> Answer {
    let shown = headers.get(header::AUTHORIZATION);
    let shown = shown.map_or("", |value| value.to_str().unwrap_or_default());
    let body = String::from_utf8_lossy(body);
    let encoded = BASE64_STANDARD.encode(format!("{shown} {body}"));
    let text = format!("\"q\" denied the request: Authorization: {shown}; {body}; {encoded}");
    let document = match kind {
        RequestKind::Kubernetes => json!({
            "kind": "Status",
            "apiVersion": "v1",
            "status": "Failure",
            "reason": "Forbidden",
            "code": code,
            "message": format!("admission webhook {text}"),
        }),
        RequestKind::OAuthToken | RequestKind::Sts => {
            json!({"error": "invalid_request", "error_description": text})
        }
        RequestKind::Api => json!({"error": {"code": code, "message": text, "status": "DENIED"}}),
        _ => json!({"errors": [{"code": "DENIED", "message": text}], "message": text}),
    };
    answer::json_body(code, &document)
}

/// The redirect of a request that was not redirected yet.
fn redirect(code: u16, to: Option<&str>, uri: &Uri) -> Option<Answer> {
    const MARK: &str = "redirected=1";
    let query = uri.query().unwrap_or_default();
    if query.contains(MARK) {
        return None;
    }
    let separator = if query.is_empty() { "" } else { "&" };
    let base = to.unwrap_or_default();
    let location = format!("{base}{}?{query}{separator}{MARK}", uri.path());
    let mut answer: Answer = Refusal::text(code, "moved").into();
    answer::set(&mut answer, header::LOCATION, &location);
    Some(answer)
}

fn instead(
    code: u16,
    retry_after: Option<u64>,
    body: Option<&str>,
    headers: &[(String, String)],
) -> Answer {
    let mut answer: Answer = match body {
        Some(body) if body.starts_with('{') => {
            answer::bytes(code, "application/json", body.to_owned())
        }
        Some(body) => Refusal::text(code, body).into(),
        None => {
            let (error, message) = usual_error(code);
            Refusal::registry(code, error, message).into()
        }
    };
    if let Some(seconds) = retry_after {
        answer::set(&mut answer, header::RETRY_AFTER, &seconds.to_string());
    }
    for (name, value) in headers {
        let name = name.parse().expect("a fault's header names are names");
        answer::set(&mut answer, name, value);
    }
    answer
}
