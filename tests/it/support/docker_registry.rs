//! Debian's `docker-registry`: a registry that we did not write.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// The user of [`DockerRegistry::with_login`].
pub const USER: &str = "robot";
/// Its password, with a colon in it as tokens may have.
pub const PASSWORD: &str = "correct:horse";
/// bcrypt of [`PASSWORD`], the only form that the registry accepts.
const PASSWORD_HASH: &str = "$2b$04$gVbAeyOg5UYD1C79MLlMp.ChfMUt19Znjy6ri/lJoYbfAMdDj3KQ.";

/// A running registry on its own port; dropping it stops it.
pub struct DockerRegistry {
    process: Child,
    address: String,
    storage: TempDir,
}

impl DockerRegistry {
    /// Starts one without a login.
    pub fn start() -> Self {
        Self::with("")
    }

    /// Starts one that asks for [`USER`] and [`PASSWORD`].
    pub fn with_login() -> Self {
        Self::with("auth: {htpasswd: {realm: test, path: HTPASSWD}}\n")
    }

    /// Starts one under another program, such as `ip netns exec`.
    pub fn under(command: &[&str]) -> Self {
        Self::start_with("", command)
    }

    fn with(section: &str) -> Self {
        Self::start_with(section, &[])
    }

    fn start_with(section: &str, before: &[&str]) -> Self {
        let storage = TempDir::new().unwrap();
        let config = storage.path().join("config.yml");
        let root = storage.path().join("data");
        let text = format!(
            "version: 0.1\nlog: {{level: info}}\nstorage: {{filesystem: {{rootdirectory: {}}}, \
             delete: {{enabled: true}}}}\nhttp: {{addr: 127.0.0.1:0}}\n{section}",
            root.display()
        );
        let logins = storage.path().join("htpasswd");
        std::fs::write(&logins, format!("{USER}:{PASSWORD_HASH}\n")).unwrap();
        let text = text.replace("HTPASSWD", &logins.display().to_string());
        std::fs::write(&config, text).unwrap();
        let words = [before, &["docker-registry", "serve"]].concat();
        let mut process = Command::new(words[0])
            .args(&words[1..])
            .arg(&config)
            .env("OTEL_TRACES_EXPORTER", "none")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("`docker-registry` is needed: tests/run installs it");
        let mut log = BufReader::new(process.stderr.take().unwrap());
        let mut line = String::new();
        let address = loop {
            line.clear();
            assert_ne!(log.read_line(&mut line).unwrap(), 0, "it did not start");
            if let Some((_, rest)) = line.split_once("listening on ") {
                break rest.split('"').next().unwrap().trim().to_owned();
            }
        };
        // Its log has to be read, or it blocks when the pipe is full.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Self {
            process,
            address,
            storage,
        }
    }

    /// True if no manifest was ever put.
    pub fn is_untouched(&self) -> bool {
        let mut folders = vec![self.storage.path().to_owned()];
        while let Some(folder) = folders.pop() {
            // It may be removing an unfinished upload.
            let Ok(entries) = std::fs::read_dir(folder) else {
                continue;
            };
            for entry in entries.map_while(Result::ok) {
                if entry.file_name() == "_manifests" {
                    return false;
                }
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    folders.push(entry.path());
                }
            }
        }
        true
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }
}

impl Drop for DockerRegistry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
