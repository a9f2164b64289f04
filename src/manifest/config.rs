//! What is read of an image's config, which is kept as the bytes that it is.

use serde::Deserialize;

use crate::digest::Digest;

/// `rootfs.diff_ids` of an image config (OCI image spec, `config.md`); empty for anything else.
pub(crate) fn diff_ids(config: &[u8]) -> Vec<Digest> {
    #[derive(Deserialize)]
    struct Config {
        rootfs: RootFs,
    }
    #[derive(Deserialize)]
    struct RootFs {
        diff_ids: Vec<Digest>,
    }
    serde_json::from_slice::<Config>(config)
        .map(|config| config.rootfs.diff_ids)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

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
