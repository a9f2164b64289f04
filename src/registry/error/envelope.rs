//! Parses the body of an error response.

use serde::Deserialize;

use crate::oci::json;

/// Parses `{"errors":[{"code","message"}]}` (distribution spec, "Error Codes"). A body that is not
/// such JSON is the message itself, as in Google's 412, unless it is a web page.
pub(super) fn read_envelope(body: &[u8]) -> (Option<String>, Option<String>) {
    #[derive(Deserialize)]
    struct Envelope {
        errors: Vec<Entry>,
    }
    #[derive(Deserialize)]
    struct Entry {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let non_empty = |text: String| Some(text).filter(|text| !text.trim().is_empty());
    match json::from_slice::<Envelope>(body) {
        Ok(envelope) => match envelope.errors.into_iter().next() {
            Some(entry) => (non_empty(entry.code), non_empty(entry.message)),
            None => (None, None),
        },
        Err(_) => {
            let text = String::from_utf8_lossy(body);
            let text = text.trim();
            if text.is_empty() {
                (None, None)
            } else if text.contains(NO_CLIENT_CERTIFICATE) {
                (None, Some(NO_CLIENT_CERTIFICATE.to_owned()))
            } else if is_page(body) {
                (None, Some(PAGE.to_owned()))
            } else {
                (None, Some(text.chars().take(1000).collect()))
            }
        }
    }
}

/// The message for a web page, whose text is not logged.
pub(in crate::registry) const PAGE: &str = "the answer is a web page";

/// The text in nginx's page with status 400 for a client without a certificate.
/// <https://nginx.org/en/docs/http/ngx_http_ssl_module.html#errors>
pub(in crate::registry) const NO_CLIENT_CERTIFICATE: &str = "No required SSL certificate was sent";

/// True for a web page in place of the expected response.
pub(in crate::registry) fn is_page(body: &[u8]) -> bool {
    body.trim_ascii_start().starts_with(b"<")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::oci::json::variants;

    proptest! {
        #[test]
        fn error_is_read_with_any_spelling_of_fields(
            text in variants::of(
                json!({"errors": [{"message": "no"}]}),
                variants::Fields {
                    all: &["errors", "code", "message"],
                    optional: &["code", "detail"],
                },
            )
        ) {
            let read = read_envelope(text.as_bytes());
            prop_assert_eq!(read, (None, Some("no".to_owned())));
        }
    }

    #[test]
    fn first_error_of_an_envelope_is_shown() {
        let body = br#"{"errors":[{"code":"DENIED","message":"no"},{"code":"X","message":"y"}]}"#;
        assert_eq!(
            read_envelope(body),
            (Some("DENIED".to_owned()), Some("no".to_owned()))
        );
        assert_eq!(read_envelope(b""), (None, None));
        assert_eq!(
            read_envelope(b"Container Registry is deprecated"),
            (None, Some("Container Registry is deprecated".to_owned()))
        );
        assert_eq!(read_envelope(b"<html>502</html>").1.unwrap(), PAGE);
    }
}
