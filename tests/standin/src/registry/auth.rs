//! Signing in: the challenge, the token endpoint, whose credential it is, and what that
//! identity may do. Google answers all four differently from a plain registry.

use http::{Method, header};
use serde_json::json;

use super::{RepositoryOptions, not_migrated};
use crate::accounts::Identity;
use crate::answer::{self, Answer, Refusal};
use crate::behaviour::{Challenge, DeniedWording, NotMigrated, PlainAuth};
use crate::call::{self, Call};
use crate::iam::Permission;
use crate::oauth;
use crate::site::{Family, Place};

/// `GET /v2/`.
pub(super) fn ping(call: &Call) -> Result<Answer, Refusal> {
    if !matches!(call.method, Method::GET | Method::HEAD) {
        return Err(super::unsupported());
    }
    if call.site.is_google_registry() {
        let Some(identity) = google_identity(call)? else {
            let message = "not authenticated: No credential was supplied.";
            return Err(unauthorized(
                call,
                call.behaviour.ping_challenge,
                message,
                None,
            ));
        };
        drop(identity);
        // Nothing, in HTML: seen on the live service.
        return Ok(answer::bytes(200, "text/html; charset=UTF-8", ""));
    }
    plain_identity(call, None)?;
    Ok(answer::bytes(200, "application/json", "{}"))
}

/// The caller, or the 401 that asks who it is.
pub(super) fn identify(
    call: &Call,
    place: &Place,
    wanted: Permission,
) -> Result<Identity, Refusal> {
    if !call.site.is_google_registry() {
        return plain_identity(call, Some((place, wanted)));
    }
    google_identity(call)?.ok_or_else(|| {
        let message = "not authenticated: No valid credential was supplied.";
        let scope = google_scope(call, place);
        unauthorized(call, call.behaviour.data_challenge, message, Some(scope))
    })
}

/// `GET /v2/token`, or `/token` on a plain registry.
pub(super) fn token(call: &Call) -> Result<Answer, Refusal> {
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
    let token = accounts.registry_token(identity, scopes, bought_with, lifetime);
    let mut body = json!({"token": token, "expires_in": lifetime.as_secs()});
    if !google {
        body["access_token"] = token.into();
    }
    Ok(answer::json_body(200, &body))
}

/// Whether this identity may do that there; makes the repository where a push may make it.
pub(super) fn authorize(
    call: &Call,
    identity: &Identity,
    place: &Place,
    wanted: Permission,
) -> Result<(), Refusal> {
    if !call.site.is_google_registry() {
        return Ok(());
    }
    if call.behaviour.api_off {
        return Err(api_off(call));
    }
    let allowed = |permission, resource: &str| {
        let public = permission == Permission::Download && call.behaviour.anonymous_pull;
        public
            || call
                .shared
                .grants
                .allow(identity.member(), permission, resource)
    };
    if !allowed(wanted, &place.resource) {
        return Err(denied(call, identity, place, wanted));
    }
    if call.shared.store.has_repository(&place.resource) {
        return Ok(());
    }
    if wanted != Permission::Upload || !place.through_gcr || !call.behaviour.create_on_push {
        let message = format!("Repository \"{}\" not found", place.repository());
        return Err(Refusal::registry(404, "NAME_UNKNOWN", message));
    }
    if !allowed(Permission::CreateOnPush, &place.resource) {
        // The text says gcr.io for all four hosts, as far as anybody has pasted it.
        return Err(Refusal::registry(
            call.behaviour.statuses.create_on_push,
            "DENIED",
            "gcr.io repo does not exist. Creating on push requires the \
             artifactregistry.repositories.createOnPush permission",
        ));
    }
    let options = RepositoryOptions::default();
    call.shared.store.create(&place.resource, options);
    Ok(())
}

/// Whether the caller may read another image, for a mount.
pub(super) fn may_read(call: &Call, from: &Place) -> bool {
    let identity = identify(call, from, Permission::Download);
    identity.is_ok_and(|identity| authorize(call, &identity, from, Permission::Download).is_ok())
}

fn denied(call: &Call, identity: &Identity, place: &Place, wanted: Permission) -> Refusal {
    let (permission, resource) = (wanted.name(), &place.resource);
    let message = match (identity, call.behaviour.denied_wording) {
        (Identity::Anonymous, _) => format!(
            "Unauthenticated request. Unauthenticated requests do not have permission \
             \"{permission}\" on resource \"{resource}\" (or it may not exist)"
        ),
        (_, DeniedWording::NamesResource) => format!(
            "Permission \"{permission}\" denied on resource \"{resource}\" (or it may not exist)"
        ),
        (_, DeniedWording::Troubleshooter) => format!(
            "Permission '{permission}' denied on resource (or it may not exist). Remediate \
             access with this Troubleshooter URL or share it with your administrator - \
             https://console.cloud.google.com/iam-admin/troubleshooter;errorId=0123456789abcdef"
        ),
    };
    Refusal::registry(403, "DENIED", message)
}

fn api_off(call: &Call) -> Refusal {
    Refusal::registry(
        call.behaviour.statuses.api_off,
        "DENIED",
        "Artifact Registry API has not been used in project 123456789012 before or it is \
         disabled. Enable it by visiting https://console.developers.google.com/apis/api/\
         artifactregistry.googleapis.com/overview?project=123456789012 then retry. If you \
         enabled this API recently, wait a few minutes for the action to propagate to our \
         systems and retry.",
    )
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
fn repository_scope(scope: &str) -> Option<(&str, &str)> {
    scope.strip_prefix("repository:")?.rsplit_once(':')
}

/// Whose credential a request to Google's data plane has; `None` if it has none. A bad one
/// is refused without a challenge.
fn google_identity(call: &Call) -> Result<Option<Identity>, Refusal> {
    if !call.headers.contains_key(header::AUTHORIZATION) {
        return Ok(None);
    }
    let accounts = &call.shared.accounts;
    let identity = if let Some(token) = call::bearer(&call.headers) {
        let outlives = call.behaviour.registry_token_outlives_oauth;
        match accounts.find_registry_token(token, outlives) {
            Some(found) => Some(found.identity),
            None => access_token_owner(call, token).map(Identity::Account),
        }
    } else {
        call::basic(&call.headers)
            .and_then(|(user, password)| account(call, &user, &password))
            .map(|(identity, _)| identity)
    };
    let message = "No valid credential was supplied.";
    let refused = || Refusal::registry(401, "UNAUTHORIZED", message);
    identity.map(Some).ok_or_else(refused)
}

/// The account behind a user name and password, with the OAuth token if that was it. The
/// names are those that Google documents and those that Google's own tools send.
fn account(call: &Call, user: &str, password: &str) -> Option<(Identity, Option<String>)> {
    let accounts = &call.shared.accounts;
    let helper = user
        .strip_prefix("_dcgcr_")
        .and_then(|rest| rest.strip_suffix("_token"));
    match user {
        "_json_key" => {
            let email = accounts.owner_of_key_file(password)?;
            Some((Identity::Account(email), None))
        }
        "_json_key_base64" => {
            let wrapped = call.behaviour.wrapped_json_key_base64;
            let text = key_from_base64(password, wrapped)?;
            accounts.keep_secret(&text);
            Some((Identity::Account(accounts.owner_of_key_file(&text)?), None))
        }
        "oauth2accesstoken" | "_token" | "_dcgcloud_token" | "gclouddockertoken" => {
            let email = access_token_owner(call, password)?;
            Some((Identity::Account(email), Some(password.to_owned())))
        }
        _ if helper.is_some() => {
            let email = access_token_owner(call, password)?;
            Some((Identity::Account(email), Some(password.to_owned())))
        }
        _ => None,
    }
}

fn access_token_owner(call: &Call, token: &str) -> Option<String> {
    let accounts = &call.shared.accounts;
    accounts.access_token_owner(token).or_else(|| {
        let jwt = call.behaviour.self_signed_jwt && token.matches('.').count() == 2;
        let (email, _) = jwt.then(|| oauth::verified(accounts, token, None).ok())??;
        Some(email)
    })
}

fn key_from_base64(password: &str, wrapped: bool) -> Option<String> {
    use base64::Engine;
    let mut text = password.to_owned();
    if wrapped {
        text.retain(|letter| !letter.is_ascii_whitespace());
    }
    let decoded = base64::prelude::BASE64_STANDARD.decode(text).ok()?;
    String::from_utf8(decoded).ok()
}

/// Whose credential a request to the plain registry has, where one is needed.
fn plain_identity(call: &Call, wanted: Option<(&Place, Permission)>) -> Result<Identity, Refusal> {
    let accounts = &call.shared.accounts;
    match call.behaviour.plain_auth {
        PlainAuth::None => Ok(Identity::Anonymous),
        PlainAuth::Basic => match call::basic(&call.headers) {
            Some((user, password)) if accounts.is_user(&user, &password) => {
                Ok(Identity::User(user))
            }
            _ => Err(
                Refusal::registry(401, "UNAUTHORIZED", "authentication required")
                    .with(header::WWW_AUTHENTICATE, "Basic realm=\"standin\""),
            ),
        },
        PlainAuth::Bearer => {
            let scope = wanted.map(|(place, permission)| {
                let actions = match permission {
                    Permission::Download => "pull",
                    Permission::Delete => "delete",
                    Permission::Upload | Permission::CreateOnPush => "pull,push",
                };
                format!("repository:{}:{actions}", place.name)
            });
            let token = call::bearer(&call.headers);
            let found = token.and_then(|token| accounts.find_registry_token(token, true));
            match found {
                Some(found) if covers(&found.scopes, scope.as_deref()) => Ok(found.identity),
                _ => {
                    let challenge = call.behaviour.data_challenge;
                    let message = "authentication required";
                    Err(unauthorized(call, challenge, message, scope))
                }
            }
        }
    }
}

/// Whether the scopes of a token (distribution, "Token Scope Documentation") hold one.
fn covers(held: &[String], wanted: Option<&str>) -> bool {
    let Some((name, actions)) = wanted.and_then(repository_scope) else {
        return true;
    };
    actions.split(',').all(|action| {
        held.iter()
            .filter_map(|scope| repository_scope(scope))
            .filter(|(held_name, _)| *held_name == name)
            .any(|(_, held)| held.split(',').any(|held| held == action || held == "*"))
    })
}

/// The scope of Google's challenge: `pull,push` for all that writes, DELETE included, and
/// `pkg` in place of an image that was not named.
fn google_scope(call: &Call, place: &Place) -> String {
    let reads = matches!(call.method, Method::GET | Method::HEAD);
    let actions = if reads { "pull" } else { "pull,push" };
    let unnamed = place.image.is_empty() && matches!(call.site.family, Family::Pkg { .. });
    let image = if unnamed { "/pkg" } else { "" };
    format!("repository:{}{image}:{actions}", place.name)
}

fn unauthorized(
    call: &Call,
    challenge: Challenge,
    message: &str,
    scope: Option<String>,
) -> Refusal {
    let refusal = Refusal::registry(401, "UNAUTHORIZED", message);
    let challenge = match (challenge, &call.site.family, &scope) {
        // gcr.io, in the words of the client that met it: "no challenge on real requests".
        (Challenge::ByHost, Family::Gcr { .. }, Some(_)) => Challenge::Absent,
        (Challenge::ByHost, Family::Pkg { .. }, None) => Challenge::WithoutService,
        (Challenge::ByHost, _, _) => Challenge::WithService,
        (other, _, _) => other,
    };
    let token = if call.site.is_google_registry() {
        "/v2/token"
    } else {
        "/token"
    };
    let own = || format!("{}{token}", call.site.origin());
    let realm = call.behaviour.realm.clone().unwrap_or_else(own);
    let mut value = format!("Bearer realm=\"{realm}\"");
    match challenge {
        Challenge::Absent => return refusal,
        Challenge::WithoutService | Challenge::ByHost => {}
        Challenge::WithService => {
            value += &format!(",service=\"{}\"", call.site.host);
            if let Some(scope) = scope {
                value += &format!(",scope=\"{scope}\"");
            }
        }
    }
    refusal.with(header::WWW_AUTHENTICATE, value)
}
