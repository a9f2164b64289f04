//! Made-up variables, and the request or the error that they give.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

pub use gcr_push::config::{Command, CommandLine, CommandName};
use gcr_push::config::{ConfigError, FileSystem, Request, request};

use gcr_push::commands::list::ListRequest;
use gcr_push::commands::push::PushRequest;
use gcr_push::diagnostics::render::write_chain;
use gcr_push::diagnostics::{Diagnostic as _, ExitCode};

use crate::support::run::Run;

/// A service-account key in Google's format, of an account that does not exist.
pub const KEY: &str = include_str!("../../fixtures/service-account-key.json");

/// The same key for an account that may only read.
pub fn reader_key() -> String {
    KEY.replace("pusher", "reader")
}

/// The files of one test, wherever they are.
#[derive(Default)]
pub struct FakeFiles(HashMap<PathBuf, Vec<u8>>);

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

/// Variables and the files that they name.
#[derive(Default)]
pub struct Variables {
    line: CommandLine,
    environment: Vec<(OsString, OsString)>,
    files: FakeFiles,
}

impl Variables {
    /// An empty environment.
    pub fn bare() -> Self {
        Self::default()
    }

    /// The minimum for a push.
    pub fn push() -> Self {
        Self::bare()
            .with("GCR_PUSH_IMAGE", "image.tar")
            .with("GCR_PUSH_CREDENTIALS_JSON", KEY)
    }

    /// The minimum for a push in a container action on GitHub.
    pub fn action() -> Self {
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

    pub fn argument(mut self, argument: CommandName) -> Self {
        self.line = CommandLine::of(argument);
        self
    }

    /// Sets or replaces a variable.
    pub fn with(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self = self.without(name);
        self.environment.push((name.into(), value.into()));
        self
    }

    pub fn without(mut self, name: &str) -> Self {
        self.environment.retain(|(known, _)| known != name);
        self
    }

    pub fn file(mut self, path: &str, content: impl Into<Vec<u8>>) -> Self {
        self.files.0.insert(path.into(), content.into());
        self
    }

    pub fn result(&self) -> Result<Request, ConfigError> {
        request(&self.line, self.environment.iter().cloned(), &self.files)
    }

    pub fn command(&self) -> Command {
        self.result().unwrap().command
    }

    pub fn request(&self) -> PushRequest {
        match self.command() {
            Command::Push(request) => *request,
            other => panic!("{other:?}"),
        }
    }

    pub fn list(&self) -> ListRequest {
        match self.command() {
            Command::List(request) => *request,
            other => panic!("{other:?}"),
        }
    }

    /// The error of an invalid request. The program prints it, unless that would need another
    /// machine: a file outside of the test's folder, or the container of an action.
    pub fn refused(&self) -> String {
        let is_elsewhere = |path: &PathBuf| path.is_absolute();
        let is_ci =
            |(name, _): &(OsString, OsString)| name == "GITHUB_ACTIONS" || name == "GITLAB_CI";
        if self.files.0.keys().any(is_elsewhere) || self.environment.iter().any(is_ci) {
            let error = self.result().unwrap_err();
            assert_eq!(error.exit_code(), ExitCode::Usage);
            let mut text = Vec::new();
            write_chain(&mut text, &error, &error.hints()).unwrap();
            return String::from_utf8(text).unwrap();
        }
        let mut run = match self.line.command {
            Some(command) => Run::command(command.word()),
            None => Run::new(),
        };
        for (name, value) in &self.environment {
            run = run.variable(name.to_str().unwrap(), value);
        }
        for (path, content) in &self.files.0 {
            run = run.file(path.to_str().unwrap(), content);
        }
        run.fails_with(2).error()
    }
}
