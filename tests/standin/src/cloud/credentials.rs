//! iamcredentials v1: access tokens of a service account for callers who may impersonate it.

use std::time::Duration;

use serde_json::{Value, json};

use super::{ApiRequest, error};
use crate::answer::Refusal;

pub(super) fn answer(request: &ApiRequest<'_>) -> Result<Value, Refusal> {
    let email = request.variable("serviceAccountsId").to_owned();
    let project = super::accounts::of_email(&email);
    super::need_service(request, &project)?;
    if request.variable("projectsId") != "-" {
        return Err(error::invalid("The project must be the wildcard `-`."));
    }
    let permission = "iam.serviceAccounts.getAccessToken";
    let resource = format!("projects/{project}/serviceAccounts/{email}");
    let known = request.call.shared.accounts.is_enabled(&email);
    let exists = known || request.state().account(&email).is_some();
    if !exists || !request.may(permission, &resource) {
        return Err(error::denied(permission, &resource));
    }
    let scopes = request.body["scope"].as_array().map_or(0, Vec::len);
    if scopes == 0 {
        return Err(error::invalid("Request contains an invalid argument."));
    }
    let lifetime = request.body["lifetime"].as_str().unwrap_or("3600s");
    let seconds = lifetime
        .strip_suffix('s')
        .and_then(|text| text.parse().ok());
    let seconds: u64 = seconds.ok_or_else(|| error::invalid("Invalid lifetime."))?;
    if seconds > 3600 {
        return Err(error::invalid(
            "The access token lifetime cannot exceed 3600 seconds.",
        ));
    }
    let lifetime = Duration::from_secs(seconds).min(request.call.behaviour.oauth_lifetime);
    let token = request.call.shared.accounts.access_token(&email, lifetime);
    let expires = time::OffsetDateTime::now_utc().replace_nanosecond(0);
    let expires = expires.expect("no nanoseconds is a number of them") + lifetime;
    let expires = expires
        .format(&time::format_description::well_known::Rfc3339)
        .expect("times can be written");
    Ok(json!({"accessToken": token, "expireTime": expires}))
}
