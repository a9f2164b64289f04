//! Google's own gcloud, where it is installed, pointed at the stand-in.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::google::{ACCOUNT, Google};

/// The output of `gcloud ARGUMENTS`. `None`, with a note, if gcloud is not installed.
pub fn gcloud(google: &Google, arguments: &[&str]) -> Option<String> {
    let path = Path::new("/usr/bin/gcloud");
    if !path.exists() {
        eprintln!("skipped: there is no {} to compare with", path.display());
        return None;
    }
    let home = TempDir::new().unwrap();
    let ca = home.path().join("ca.pem");
    std::fs::write(&ca, google.standin.ca_pem()).unwrap();
    let output = Command::new(path)
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", home.path())
        .env("TMPDIR", home.path())
        .env("TZ", "UTC")
        .env("HTTPS_PROXY", google.standin.proxy_url())
        .env("CLOUDSDK_CONFIG", home.path().join("gcloud"))
        .env("CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE", &ca)
        .env("CLOUDSDK_CORE_DISABLE_PROMPTS", "1")
        .env(
            "CLOUDSDK_AUTH_ACCESS_TOKEN",
            google.standin.access_token(ACCOUNT),
        )
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{message}");
    Some(String::from_utf8(output.stdout).unwrap())
}
