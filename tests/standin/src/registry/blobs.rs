//! Reading and deleting blobs: HEAD, GET with its redirects, ranges.

use http::{Method, header};

use super::contents::Download;
use super::{CONTENT_DIGEST, unsupported};
use crate::answer::{self, Answer, Refusal};
use crate::behaviour::BlobDownload;
use crate::call::Call;
use crate::hosts::ImagePath;
use crate::random::opaque;

/// HEAD and GET.
pub(super) fn get(call: &Call, image_path: &ImagePath, digest: &str) -> Result<Answer, Refusal> {
    let store = &call.shared.store;
    if !store.has_blob(image_path, digest) {
        return Err(unknown());
    }
    let length = store.blobs.length(digest).ok_or_else(unknown)?;
    if call.method == Method::HEAD {
        let mut answer = answer::empty(200);
        answer::set(&mut answer, header::CONTENT_LENGTH, &length.to_string());
        answer::set(
            &mut answer,
            header::CONTENT_TYPE,
            "application/octet-stream",
        );
        answer::set(&mut answer, CONTENT_DIGEST, digest);
        return Ok(answer);
    }
    let google = call.site.is_google_registry();
    let behaviour = &call.behaviour;
    let how = if google {
        &behaviour.blob_download
    } else {
        &behaviour.plain_blob_download
    };
    let origin = match how {
        BlobDownload::Direct => {
            let mut answer = content(call, digest, length)?;
            answer::set(&mut answer, CONTENT_DIGEST, digest);
            return Ok(answer);
        }
        // Relative and on the same host, as measured at gcr.io in 2026.
        BlobDownload::RelativeRedirect => String::new(),
        BlobDownload::CrossHostRedirect(host) => format!("https://{host}"),
    };
    let secret = opaque(128);
    call.shared.accounts.keep_secret(&secret);
    let download = Download {
        digest: digest.to_owned(),
        host: call.site.host.clone(),
    };
    store
        .downloads
        .lock()
        .unwrap()
        .insert(secret.clone(), download);
    let mut answer = answer::empty(302);
    let (project, repository) = namespace(image_path);
    let path = format!("/artifacts-downloads/namespaces/{project}/repositories/{repository}");
    let location = format!("{origin}{path}/downloads/{secret}");
    answer::set(&mut answer, header::LOCATION, &location);
    if google {
        let name = header::HeaderName::from_static("x-gcr-using-artifact-registry");
        answer::set(&mut answer, name, "true");
    }
    Ok(answer)
}

/// The second request of a GET. Its URL is the permission, and a credential must not be sent to
/// another host than the registry: signed storage URLs refuse two of them.
pub(super) fn download(call: &Call, secret: &str) -> Result<Answer, Refusal> {
    if !matches!(call.method, Method::GET | Method::HEAD) {
        return Err(unsupported());
    }
    let store = &call.shared.store;
    let found = store.downloads.lock().unwrap().get(secret).cloned();
    let download = found.ok_or_else(|| Refusal::page(404, "Not Found"))?;
    check_host(call, &download.host)?;
    let length = store.blobs.length(&download.digest).ok_or_else(unknown)?;
    content(call, &download.digest, length)
}

/// Refuses a credential that was sent to another host.
pub(super) fn check_host(call: &Call, host: &str) -> Result<(), Refusal> {
    if call.site.host == host || !call.headers.contains_key(header::AUTHORIZATION) {
        return Ok(());
    }
    let text = format!("a credential for {host} came to {}", call.site.host);
    Err(Refusal::text(400, text))
}

/// DELETE, as in Artifact Registry's audit log.
pub(super) fn delete(call: &Call, image_path: &ImagePath, digest: &str) -> Result<Answer, Refusal> {
    if !call.shared.store.has_blob(image_path, digest) {
        return Err(unknown());
    }
    call.shared.store.forget_blob(image_path, digest);
    Ok(answer::empty(202))
}

/// Project and repository as the URLs outside `/v2/` show them.
pub(super) fn namespace(image_path: &ImagePath) -> (&str, &str) {
    let project = image_path.project.strip_prefix("projects/");
    (
        project.unwrap_or(&image_path.resource),
        image_path.repository(),
    )
}

fn content(call: &Call, digest: &str, length: u64) -> Result<Answer, Refusal> {
    let range = call.header(header::RANGE).filter(|_| call.behaviour.ranges);
    let (status, start, end) = match range.map(|range| parse_range(range, length)) {
        None | Some(Range::Ignored) => (200, 0, length),
        Some(Range::Part(start, end)) => (206, start, end),
        Some(Range::Outside) => {
            let refusal = Refusal::registry(416, "RANGE_INVALID", "invalid range");
            return Err(refusal.with(header::CONTENT_RANGE, format!("bytes */{length}")));
        }
    };
    let source = call.shared.store.blobs.open(digest, start, end - start);
    let mut answer = answer::with_source(status, source.ok_or_else(unknown)?);
    answer::set(
        &mut answer,
        header::CONTENT_TYPE,
        "application/octet-stream",
    );
    if call.behaviour.ranges {
        answer::set(&mut answer, header::ACCEPT_RANGES, "bytes");
    }
    if status == 206 {
        let range = format!("bytes {start}-{}/{length}", end - 1);
        answer::set(&mut answer, header::CONTENT_RANGE, &range);
    }
    Ok(answer)
}

/// A `Range` header for a length: the start and the byte past the end.
#[derive(Debug, PartialEq, Eq)]
enum Range {
    Part(u64, u64),
    Outside,
    /// Invalid, or of several parts: RFC 9110 lets a server ignore those.
    Ignored,
}

fn parse_range(range: &str, length: u64) -> Range {
    let Some((start, end)) = range
        .strip_prefix("bytes=")
        .and_then(|range| range.split_once('-'))
    else {
        return Range::Ignored;
    };
    let bounds = match (start.parse::<u64>(), end.parse::<u64>()) {
        (Ok(start), Ok(end)) if start <= end => (start, length.min(end.saturating_add(1))),
        (Ok(start), Err(_)) if end.is_empty() => (start, length),
        (Err(_), Ok(last)) if start.is_empty() => (length.saturating_sub(last), length),
        _ => return Range::Ignored,
    };
    match bounds {
        (start, end) if start < end => Range::Part(start, end),
        _ => Range::Outside,
    }
}

fn unknown() -> Refusal {
    Refusal::registry(404, "BLOB_UNKNOWN", "blob unknown to registry")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_parsed_as_in_rfc_9110() {
        for (text, expected) in [
            ("bytes=0-0", Range::Part(0, 1)),
            ("bytes=3-", Range::Part(3, 10)),
            ("bytes=3-99", Range::Part(3, 10)),
            ("bytes=-4", Range::Part(6, 10)),
            ("bytes=10-", Range::Outside),
            ("bytes=5-4", Range::Ignored),
            ("bytes=1-2,4-5", Range::Ignored),
            ("lines=1-2", Range::Ignored),
        ] {
            assert_eq!(parse_range(text, 10), expected, "{text}");
        }
    }
}
