//! What the body of an error response says, for messages: bounded, and never a web page.

use crate::diagnostics::secret::redact;

/// The message for a web page, whose text is not logged.
pub(crate) const PAGE: &str = "the response is a web page";

/// The text in nginx's page with status 400 for a client without a certificate.
/// <https://nginx.org/en/docs/http/ngx_http_ssl_module.html#errors>
pub(crate) const NO_CLIENT_CERTIFICATE: &str = "No required SSL certificate was sent";

/// The maximum length of a message in characters.
const MAX_TEXT: usize = 1_000;

/// True for a web page in place of the expected response.
pub(crate) fn is_page(body: &[u8]) -> bool {
    body.trim_ascii_start().starts_with(b"<")
}

/// Shortens and redacts text of a server, which may quote secrets from the request.
pub(crate) fn bounded_text(text: &str) -> String {
    // A secret that the limit would cut in half is redacted as a whole.
    let text: String = text.trim().chars().take(16 * MAX_TEXT).collect();
    redact(&text).chars().take(MAX_TEXT).collect()
}

/// The message in a body that has no format of its own, on one line. Empty if there is none.
pub(crate) fn plain_text(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    if text.contains(NO_CLIENT_CERTIFICATE) {
        NO_CLIENT_CERTIFICATE.to_owned()
    } else if is_page(body) {
        PAGE.to_owned()
    } else {
        bounded_text(&text.split_whitespace().collect::<Vec<_>>().join(" "))
    }
}
