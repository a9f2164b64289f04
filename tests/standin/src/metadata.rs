//! The metadata server of a Google machine, on the plain address.
//! cloud.google.com/compute/docs/metadata/querying-metadata

use http::{HeaderName, Method};
use serde_json::json;

use crate::answer::{self, Answer, Refusal};
use crate::call::Call;

const FLAVOR: HeaderName = HeaderName::from_static("metadata-flavor");

/// Answers a request; a machine that is not Google's has no such server.
pub(crate) fn answer(call: &Call, path: &str) -> Result<Answer, Refusal> {
    let Some(machine) = &call.behaviour.machine else {
        return Err(Refusal::page(404, "Not Found"));
    };
    let mut answer = match of_machine(call, path, machine) {
        Ok(answer) => answer,
        Err(refusal) => refusal.into(),
    };
    if machine.flavor {
        answer::set(&mut answer, FLAVOR, "Google");
    }
    Ok(answer)
}

fn of_machine(
    call: &Call,
    path: &str,
    machine: &crate::behaviour::Machine,
) -> Result<Answer, Refusal> {
    // A forged request lacks this header, and one that a proxy passed on has another.
    let asks = call.headers.get(&FLAVOR).is_some_and(|it| it == "Google");
    if !asks || call.headers.contains_key("x-forwarded-for") || call.site.tunnel {
        return Err(Refusal::page(403, "Forbidden"));
    }
    if call.method != Method::GET {
        return Err(Refusal::page(405, "Method Not Allowed"));
    }
    let account = machine.account.as_deref();
    let account = account.ok_or_else(|| Refusal::page(404, "Not Found"));
    let recursive = call.query.get("recursive") == Some("true");
    match path {
        "/computeMetadata/v1/instance/service-accounts/default/" if recursive => {
            let full = |scope: &&str| format!("https://www.googleapis.com/auth/{scope}");
            let scopes: Vec<String> = machine.scopes.iter().map(full).collect();
            let body = json!({"email": account?, "scopes": scopes, "aliases": ["default"]});
            Ok(answer::json_body(200, &body))
        }
        "/computeMetadata/v1/instance/service-accounts/default/token" => {
            let lifetime = call.behaviour.oauth_lifetime;
            let token = call.shared.accounts.access_token(account?, lifetime);
            let body = json!({
                "access_token": token,
                "expires_in": lifetime.as_secs(),
                "token_type": "Bearer",
            });
            Ok(answer::json_body(200, &body))
        }
        _ => Err(Refusal::page(404, "Not Found")),
    }
}
