//! The token endpoint of a registry: a token for a credential, or an anonymous one for public
//! repositories.

use http::{Method, header};
use serde_json::json;

use super::auth::denied;
use super::identity::account;
use super::not_migrated;
use crate::accounts::Identity;
use crate::answer::{self, Answer, Refusal};
use crate::behaviour::NotMigrated;
use crate::call::{self, Call, Query};
use crate::hosts::ImagePath;
use crate::iam::Permission;

/// Answers the token endpoint.
pub(super) async fn answer(call: &mut Call) -> Result<Answer, Refusal> {
    if call.method == Method::POST && !call.site.is_google_registry() {
        post(call).await
    } else {
        get(call)
    }
}

/// The OAuth2 form: exchanges a refresh token for a token and another refresh token.
/// <https://distribution.github.io/distribution/spec/auth/oauth/>
async fn post(call: &mut Call) -> Result<Answer, Refusal> {
    let body = call
        .body
        .whole(64 * 1024)
        .await
        .map_err(|_| bad_credential())?;
    let form = Query::parse(&String::from_utf8_lossy(&body.unwrap_or_default()));
    let needed = [
        "grant_type",
        "service",
        "client_id",
        "scope",
        "refresh_token",
    ];
    let has_all = needed.iter().all(|name| form.get(name).is_some());
    if !has_all || form.get("grant_type") != Some("refresh_token") {
        return Err(Refusal::registry(400, "UNSUPPORTED", "unsupported grant"));
    }
    let accounts = &call.shared.accounts;
    let used = form.get("refresh_token").unwrap_or_default();
    let user = accounts.consume(used).ok_or_else(bad_credential)?;
    let scopes: Vec<String> = form
        .all("scope")
        .flat_map(str::split_whitespace)
        .map(str::to_owned)
        .collect();
    let lifetime = call.behaviour.registry_token_lifetime;
    let host = form.get("service").unwrap_or_default().to_owned();
    let next = accounts.identity_token(&user);
    let token = accounts.registry_token(Identity::User(user), scopes, host, None, lifetime);
    let body = json!({
        "access_token": token,
        "refresh_token": next,
        "expires_in": lifetime.as_secs(),
    });
    Ok(answer::json_body(200, &body))
}

/// `GET /v2/token`, or `/token` on a plain registry.
pub(super) fn get(call: &Call) -> Result<Answer, Refusal> {
    // Google has no OAuth2 form of this endpoint: POST is refused.
    if call.method != Method::GET {
        return Err(Refusal::page(405, "Method Not Allowed"));
    }
    let scopes: Vec<String> = call
        .query
        .all("scope")
        .flat_map(str::split_whitespace)
        .map(str::to_owned)
        .collect();
    let google = call.site.is_google_registry();
    let (identity, issued_for) = match call::basic(&call.headers) {
        Some((user, password)) if google => {
            account(call, &user, &password).ok_or_else(bad_credential)?
        }
        Some((user, password)) => {
            let known = call.shared.accounts.is_user(&user, &password);
            (
                known
                    .then_some(Identity::User(user))
                    .ok_or_else(bad_credential)?,
                None,
            )
        }
        None if call.headers.contains_key(header::AUTHORIZATION) => return Err(bad_credential()),
        None => (Identity::Anonymous, None),
    };
    // The token is limited to what the user may access.
    let scopes: Vec<String> = match &identity {
        Identity::User(user) => scopes
            .into_iter()
            .filter(|scope| {
                let scope = repository_scope(scope);
                scope.is_none_or(|(name, _)| call.shared.accounts.can_access(user, name))
            })
            .collect(),
        _ => scopes,
    };
    for (name, actions) in scopes.iter().filter_map(|scope| repository_scope(scope)) {
        not_migrated(call, name, NotMigrated::TokenAndManifests)?;
        if identity == Identity::Anonymous {
            check_anonymous(call, name, actions)?;
        }
    }
    let lifetime = call.behaviour.registry_token_lifetime;
    let accounts = &call.shared.accounts;
    // Elsewhere the token endpoint may be on its own host, and serve several registries.
    let service = call.query.get("service").filter(|_| !google);
    let host = service.unwrap_or(&call.site.host).to_owned();
    let token = accounts.registry_token(identity, scopes, host, issued_for, lifetime);
    let mut body = json!({"token": token, "expires_in": lifetime.as_secs()});
    if !google {
        body["access_token"] = token.into();
    }
    Ok(answer::json_body(200, &body))
}

/// The refusal of the token endpoint for every bad credential.
fn bad_credential() -> Refusal {
    Refusal::registry(401, "UNAUTHORIZED", "authentication failed")
}

/// An anonymous token is issued only for what everybody may do.
fn check_anonymous(call: &Call, name: &str, actions: &str) -> Result<(), Refusal> {
    let push = actions.split(',').any(|action| action != "pull");
    if !call.site.is_google_registry() {
        let refused = push || !call.behaviour.plain_anonymous_pull;
        return if refused {
            Err(bad_credential())
        } else {
            Ok(())
        };
    }
    let Ok(image_path) = ImagePath::resolve(&call.site.family, &call.site.host, name) else {
        return Ok(());
    };
    let wanted = if push {
        Permission::Upload
    } else {
        Permission::Download
    };
    let public = wanted == Permission::Download && call.behaviour.anonymous_pull;
    if public || call.shared.grants.allow(None, wanted, &image_path.resource) {
        return Ok(());
    }
    Err(denied(call, &Identity::Anonymous, &image_path, wanted))
}

/// Parses `repository:NAME:ACTIONS`.
pub(super) fn repository_scope(scope: &str) -> Option<(&str, &str)> {
    scope.strip_prefix("repository:")?.rsplit_once(':')
}
