//! Tests of whole requests and whole error texts, with made-up environments.

mod credentials;
mod daemon;
mod faults;
mod network;
mod paths;
mod precedence;
mod pull_secret;
mod targets;

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use super::{Command, CommandLine, CommandName, ConfigError, FileSystem, Request, request};
use crate::commands::list::ListRequest;
use crate::commands::push::PushRequest;
use crate::diagnostics::render::write_chain;
use crate::diagnostics::{Diagnostic as _, ExitCode};

/// A service-account key in Google's format, of an account that does not exist.
const KEY: &str = include_str!("../../../tests/fixtures/service-account-key.json");

/// The same key for an account that may only read.
fn reader_key() -> String {
    KEY.replace("pusher", "reader")
}

/// The file system of one test.
#[derive(Default)]
struct FakeFiles(HashMap<PathBuf, Vec<u8>>);

impl FileSystem for FakeFiles {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        if self.is_directory(path) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let content = self.0.get(path).cloned();
        content.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn exists(&self, path: &Path) -> bool {
        self.0.keys().any(|file| file.starts_with(path))
    }

    fn is_directory(&self, path: &Path) -> bool {
        self.exists(path) && !self.0.contains_key(path)
    }
}

/// An environment and its files.
#[derive(Default)]
struct Run {
    line: CommandLine,
    environment: Vec<(OsString, OsString)>,
    files: FakeFiles,
}

impl Run {
    /// An empty environment.
    fn bare() -> Self {
        Self::default()
    }

    /// The minimum for a push.
    fn push() -> Self {
        Self::bare()
            .with("GCR_PUSH_IMAGE", "image.tar")
            .with("GCR_PUSH_CREDENTIALS_JSON", KEY)
    }

    /// The minimum for a push in a container action on GitHub.
    fn action() -> Self {
        Self::bare()
            .with("GITHUB_ACTIONS", "true")
            .with("CI", "true")
            .with("GITHUB_WORKSPACE", "/github/workspace")
            .with("GITHUB_REPOSITORY", "acme/shop")
            .with("RUNNER_WORKSPACE", "/home/runner/work/shop")
            .with("RUNNER_TEMP", "/github/runner_temp")
            .with("INPUT_IMAGE", "image.tar")
            .with("INPUT_CREDENTIALS_JSON", KEY)
    }

    fn argument(mut self, argument: CommandName) -> Self {
        self.line = CommandLine::of(argument);
        self
    }

    /// Sets or replaces a variable.
    fn with(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self = self.without(name);
        self.environment.push((name.into(), value.into()));
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.environment.retain(|(known, _)| known != name);
        self
    }

    fn file(mut self, path: &str, content: impl Into<Vec<u8>>) -> Self {
        self.files.0.insert(path.into(), content.into());
        self
    }

    fn result(&self) -> Result<Request, ConfigError> {
        request(&self.line, self.environment.iter().cloned(), &self.files)
    }

    fn command(&self) -> Command {
        self.result().unwrap().command
    }

    fn request(&self) -> PushRequest {
        match self.command() {
            Command::Push(request) => *request,
            other => panic!("{other:?}"),
        }
    }

    fn list(&self) -> ListRequest {
        match self.command() {
            Command::List(request) => *request,
            other => panic!("{other:?}"),
        }
    }

    /// The rendered error of an invalid request.
    fn refused(&self) -> String {
        let error = self.result().unwrap_err();
        assert_eq!(error.exit_code(), ExitCode::Usage);
        let mut text = Vec::new();
        write_chain(&mut text, &error, &error.hints()).unwrap();
        String::from_utf8(text).unwrap()
    }
}
