//! Logs requests at `debug`, one line each.

use std::time::Instant;

use reqwest::header::CONTENT_LENGTH;
use reqwest::{Request, RequestBuilder, Response};

use super::{UploadClient, UploadError};

/// Sends a request once and logs it. `address` replaces its URL, which may contain secrets.
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

/// The same for an upload of a blob.
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

/// Waits for the response to the request in `line`, whose body has `sent` bytes, and logs it.
pub(crate) async fn logged<E>(
    line: &str,
    sent: u64,
    sending: impl Future<Output = Result<Response, E>>,
) -> Result<Response, E> {
    let start = Instant::now();
    let response = sending.await;
    let milliseconds = start.elapsed().as_millis();
    match &response {
        Ok(response) => {
            let received = match response.content_length() {
                Some(length) => format!("{length} bytes"),
                None => "an unknown number of bytes".to_owned(),
            };
            let status = response.status().as_u16();
            tracing::debug!(
                "{line}: {status}, {sent} bytes sent, {received} received, {milliseconds} ms"
            );
        }
        Err(_) => tracing::debug!("{line}: no response after {milliseconds} ms"),
    }
    response
}

fn body_length(request: &Request) -> u64 {
    let stated = request.headers().get(CONTENT_LENGTH);
    let stated = stated.and_then(|length| length.to_str().ok()?.parse().ok());
    let held = || Some(request.body()?.as_bytes()?.len() as u64);
    stated.or_else(held).unwrap_or(0)
}
