//! Reads fields of an image config. The config itself is kept as bytes.

use std::time::SystemTime;

use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::platform::Platform;
use crate::oci::digest::Digest;
use crate::oci::json;

/// Returns `rootfs.diff_ids` of an image config (OCI image spec, `config.md`). Empty if it is
/// another document.
pub(crate) fn diff_ids(config: &[u8]) -> Vec<Digest> {
    #[derive(Deserialize)]
    struct Config {
        rootfs: RootFs,
    }
    #[derive(Deserialize)]
    struct RootFs {
        diff_ids: Vec<Digest>,
    }
    json::from_slice::<Config>(config)
        .map(|config| config.rootfs.diff_ids)
        .unwrap_or_default()
}

/// The fields of an image config that are shown to users (OCI image spec, `config.md`). Empty if it
/// is another document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct About {
    /// The platform of the image.
    pub(crate) platform: Option<Platform>,
    /// The build time.
    pub(crate) created: Option<SystemTime>,
}

/// Reads the fields of an image config.
pub(crate) fn about(config: &[u8]) -> About {
    #[derive(Deserialize)]
    struct Config {
        created: Option<String>,
    }
    let config_of = json::from_slice::<Config>(config);
    let created = config_of.ok().and_then(|config| config.created);
    let created = created.and_then(|text| OffsetDateTime::parse(&text, &Rfc3339).ok());
    About {
        platform: json::from_slice(config).ok().filter(Platform::is_known),
        created: created.map(SystemTime::from),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::oci::json::variants;

    proptest! {
        #[test]
        fn config_is_read_with_any_spelling_of_fields(
            text in variants::of(
                json!({"os": "linux", "architecture": "arm", "created": "2024-03-09T16:00:00Z",
                    "rootfs": {"diff_ids": [Digest::of(b"layer")]}}),
                variants::Fields {
                    all: &["os", "architecture", "created", "rootfs", "diff_ids"],
                    optional: &["variant", "history"],
                },
            )
        ) {
            prop_assert_eq!(diff_ids(text.as_bytes()), [Digest::of(b"layer")]);
            let about = about(text.as_bytes());
            prop_assert_eq!(about.platform.unwrap().to_string(), "linux/arm");
            prop_assert!(about.created.is_some());
        }
    }

    #[test]
    fn only_an_image_config_has_platform_and_time() {
        let config = br#"{"architecture":"arm64","variant":"v8","os":"linux","created":"2024-03-09T16:00:00.5Z"}"#;
        let config_fields = about(config);
        assert_eq!(
            config_fields.platform.unwrap().to_string(),
            "linux/arm64/v8"
        );
        let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_millis(1_710_000_000_500);
        assert_eq!(config_fields.created, Some(time));
        for other in [
            &b"{}"[..],
            b"not json",
            br#"{"os":1,"created":"yesterday"}"#,
        ] {
            assert_eq!(about(other), About::default());
        }
    }

    #[test]
    fn only_an_image_config_has_diff_ids() {
        let digest = Digest::of(b"layer");
        let config = format!(r#"{{"rootfs":{{"type":"layers","diff_ids":["{digest}"]}}}}"#);
        assert_eq!(diff_ids(config.as_bytes()), [digest]);
        for other in [&b"{}"[..], b"not json", br#"{"rootfs":{"diff_ids":["x"]}}"#] {
            assert_eq!(diff_ids(other), []);
        }
    }
}
