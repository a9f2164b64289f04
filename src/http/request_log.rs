//! Requests, each with a line in the log at `debug`.

use std::time::Instant;

use reqwest::header::CONTENT_LENGTH;
use reqwest::{Request, RequestBuilder, Response};

use super::{UploadClient, UploadError};

/// Sends a request once and logs it, with `address` in place of its URL, in which secrets may stand.
pub(crate) async fn send_logged(
    request: RequestBuilder,
    address: &str,
) -> reqwest::Result<Response> {
    let (client, request) = request.build_split();
    let request = request?;
    let sent = body_length(&request);
    let line = format!("{} {address}", request.method());
    logged(&line, sent, client.execute(request)).await
}

/// The same for a request that sends a blob.
pub(crate) async fn send_upload_logged(
    client: &UploadClient,
    request: RequestBuilder,
    address: &str,
) -> Result<Response, UploadError> {
    let request = request.build()?;
    let sent = body_length(&request);
    let line = format!("{} {address}", request.method());
    logged(&line, sent, client.execute(request)).await
}

/// Waits for an answer to the request that `line` names, with a body of `sent` bytes, and logs it.
pub(crate) async fn logged<E>(
    line: &str,
    sent: u64,
    sending: impl Future<Output = Result<Response, E>>,
) -> Result<Response, E> {
    let start = Instant::now();
    let answer = sending.await;
    let milliseconds = start.elapsed().as_millis();
    match &answer {
        Ok(answer) => {
            let received = match answer.content_length() {
                Some(length) => format!("{length} bytes"),
                None => "bytes without a stated number".to_owned(),
            };
            let status = answer.status().as_u16();
            tracing::debug!(
                "{line}: {status}, {sent} bytes sent, {received} received, {milliseconds} ms"
            );
        }
        Err(_) => tracing::debug!("{line}: no answer after {milliseconds} ms"),
    }
    answer
}

fn body_length(request: &Request) -> u64 {
    let stated = request.headers().get(CONTENT_LENGTH);
    let stated = stated.and_then(|length| length.to_str().ok()?.parse().ok());
    let held = || Some(request.body()?.as_bytes()?.len() as u64);
    stated.or_else(held).unwrap_or(0)
}
