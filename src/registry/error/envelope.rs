//! Parses the body of an error response.

use serde::Deserialize;

use crate::http::plain_text;
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
            if text.contains(NO_CLIENT_CERTIFICATE) {
                (None, Some(NO_CLIENT_CERTIFICATE.to_owned()))
            } else {
                (None, non_empty(plain_text(body)))
            }
        }
    }
}

/// The text in nginx's page with status 400 for a client without a certificate.
/// <https://nginx.org/en/docs/http/ngx_http_ssl_module.html#errors>
pub(in crate::registry) const NO_CLIENT_CERTIFICATE: &str = "No required SSL certificate was sent";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::http::PAGE;
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
