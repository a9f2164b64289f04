//! Properties that hold for every input. The tests of this crate call these functions with inputs
//! from proptest, and the targets in `fuzz/` with inputs from libFuzzer.

use std::ffi::OsString;
use std::io::{self, Cursor};
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;

use futures_util::TryStreamExt as _;

use crate::config::{self, CommandLine, FileSystem, VARIABLES};
use crate::diagnostics::render::write_chain;
use crate::diagnostics::sanitize::sanitize;
use crate::image::{Content, Source};
use crate::oci::digest::Digest;
use crate::oci::manifest::AnyManifest;
use crate::oci::reference::Reference;

/// A file system without files.
struct Nothing;

impl FileSystem for Nothing {
    fn read(&self, _: &Path) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn exists(&self, _: &Path) -> bool {
        false
    }

    fn is_directory(&self, _: &Path) -> bool {
        false
    }
}

/// Checks that a parsed manifest keeps its bytes, and has the digest of them.
///
/// # Panics
///
/// If it does not.
pub fn manifest(bytes: &[u8]) {
    if let Ok(manifest) = AnyManifest::parse(bytes.to_vec().into(), None) {
        assert_eq!(manifest.bytes(), bytes);
        assert_eq!(*manifest.digest(), Digest::of(bytes));
    }
}

/// Checks that a parsed reference is the same after it is written and parsed again.
///
/// # Panics
///
/// If it is not.
pub fn reference(text: &str) {
    if let Ok(reference) = text.parse::<Reference>() {
        let written = reference.to_string();
        assert_eq!(written.parse().as_ref(), Ok(&reference), "{written}");
        assert!(!written.contains(char::is_control), "{written}");
    }
}

/// Checks that an environment, a line `NAME=VALUE` for each variable, gives a request or an error,
/// and that no error shows a secret.
///
/// # Panics
///
/// If an error shows a secret.
pub fn config(bytes: &[u8]) {
    let mut secrets = Vec::new();
    let environment: Vec<(OsString, OsString)> = bytes
        .split(|byte| *byte == b'\n')
        .filter_map(|line| {
            let at = line.iter().position(|byte| *byte == b'=')?;
            let (name, value) = (&line[..at], &line[at + 1..]);
            let is_secret = VARIABLES.iter().any(|variable| {
                let upper = variable.name.to_uppercase();
                variable.is_secret() && name.ends_with(upper.as_bytes())
            });
            // A short value may be part of any message by chance.
            if is_secret && value.len() >= 20 {
                secrets.extend(std::str::from_utf8(value).ok().map(str::trim));
            }
            let owned = |text: &[u8]| OsString::from_vec(text.to_vec());
            Some((owned(name), owned(value)))
        })
        .collect();
    if let Err(error) = config::request(&CommandLine::default(), environment.into_iter(), &Nothing)
    {
        let mut rendered = Vec::new();
        let _ = write_chain(&mut rendered, &error, &[]);
        let rendered = String::from_utf8_lossy(&rendered);
        assert!(
            !secrets.iter().any(|secret| rendered.contains(secret)),
            "{rendered}"
        );
    }
}

/// Checks that an archive gives an error, or an image whose blobs can all be read and have the
/// declared size.
///
/// # Panics
///
/// If a blob cannot be read or has another size.
#[expect(
    clippy::expect_used,
    reason = "without threads and a temporary folder nothing is found out here"
)]
pub fn archive(bytes: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let input = Cursor::new(bytes.to_vec());
        let folder = std::env::temp_dir();
        let Ok(source) = Source::open_reader(input, "the archive", None, &folder).await else {
            return;
        };
        let blobs: Vec<Digest> = match &source.image().content {
            Content::Manifests(tree) => tree.blobs().map(|blob| blob.digest.clone()).collect(),
            Content::Uncompressed(image) => {
                image.layers.iter().map(|l| l.diff_id.clone()).collect()
            }
        };
        for digest in blobs {
            let Some(size) = source.blob_size(&digest) else {
                continue;
            };
            let read = source.open_blob(&digest, 0).await.expect("it is there");
            let read = read.try_fold(0, async |sum, piece| Ok(sum + piece.len() as u64));
            assert_eq!(read.await.expect("it can be read"), size);
        }
    });
}

/// Checks that sanitized text is neither a command of a CI nor a control sequence.
///
/// # Panics
///
/// If it is.
pub fn text(text: &str) {
    let sanitized = sanitize(text);
    assert!(!sanitized.contains(char::is_control), "{sanitized:?}");
    assert!(!sanitized.trim_start().starts_with("::"), "{sanitized:?}");
    assert!(!sanitized.contains("##["), "{sanitized:?}");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MANIFEST: &str = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2}]}"#;

    /// Generates a text with some bytes changed.
    fn changed(text: &'static str) -> impl Strategy<Value = Vec<u8>> {
        let change = (any::<prop::sample::Index>(), any::<u8>());
        prop::collection::vec(change, 0..4).prop_map(move |changes| {
            let mut bytes = text.as_bytes().to_vec();
            for (place, byte) in changes {
                let place = place.index(bytes.len());
                bytes[place] = byte;
            }
            bytes
        })
    }

    fn line() -> impl Strategy<Value = String> {
        let names: Vec<_> = VARIABLES.iter().map(|variable| variable.name).collect();
        let value = prop_oneof![
            "[ -~]{0,40}",
            "[a-z/:.@,]{0,30}",
            "(docker-archive|oci|docker|docker-daemon):[a-z/:.]{0,20}",
            "\\PC{0,20}",
            "[{}\\[\\]\":,a-z_0-9]{0,60}",
            Just("true".to_owned()),
        ];
        (any::<bool>(), prop::sample::select(names), value).prop_map(|(ours, name, value)| {
            let prefix = if ours { "GCR_PUSH_" } else { "INPUT_" };
            format!("{prefix}{}={value}", name.to_uppercase())
        })
    }

    type OfBytes = fn(&[u8]);
    type OfText = fn(&str);

    /// Building the targets would compile the whole tree once more. Instead this checks that each
    /// target calls an existing function, and that the function has the right signature.
    #[test]
    fn every_fuzz_target_calls_an_existing_property() {
        let of_bytes: [(&str, &str, OfBytes); 4] = [
            ("archive", "gcr_push::properties::archive", archive),
            ("config", "gcr_push::properties::config", config),
            ("manifest", "gcr_push::properties::manifest", manifest),
            (
                "headers",
                "gcr_push::registry::properties::headers",
                crate::registry::properties::headers,
            ),
        ];
        let of_text: [(&str, &str, OfText); 2] = [
            ("reference", "gcr_push::properties::reference", reference),
            ("text", "gcr_push::properties::text", text),
        ];
        let targets = of_bytes
            .map(|(name, path, _)| (name, format!("{path}(data);")))
            .into_iter()
            .chain(of_text.map(|(name, path, _)| (name, format!("{path}(text);"))));
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
        let listed = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap();
        let mut known = 0;
        for (name, call) in targets {
            let file = folder.join(format!("fuzz_targets/{name}.rs"));
            let target = std::fs::read_to_string(file).unwrap();
            assert!(target.contains(&call), "{name} does not call `{call}`");
            assert!(listed.contains(&format!("name = \"{name}\"")), "{name}");
            known += 1;
        }
        let files = std::fs::read_dir(folder.join("fuzz_targets")).unwrap();
        assert_eq!(files.count(), known);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn random_manifest_keeps_its_bytes_or_is_an_error(bytes: Vec<u8>) {
            manifest(&bytes);
        }

        #[test]
        fn changed_manifest_keeps_its_bytes_or_is_an_error(bytes in changed(MANIFEST)) {
            manifest(&bytes);
        }

        #[test]
        fn readable_reference_reads_back(
            text in prop_oneof![
                "\\PC{0,60}",
                "([a-z0-9.-]{1,20}(:[0-9]{1,6})?/)?[a-z0-9._/-]{1,30}(:[A-Za-z0-9._-]{0,20})?(@sha256:[0-9a-f]{60,66})?",
            ],
        ) {
            reference(&text);
        }

        #[test]
        fn random_environment_leaks_no_secret(
            lines in prop::collection::vec(line(), 0..8),
        ) {
            config(lines.join("\n").as_bytes());
        }

        #[test]
        fn random_environment_bytes_are_a_request_or_an_error(
            value in prop::collection::vec(any::<u8>(), 0..40),
            name in prop::sample::select(VARIABLES.iter().map(|v| v.name).collect::<Vec<_>>()),
        ) {
            let name = format!("GCR_PUSH_{}=", name.to_uppercase());
            config(&[name.into_bytes(), value].concat());
        }

        #[test]
        fn any_text_is_sanitized(
            any_text in prop_oneof!["\\PC{0,40}", "[:# \\[\n\r\t\u{1b}\u{2028}a]{0,20}"],
        ) {
            text(&any_text);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]

        #[test]
        fn random_bytes_are_an_archive_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..1500)) {
            archive(&bytes);
        }
    }
}
