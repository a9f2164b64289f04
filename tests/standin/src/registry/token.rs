//! The token endpoint of a registry: a credential buys a token, or nobody gets one for what
//! is public.

use http::{Method, header};
use serde_json::json;

use super::auth::denied;
use super::identity::account;
use super::not_migrated;
use crate::accounts::Identity;
use crate::answer::{self, Answer, Refusal};
use crate::behaviour::NotMigrated;
use crate::call::{self, Call};
use crate::iam::Permission;
use crate::site::Place;

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
    let (identity, bought_with) = match call::basic(&call.headers) {
        Some((user, password)) if google => account(call, &user, &password).ok_or_else(failed)?,
        Some((user, password)) => {
            let known = call.shared.accounts.is_user(&user, &password);
            (
                known.then_some(Identity::User(user)).ok_or_else(failed)?,
                None,
            )
        }
        None if call.headers.contains_key(header::AUTHORIZATION) => return Err(failed()),
        None => (Identity::Anonymous, None),
    };
    for (name, actions) in scopes.iter().filter_map(|scope| repository_scope(scope)) {
        not_migrated(call, name, NotMigrated::TokenAndManifests)?;
        if identity == Identity::Anonymous {
            check_anonymous(call, name, actions)?;
        }
    }
    let lifetime = call.behaviour.registry_token_lifetime;
    let accounts = &call.shared.accounts;
    // Elsewhere the token endpoint may be a host of its own, and serve several registries.
    let service = call.query.get("service").filter(|_| !google);
    let host = service.unwrap_or(&call.site.host).to_owned();
    let token = accounts.registry_token(identity, scopes, host, bought_with, lifetime);
    let mut body = json!({"token": token, "expires_in": lifetime.as_secs()});
    if !google {
        body["access_token"] = token.into();
    }
    Ok(answer::json_body(200, &body))
}

/// The one text for every credential that the token endpoint does not like.
fn failed() -> Refusal {
    Refusal::registry(401, "UNAUTHORIZED", "authentication failed")
}

/// A token for nobody is given for what everybody may do.
fn check_anonymous(call: &Call, name: &str, actions: &str) -> Result<(), Refusal> {
    let push = actions.split(',').any(|action| action != "pull");
    if !call.site.is_google_registry() {
        let refused = push || !call.behaviour.plain_anonymous_pull;
        return if refused { Err(failed()) } else { Ok(()) };
    }
    let Ok(place) = Place::resolve(&call.site.family, &call.site.host, name) else {
        return Ok(());
    };
    let wanted = if push {
        Permission::Upload
    } else {
        Permission::Download
    };
    let public = wanted == Permission::Download && call.behaviour.anonymous_pull;
    if public || call.shared.grants.allow(None, wanted, &place.resource) {
        return Ok(());
    }
    Err(denied(call, &Identity::Anonymous, &place, wanted))
}

/// `repository:NAME:ACTIONS` in its parts.
pub(super) fn repository_scope(scope: &str) -> Option<(&str, &str)> {
    scope.strip_prefix("repository:")?.rsplit_once(':')
}
