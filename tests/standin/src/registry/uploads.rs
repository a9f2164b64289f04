//! Blob uploads: POST, one PATCH or none, PUT. Google takes a blob in one piece; the plain
//! registry also takes chunks, as the OCI distribution-spec describes them.

use std::sync::Arc;

use http::header::HeaderName;
use http::{Method, header};

use super::{CONTENT_DIGEST, auth, blobs, located, names, unsupported};
use crate::answer::{self, Answer, Refusal};
use crate::behaviour::{Mount, UploadLocation};
use crate::call::Call;
use crate::hosts::{ImagePath, PLAIN};
use crate::random::opaque;
use crate::storage::Writer;

const UPLOAD_ID: HeaderName = HeaderName::from_static("docker-upload-uuid");

/// An upload in progress.
pub(super) struct Session {
    image_path: ImagePath,
    /// The host it was opened on.
    host: String,
    google: bool,
    writer: Writer,
    patched: bool,
}

/// POST `…/blobs/uploads/`.
pub(super) async fn start(call: &mut Call, image_path: ImagePath) -> Result<Answer, Refusal> {
    require_length(call)?;
    if let Some(digest) = call.query.get("mount") {
        names::check_digest(digest)?;
        if let Some(answer) = mounted(call, &image_path, digest) {
            return Ok(answer);
        }
    }
    let mut session = Session {
        host: call.site.host.clone(),
        google: call.site.is_google_registry(),
        writer: call.shared.store.blobs.writer(),
        patched: false,
        image_path,
    };
    if call.behaviour.single_post
        && let Some(digest) = call.query.get("digest").map(str::to_owned)
    {
        names::check_digest(&digest)?;
        receive(call, &mut session).await?;
        return finish(call, session, &digest);
    }
    let mut answer = answer::empty(202);
    continue_upload(call, &mut answer, session);
    Ok(answer)
}

/// PATCH, PUT, GET and DELETE of an upload's own URL.
pub(super) async fn resume(
    call: &mut Call,
    name: Option<&str>,
    secret: &str,
) -> Result<Answer, Refusal> {
    if !matches!(call.method.as_str(), "PATCH" | "PUT" | "GET" | "DELETE") {
        return Err(unsupported());
    }
    // Removed from the table while it is served: a concurrent request finds nothing.
    let found = call.shared.store.uploads.lock().unwrap().remove(secret);
    let mut session = found.ok_or_else(unknown)?;
    let misplaced = name.is_some_and(|name| name != session.image_path.name);
    let refused = match blobs::check_host(call, &session.host) {
        Err(refusal) => Some(refusal),
        Ok(()) if misplaced => Some(unknown()),
        Ok(()) => refuse(call, &session),
    };
    if let Some(refusal) = refused {
        keep(call, secret, session);
        return Err(refusal);
    }
    match call.method.as_str() {
        "DELETE" => Ok(answer::empty(204)),
        "GET" => {
            let mut answer = answer::empty(204);
            continue_upload(call, &mut answer, session);
            Ok(answer)
        }
        "PATCH" => {
            session.patched = true;
            let received = receive(call, &mut session).await;
            if let Err(broken) = received {
                // The bytes that arrived count: a client may ask with GET and continue from there.
                keep(call, secret, session);
                return Err(broken);
            }
            let mut answer = answer::empty(202);
            continue_upload(call, &mut answer, session);
            Ok(answer)
        }
        _ => {
            let digest = call.query.get("digest").unwrap_or_default().to_owned();
            names::check_digest(&digest)?;
            let before = session.writer.length();
            receive(call, &mut session).await?;
            if session.google && session.patched && session.writer.length() > before {
                return Err(second_chunk(call));
            }
            finish(call, session, &digest)
        }
    }
}

/// Refusals before the body is read.
fn refuse(call: &Call, session: &Session) -> Option<Refusal> {
    if !matches!(call.method, Method::PATCH | Method::PUT) {
        return None;
    }
    if let Err(refusal) = require_length(call) {
        return Some(refusal);
    }
    let range = call.header(header::CONTENT_RANGE);
    if session.google {
        let patch = call.method == Method::PATCH;
        return match range {
            _ if patch && session.patched => Some(second_chunk(call)),
            Some(_) => Some(Refusal::registry(
                call.behaviour.statuses.content_range,
                "UNSUPPORTED",
                "chunked uploads are not supported",
            )),
            None => None,
        };
    }
    let start = range?.split('-').next()?.parse::<u64>().ok();
    let length = session.writer.length();
    (start != Some(length)).then(|| {
        Refusal::registry(416, "BLOB_UPLOAD_INVALID", "out of order chunk")
            .with(header::RANGE, range_of(length))
    })
}

fn second_chunk(call: &Call) -> Refusal {
    let status = call.behaviour.statuses.second_patch;
    Refusal::registry(status, "UNSUPPORTED", "chunked uploads are not supported")
}

/// Google's front ends refuse a write without a length; HTTP/1.1 alone would read it as an empty
/// body (RFC 9112, section 6.3).
fn require_length(call: &Call) -> Result<(), Refusal> {
    let strict = call.site.is_google_registry() && call.behaviour.length_required;
    if strict && !call.has_length() {
        return Err(Refusal::page(411, "Length Required"));
    }
    Ok(())
}

fn mounted(call: &Call, image_path: &ImagePath, digest: &str) -> Option<Answer> {
    let from = call.query.get("from")?;
    names::check_name(from).ok()?;
    let from = ImagePath::resolve(&call.site.family, &call.site.host, from).ok()?;
    let within = match call.behaviour.mount {
        Mount::Never => false,
        Mount::SameRepository => from.resource == image_path.resource,
        Mount::SameHost => true,
    };
    let store = &call.shared.store;
    if !within || !store.has_blob(&from, digest) || !auth::may_read(call, &from) {
        return None;
    }
    store.change(image_path, |image| image.blobs.insert(digest.to_owned()));
    Some(created(image_path, digest))
}

async fn receive(call: &mut Call, session: &mut Session) -> Result<(), Refusal> {
    let shared = Arc::clone(&call.shared);
    let _turn = match call.behaviour.one_upload_at_a_time {
        true => Some(shared.store.upload_turn.lock().await),
        false => None,
    };
    while let Some(chunk) = call.body.chunk().await? {
        session.writer.write(&chunk);
    }
    Ok(())
}

fn finish(call: &Call, session: Session, digest: &str) -> Result<Answer, Refusal> {
    let computed = session.writer.digest();
    if computed != digest {
        let message = format!("provided digest {digest} did not match uploaded content {computed}");
        return Err(Refusal::registry(400, "DIGEST_INVALID", message));
    }
    let store = &call.shared.store;
    store.blobs.keep(digest, session.writer);
    store.change(&session.image_path, |image| {
        image.blobs.insert(digest.to_owned())
    });
    Ok(created(&session.image_path, digest))
}

fn created(image_path: &ImagePath, digest: &str) -> Answer {
    let mut answer = answer::empty(201);
    located(&mut answer, &image_path.name, "blobs", digest);
    answer::set(&mut answer, CONTENT_DIGEST, digest);
    answer
}

/// Gives an upload a new secret and tells the client where it continues; the URL it had before is
/// invalid, as with Google after a PATCH.
fn continue_upload(call: &Call, answer: &mut Answer, session: Session) {
    let secret = opaque(call.behaviour.upload_token_length.max(22));
    call.shared.accounts.keep_secret(&secret);
    let (project, repository) = blobs::namespace(&session.image_path);
    let outside = format!(
        "/artifacts-uploads/namespaces/{project}/repositories/{repository}/uploads/{secret}"
    );
    let under = format!("/v2/{}/blobs/uploads/{secret}", session.image_path.name);
    let plain = session.image_path.resource == PLAIN;
    let mut location = match &call.behaviour.upload_location {
        UploadLocation::OutsideV2 if plain => format!("{}{under}", call.site.origin()),
        UploadLocation::OutsideV2 => outside,
        UploadLocation::UnderV2 => under,
        UploadLocation::Absolute if plain => format!("{}{under}", call.site.origin()),
        UploadLocation::LastComponent => secret.clone(),
        UploadLocation::WithoutScheme => format!("//{}{under}", call.site.host),
        UploadLocation::PlainHttp => format!("http://{}{under}", call.site.host),
        UploadLocation::Absolute => format!("{}{outside}", call.site.origin()),
        UploadLocation::OtherHost(host) => format!("https://{host}{outside}"),
    };
    if call.behaviour.upload_location_has_query {
        location += "?state=opaque";
    }
    answer::set(answer, header::LOCATION, &location);
    if plain {
        answer::set(answer, header::RANGE, &range_of(session.writer.length()));
        answer::set(answer, UPLOAD_ID, &secret[..22]);
    }
    keep(call, &secret, session);
}

/// `0-LAST`, which for no bytes is written `0-0`.
fn range_of(length: u64) -> String {
    format!("0-{}", length.saturating_sub(1))
}

fn keep(call: &Call, secret: &str, session: Session) {
    let mut uploads = call.shared.store.uploads.lock().unwrap();
    uploads.insert(secret.to_owned(), session);
}

fn unknown() -> Refusal {
    Refusal::registry(
        404,
        "BLOB_UPLOAD_UNKNOWN",
        "blob upload unknown to registry",
    )
}
