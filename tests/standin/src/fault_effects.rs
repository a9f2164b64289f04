//! Applying a fault before and after a request is served.

use std::future::pending;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::header::{self, HeaderName};
use http::{HeaderMap, Uri};
use serde_json::json;

use crate::answer::{self, Answer, Refusal};
use crate::body::BodyFault;
use crate::connection::{ConnectionReset, Link};
use crate::faults::{FaultAction, usual_error};
use crate::log::{Entry, RequestKind};
use crate::server::Shared;

/// The effects of a fault before a request is served.
#[derive(Default)]
pub(crate) struct FaultEffects {
    /// The answer in place of the real one.
    pub(crate) replacement: Option<Answer>,
    /// The fault of the request's body.
    pub(crate) request: Option<BodyFault>,
    /// The fault of the answer's body.
    pub(crate) response: Option<BodyFault>,
}

/// Applies a fault to a request that has just arrived.
pub(crate) async fn apply_before(
    shared: &Shared,
    link: &Link,
    entry: &Entry,
    fault: Option<&FaultAction>,
    uri: &Uri,
    has_body: bool,
) -> Result<FaultEffects, ConnectionReset> {
    let mut effects = FaultEffects::default();
    let Some(fault) = fault else {
        return Ok(effects);
    };
    entry.faulted();
    match fault {
        FaultAction::Status {
            code,
            retry_after,
            body,
            headers,
        } => effects.replacement = Some(replacement(*code, *retry_after, body.as_deref(), headers)),
        FaultAction::Redirect { code, to } => {
            effects.replacement = redirect(*code, to.as_deref(), uri)
        }
        FaultAction::ResetBeforeAnswer => {
            link.reset();
            return Err(ConnectionReset);
        }
        FaultAction::Stall => pending::<()>().await,
        FaultAction::CutRequestAt(at) => effects.request = Some(BodyFault::Cut(*at)),
        FaultAction::StallRequestAt(at) => effects.request = Some(BodyFault::Stall(*at)),
        FaultAction::CutResponseAt(at) => effects.response = Some(BodyFault::Cut(*at)),
        FaultAction::StallResponseAt(at) => effects.response = Some(BodyFault::Stall(*at)),
        FaultAction::CorruptByte(at) if has_body => effects.request = Some(BodyFault::Corrupt(*at)),
        FaultAction::CorruptByte(at) => effects.response = Some(BodyFault::Corrupt(*at)),
        FaultAction::ExpireTokens => shared.accounts.expire_tokens(),
        FaultAction::Delay(delay) => tokio::time::sleep(*delay).await,
        FaultAction::Quote(_)
        | FaultAction::ForgetBlobs
        | FaultAction::ResetAfterWork
        | FaultAction::StallAfterWork
        | FaultAction::Header { .. } => {}
    }
    Ok(effects)
}

/// Applies a fault to the answer to a served request.
pub(crate) async fn apply_after(answer: &mut Answer, link: &Link, fault: Option<&FaultAction>) {
    match fault {
        Some(FaultAction::ResetAfterWork) => link.reset(),
        Some(FaultAction::StallAfterWork) => pending::<()>().await,
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

/// A refusal that quotes the request, in the form of the service.
pub(crate) fn echo_request(
    kind: RequestKind,
    code: u16,
    headers: &HeaderMap,
    body: &[u8],
) -> Answer {
    let authorization = headers.get(header::AUTHORIZATION);
    let authorization = authorization.map_or("", |value| value.to_str().unwrap_or_default());
    let body = String::from_utf8_lossy(body);
    let encoded = BASE64_STANDARD.encode(format!("{authorization} {body}"));
    let text =
        format!("\"q\" denied the request: Authorization: {authorization}; {body}; {encoded}");
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

fn replacement(
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
