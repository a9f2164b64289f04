//! containerd, with a store of its own, and `ctr`, which pulls into it.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A running containerd; dropping it stops it.
pub struct Containerd {
    process: Child,
    folder: TempDir,
}

impl Containerd {
    /// True if this user may run one.
    pub fn can_start() -> bool {
        std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
    }

    /// Starts one, without the plugins that run containers.
    pub fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path().display();
        let config = format!(
            "version = 2\nroot = \"{path}/root\"\nstate = \"{path}/state\"\n\
             disabled_plugins = [\"io.containerd.grpc.v1.cri\", \"io.containerd.internal.v1.opt\"]\n\
             [grpc]\naddress = \"{path}/grpc.sock\"\n[ttrpc]\naddress = \"{path}/ttrpc.sock\"\n"
        );
        let file = folder.path().join("config.toml");
        std::fs::write(&file, config).unwrap();
        let process = Command::new("containerd")
            .arg("--config")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("`containerd` is needed: tests/run installs it");
        let containerd = Self { process, folder };
        // It gives no sign when it is ready, so it is asked.
        let start = Instant::now();
        while !containerd
            .ctr(&["version"])
            .is_some_and(|text| text.contains("Server"))
        {
            assert!(
                start.elapsed() < Duration::from_secs(60),
                "it did not start"
            );
            std::thread::yield_now();
        }
        containerd
    }

    /// Pulls an image by the files of a `--hosts-dir`. Returns its digest, or `None` if it fails.
    pub fn fetch(&self, image: &str, hosts: &Path) -> Option<String> {
        let hosts = hosts.display().to_string();
        self.ctr(&[
            "content",
            "fetch",
            "--all-platforms",
            "--hosts-dir",
            &hosts,
            image,
        ])?;
        let images = self.ctr(&["images", "list"])?;
        let line = images.lines().find(|line| line.starts_with(image))?;
        let digest = line
            .split_whitespace()
            .find(|word| word.starts_with("sha256:"));
        digest.map(str::to_owned)
    }

    fn ctr(&self, words: &[&str]) -> Option<String> {
        let output = Command::new("ctr")
            .arg("--address")
            .arg(self.folder.path().join("grpc.sock"))
            .args(words)
            .output()
            .expect("`ctr` is needed: tests/run installs it");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        output.status.success().then_some(text)
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
