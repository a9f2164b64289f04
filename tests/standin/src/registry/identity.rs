//! The identity behind the credential of a request.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::header;

use super::auth::unauthorized;
use super::token::repository_scope;
use crate::accounts::{Identity, RegistryToken};
use crate::answer::Refusal;
use crate::behaviour::PlainAuth;
use crate::call::{self, Call};
use crate::hosts::ImagePath;
use crate::iam::Permission;
use crate::oauth;

/// The identity of a request to Google's data plane; `None` if it has no credential. A bad one is
/// refused without a challenge.
pub(super) fn google_identity(call: &Call) -> Result<Option<Identity>, Refusal> {
    if !call.headers.contains_key(header::AUTHORIZATION) {
        return Ok(None);
    }
    let accounts = &call.shared.accounts;
    let identity = if let Some(token) = call::bearer(&call.headers) {
        let outlives = call.behaviour.registry_token_outlives_oauth;
        let found = accounts.find_registry_token(token, outlives);
        match found.filter(|found| is_for(call, found)) {
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

/// True if a token may be used on this host.
fn is_for(call: &Call, token: &RegistryToken) -> bool {
    let travels = call.site.is_google_registry() && call.behaviour.registry_token_travels;
    let service = call.behaviour.service.as_deref();
    token.host == service.unwrap_or(&call.site.host) || travels
}

/// The account of a user name and password, with the OAuth token if that was the password. The
/// names are those that Google documents and those that Google's own tools send.
pub(super) fn account(
    call: &Call,
    user: &str,
    password: &str,
) -> Option<(Identity, Option<String>)> {
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
    let mut text = password.to_owned();
    if wrapped {
        text.retain(|letter| !letter.is_ascii_whitespace());
    }
    let decoded = BASE64_STANDARD.decode(text).ok()?;
    String::from_utf8(decoded).ok()
}

/// The identity of a request to the plain registry, if it needs one.
pub(super) fn plain_identity(
    call: &Call,
    wanted: Option<(&ImagePath, Permission)>,
) -> Result<Identity, Refusal> {
    let accounts = &call.shared.accounts;
    match call.behaviour.plain_auth {
        PlainAuth::None => Ok(Identity::Anonymous),
        PlainAuth::Basic => match call::basic(&call.headers) {
            Some((user, password))
                if accounts.is_user(&user, &password)
                    && wanted.is_none_or(|(image_path, _)| {
                        accounts.can_access(&user, &image_path.name)
                    }) =>
            {
                Ok(Identity::User(user))
            }
            _ => Err(
                Refusal::registry(401, "UNAUTHORIZED", "authentication required")
                    .with(header::WWW_AUTHENTICATE, "Basic realm=\"standin\""),
            ),
        },
        PlainAuth::Bearer => {
            let scope = wanted.map(|(image_path, permission)| {
                let actions = match permission {
                    Permission::Download => "pull",
                    Permission::Delete => "delete",
                    Permission::Upload | Permission::CreateOnPush => "pull,push",
                };
                format!("repository:{}:{actions}", image_path.name)
            });
            let token = call::bearer(&call.headers);
            let found = token.and_then(|token| accounts.find_registry_token(token, true));
            match found.filter(|found| is_for(call, found)) {
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

/// True if the scopes of a token (distribution, "Token Scope Documentation") include this one.
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
