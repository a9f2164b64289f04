//! skopeo, which pulls back what was pushed.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// An image as skopeo pulled it: every file of its `dir:` form, blobs by hex digest.
pub struct SkopeoPull {
    /// The manifest's exact bytes.
    pub manifest: Vec<u8>,
    /// Blobs, and the manifests below an index, by hex digest.
    pub files: BTreeMap<String, Vec<u8>>,
}

/// Pulls `reference` with everything below it.
pub fn pull(reference: &str, environment: &[(String, String)], extra: &[&str]) -> SkopeoPull {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new("skopeo")
        .args(["copy", "--all", "--quiet", "--insecure-policy"])
        .args(["--src-tls-verify=true"])
        .args(extra)
        .arg(format!("docker://{reference}"))
        .arg(format!("dir:{}", folder.path().display()))
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .output()
        .expect("`skopeo` is needed: tests/run installs it");
    assert!(
        output.status.success(),
        "skopeo copy {reference}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    read(folder.path())
}

/// Pulls from a registry on this machine over plain HTTP.
pub fn pull_plain(reference: &str) -> SkopeoPull {
    pull(reference, &[], &["--src-tls-verify=false"])
}

fn read(folder: &Path) -> SkopeoPull {
    let mut manifest = Vec::new();
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let bytes = std::fs::read(entry.path()).unwrap();
        match name.as_str() {
            "manifest.json" => manifest = bytes,
            "version" => {}
            // Manifests below an index are `HEX.manifest.json`.
            _ => {
                let hex = name.split('.').next().unwrap().to_owned();
                files.insert(hex, bytes);
            }
        }
    }
    SkopeoPull { manifest, files }
}
