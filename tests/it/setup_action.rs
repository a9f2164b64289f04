//! `setup/`, the action that installs a released binary, as a runner runs its script.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use gcr_push::oci::digest::Digest;
use tempfile::TempDir;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A commit of a release, the releases, and a runner.
struct Runner(TempDir);

impl Runner {
    /// The release holds `program`; the commit has the checksum of `expected`.
    fn new(program: &[u8], expected: &[u8]) -> Self {
        let runner = Self(tempfile::tempdir().unwrap());
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let [action, release] = ["action/setup".to_owned(), format!("releases/v{VERSION}")]
            .map(|folder| runner.0.path().join(folder));
        fs::create_dir_all(&action).unwrap();
        fs::create_dir_all(&release).unwrap();
        fs::copy(root.join("setup/install"), action.join("install")).unwrap();
        fs::copy(root.join("Cargo.toml"), action.join("../Cargo.toml")).unwrap();
        let hex = Digest::of(expected).hex().to_owned();
        let mut sums = String::new();
        for asset in ["gcr-push-linux-amd64", "gcr-push-linux-arm64"] {
            fs::write(release.join(asset), program).unwrap();
            sums.push_str(&format!("{hex}  {asset}\n"));
        }
        fs::write(action.join("SHA256SUMS"), sums).unwrap();
        runner
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    fn install(&self) -> Output {
        Command::new(self.path("action/setup/install"))
            .env("BASE_URL", format!("file://{}", self.path("releases")))
            .env("RUNNER_TOOL_CACHE", self.path("tools"))
            .env("GITHUB_PATH", self.path("path"))
            .env("GITHUB_OUTPUT", self.path("output"))
            .output()
            .unwrap()
    }

    fn installed(&self) -> String {
        self.path(&format!("tools/gcr-push/{VERSION}/gcr-push"))
    }

    /// The error that the script ends with.
    fn refuses(&self) -> String {
        let output = self.install();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(!Path::new(&self.path("path")).exists());
        let printed = String::from_utf8(output.stdout).unwrap();
        printed.replace(&self.path(""), "/")
    }
}

const PROGRAM: &[u8] = b"#!/bin/sh\necho installed\n";

#[test]
fn released_binary_is_put_on_path() {
    let runner = Runner::new(PROGRAM, PROGRAM);
    let output = runner.install();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(output.stdout, b"installed\n");
    assert_eq!(fs::read(runner.installed()).unwrap(), PROGRAM);
    let mode = fs::metadata(runner.installed()).unwrap().permissions();
    assert_eq!(mode.mode() & 0o777, 0o755);
    let folder = fs::read_to_string(runner.path("path")).unwrap();
    assert_eq!(
        format!("{}/gcr-push", folder.trim_end()),
        runner.installed()
    );
    let outputs = fs::read_to_string(runner.path("output")).unwrap();
    assert_eq!(outputs, format!("version={VERSION}\n"));
    // A second job on the same runner downloads nothing.
    fs::remove_dir_all(runner.path("releases")).unwrap();
    assert!(runner.install().status.success());
}

#[test]
fn binary_with_another_checksum_is_refused() {
    let runner = Runner::new(b"#!/bin/sh\necho another\n", PROGRAM);
    let printed = runner.refuses();
    assert!(printed.contains("is not the file whose checksum this commit has"));
    assert!(!Path::new(&runner.installed()).exists());
    // Nothing is left of the download.
    let folder = Path::new(&runner.installed()).parent().unwrap().to_owned();
    assert_eq!(fs::read_dir(folder).unwrap().count(), 0);
}

#[test]
fn changed_binary_of_an_earlier_job_is_replaced() {
    let runner = Runner::new(PROGRAM, PROGRAM);
    assert!(runner.install().status.success());
    fs::write(runner.installed(), "changed").unwrap();
    assert!(runner.install().status.success());
    assert_eq!(fs::read(runner.installed()).unwrap(), PROGRAM);
}

#[test]
fn commit_that_is_no_release_says_so() {
    let runner = Runner::new(PROGRAM, PROGRAM);
    fs::remove_file(runner.path("action/setup/SHA256SUMS")).unwrap();
    insta::assert_snapshot!(runner.refuses(), @"::error title=gcr-push::this commit is not a release: use gcr-push/gcr-push/setup@TAG with the tag of a release, or use the container action");
}

#[test]
fn missing_release_names_its_address() {
    let runner = Runner::new(PROGRAM, PROGRAM);
    fs::remove_dir_all(runner.path("releases")).unwrap();
    let printed = runner.refuses();
    assert!(printed.contains(&format!("could not download file:///releases/v{VERSION}/")));
}
