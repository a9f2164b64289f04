//! Running the built program in an empty environment and a fresh folder.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Output, Stdio};
use std::time::Duration;

use tempfile::TempDir;

/// A run of the program, under construction.
pub struct Run {
    /// The program that it runs under, with its first arguments. Empty if it runs by itself.
    before: Vec<String>,
    arguments: Vec<String>,
    variables: BTreeMap<String, OsString>,
    directory: TempDir,
    input: Vec<u8>,
}

/// A run in progress.
pub struct Running {
    child: Child,
    pub input: ChildStdin,
    directory: TempDir,
}

/// The result of a run.
pub struct Outcome {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
    pub directory: TempDir,
}

impl Run {
    /// `gcr-push` with no variables. The test's own environment is not inherited, so that a run
    /// under a real CI is the same.
    pub fn new() -> Self {
        Self {
            before: Vec::new(),
            arguments: Vec::new(),
            // Hides the metadata server of a cloud machine that runs the tests.
            variables: BTreeMap::from([("GCE_METADATA_HOST".into(), "127.0.0.1:9".into())]),
            directory: TempDir::new().unwrap(),
            input: Vec::new(),
        }
    }

    /// `gcr-push WORD`.
    pub fn command(word: &str) -> Self {
        let mut run = Self::new();
        run.arguments.push(word.to_owned());
        run
    }

    /// `gcr-push WORD ARGUMENT...`, from a text with blanks between them.
    pub fn line(line: &str) -> Self {
        line.split_whitespace().fold(Self::new(), Self::argument)
    }

    /// Adds an argument.
    pub fn argument(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Sets `GCR_PUSH_NAME`.
    pub fn set(self, name: &str, value: impl AsRef<OsStr>) -> Self {
        let name = format!("GCR_PUSH_{}", name.to_uppercase());
        self.variable(&name, value)
    }

    /// Sets any other variable.
    pub fn variable(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.variables
            .insert(name.to_owned(), value.as_ref().to_owned());
        self
    }

    /// Puts a file into the folder that the program starts in.
    pub fn file(self, name: &str, bytes: impl AsRef<[u8]>) -> Self {
        let path = self.directory.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
        self
    }

    /// Pipes bytes into the program.
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = bytes.into();
        self
    }

    /// Runs it under another program: `taskset`, `sh`.
    pub fn under(mut self, command: &[&str]) -> Self {
        self.before = command.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// Limits the size of files that the program writes, as if its disk were full then.
    pub fn with_file_size_limit(self, bytes: u64) -> Self {
        // `ulimit` counts blocks of 512 bytes (POSIX); without the signal a write fails.
        let script = format!(
            "trap '' XFSZ; ulimit -f {}; exec \"$0\" \"$@\"",
            bytes / 512
        );
        self.under(&["sh", "-c", &script])
    }

    /// Drops root's permission to open every file, if the tests run as root. `None` if that is not
    /// possible.
    pub fn without_root(self) -> Option<Self> {
        const SETPRIV: [&str; 3] = ["setpriv", "--bounding-set", "-dac_override"];

        let id = Command::new("id").arg("-u").output().unwrap();
        if id.stdout != b"0\n" {
            return Some(self);
        }
        let [program, arguments @ ..] = SETPRIV;
        let tried = Command::new(program).args(arguments).arg("true").status();
        let can = tried.is_ok_and(|status| status.success());
        can.then(|| self.under(&SETPRIV))
    }

    /// Makes it the first process of a container, which gets only the signals that it handles.
    /// `None` if no process namespace can be created.
    pub fn under_pid_namespace(self) -> Option<Self> {
        const UNSHARE: [&str; 4] = ["unshare", "--pid", "--fork", "--kill-child"];

        let [program, arguments @ ..] = UNSHARE;
        let tried = Command::new(program).args(arguments).arg("true").status();
        let can = tried.is_ok_and(|status| status.success());
        can.then(|| self.under(&UNSHARE))
    }

    /// The folder that the program starts in.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Starts it. The test owns its standard input.
    pub fn start(self) -> Running {
        let mut child = self.process().spawn().unwrap();
        Running {
            input: child.stdin.take().unwrap(),
            child,
            directory: self.directory,
        }
    }

    /// Runs it to its end.
    pub fn run(self) -> Outcome {
        self.run_with(Stdio::piped(), Stdio::piped())
    }

    /// Runs it to its end with standard output and error redirected.
    pub fn run_with(self, stdout: impl Into<Stdio>, stderr: impl Into<Stdio>) -> Outcome {
        let mut child = self
            .process()
            .stdout(stdout)
            .stderr(stderr)
            .spawn()
            .unwrap();
        let mut pipe = child.stdin.take().unwrap();
        let input = self.input;
        // A program may close the pipe before it has read everything.
        let writer = std::thread::spawn(move || pipe.write_all(&input).ok());
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        Outcome::of(output, self.directory)
    }

    fn process(&self) -> Command {
        let program = program().display().to_string();
        let words = [self.before.as_slice(), &[program], &self.arguments].concat();
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .envs(&self.variables)
            .current_dir(self.directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs it and expects success.
    pub fn succeeds(self) -> Outcome {
        let outcome = self.run();
        assert_eq!(outcome.code, 0, "{}\n{}", outcome.stdout, outcome.stderr);
        outcome
    }

    /// Runs it and expects this exit code. Nothing is retried unless the test sets `retry_timeout`.
    pub fn fails_with(mut self, code: i32) -> Outcome {
        const RETRIES: &str = "GCR_PUSH_RETRY_TIMEOUT";
        let retries = self.variables.entry(RETRIES.to_owned());
        retries.or_insert_with(|| "0s".into());
        let outcome = self.run();
        assert_eq!(outcome.code, code, "{}\n{}", outcome.stdout, outcome.stderr);
        outcome
    }
}

impl Running {
    /// Takes its standard error, to be read while it runs.
    pub fn take_stderr(&mut self) -> ChildStderr {
        self.child.stderr.take().unwrap()
    }

    /// Takes its standard output, to be read while it runs.
    pub fn take_stdout(&mut self) -> ChildStdout {
        self.child.stdout.take().unwrap()
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The peak memory so far in KiB. `None` once it has ended.
    pub fn peak_memory(&self) -> Option<u64> {
        peak_memory(self.child.id())
    }

    /// Waits for its end. Returns the outcome and the peak memory in KiB.
    pub fn wait_with_peak_memory(self) -> (Outcome, u64) {
        let id = self.child.id();
        let watch = std::thread::spawn(move || {
            let mut peak = 0;
            // The kernel counts the peak, so that only the last moments can be missed.
            while let Some(more) = peak_memory(id) {
                peak = more;
                std::thread::sleep(Duration::from_millis(2));
            }
            peak
        });
        (self.wait(), watch.join().unwrap())
    }

    /// True if it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Sends it a signal, by its name without `SIG`.
    pub fn signal(&self, name: &str) {
        send_signal(name, &self.child.id().to_string());
    }

    /// Sends a signal to its only child process.
    pub fn signal_child(&self, name: &str) {
        let id = self.child.id();
        let children = format!("/proc/{id}/task/{id}/children");
        let children = std::fs::read_to_string(children).unwrap();
        send_signal(name, children.trim());
    }

    /// Waits for its end.
    pub fn wait(self) -> Outcome {
        drop(self.input);
        let output = self.child.wait_with_output().unwrap();
        Outcome::of(output, self.directory)
    }

    /// Kills it with SIGKILL. Returns the folder that it started in.
    pub fn kill(mut self) -> TempDir {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.directory
    }
}

fn send_signal(name: &str, process: &str) {
    // The shell's builtin, because not every system has `kill`.
    let script = format!("kill -s {name} {process}");
    let sent = Command::new("sh").args(["-c", &script]).status();
    // It may have ended already.
    sent.unwrap();
}

impl Outcome {
    fn of(output: Output, directory: TempDir) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
            directory,
        }
    }

    /// The error as a user reads it: what follows the log lines, without what differs between runs.
    pub fn error(&self) -> String {
        let start = self.stderr.find("error: ").expect(&self.stderr);
        let text = &self.stderr[start..];
        self.scrub(text)
    }

    /// Text without what differs between runs: the folder, and ports of this machine.
    pub fn scrub(&self, text: &str) -> String {
        let directory = self.directory.path().display().to_string();
        let text = text.replace(&directory, "[FOLDER]");
        let mut scrubbed = String::new();
        let mut rest = text.as_str();
        while let Some(at) = rest.find("127.0.0.1:") {
            let (before, after) = rest.split_at(at + "127.0.0.1:".len());
            scrubbed.push_str(before);
            scrubbed.push_str("[PORT]");
            rest = after.trim_start_matches(|c: char| c.is_ascii_digit());
        }
        scrubbed + rest
    }

    /// The content of a file that the run wrote.
    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.directory.path().join(name)).unwrap()
    }
}

/// The program that cargo built for the tests.
pub fn program() -> PathBuf {
    assert_cmd::cargo::cargo_bin!("gcr-push").to_path_buf()
}

/// The peak memory of a process so far in KiB. `None` once it has ended.
fn peak_memory(id: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let mut lines = status.lines();
    let peak = lines.find_map(|line| line.strip_prefix("VmHWM:"))?;
    peak.trim().strip_suffix(" kB")?.parse().ok()
}
