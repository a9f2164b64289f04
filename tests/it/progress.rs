//! The progress of a push: bars on a terminal, log lines elsewhere.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use standin::{Fault, FaultAction, RequestKind};
use tempfile::TempDir;

use crate::support::google::Google;
use crate::support::images::{TestImage, classic_archive};
use crate::support::run::{Outcome, Run};

fn push(google: &Google) -> Run {
    google
        .run()
        .file(
            "image.tar",
            classic_archive(&[(&TestImage::new("app", 2), &["app:1"])]),
        )
        .set("image", "image.tar")
}

#[test]
fn long_push_logs_its_progress() {
    let google = Google::start();
    let stalls = Fault::always(RequestKind::UploadPut, FaultAction::Stall);
    google.standin.fault(stalls);
    let mut running = push(&google).start();
    let lines = BufReader::new(running.take_stderr()).lines();
    let message = lines
        .map(Result::unwrap)
        .find(|line| line.contains("sent 0 of "));
    running.kill();
    let message = message.unwrap();
    assert!(
        message.starts_with(" INFO compressed 2 of 2 blobs, "),
        "{message}"
    );
}

#[test]
fn terminal_shows_bars_and_whole_lines() {
    let google = Google::start();
    let outcome = push(&google)
        .variable("TERM", "xterm")
        .under(&[
            "sh",
            "-c",
            "exec script --quiet --return --command \"$0\" /dev/null",
        ])
        .run_with(Stdio::piped(), Stdio::piped());
    assert_eq!(outcome.code, 0, "{}", outcome.stdout);
    // Both streams lead to the terminal.
    let screen = outcome.stdout.replace('\r', "");
    for whole in [
        "signing in to gcr.io as `ci@acme",
        "LISTED IMAGE",
        "gcr.io/acme/app",
    ] {
        assert!(screen.contains(whole), "{screen}");
    }
}

/// A terminal in tmux with one run in it.
struct Terminal {
    socket: String,
    /// The folder and files of the run.
    _run: Outcome,
    _folder: TempDir,
}

impl Terminal {
    fn start(run: Run, width: u32) -> Self {
        let folder = TempDir::new().unwrap();
        let socket = folder.path().join("socket").display().to_string();
        // The terminal stays open after the run, so that it can be read.
        let script = format!(
            "tmux -S '{socket}' -f /dev/null new-session -d -x {width} -y 24 \
             \"'$0'; echo exit code \\$?; tmux -S '{socket}' wait-for -S ended; cat\""
        );
        let started = run
            .variable("TERM", "xterm-256color")
            .variable("LC_ALL", "C.UTF-8")
            .under(&["sh", "-c", &script])
            .run();
        assert_eq!(started.code, 0, "{}", started.stderr);
        Self {
            socket,
            _run: started,
            _folder: folder,
        }
    }

    fn tmux(&self, words: &[&str]) -> String {
        let output = Command::new("tmux")
            .args(["-S", &self.socket])
            .args(words)
            .output()
            .expect("`tmux` is needed: tests/run installs it");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {stderr}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The screen and its scrollback as lines, without those of layers, whose order varies.
    fn screen(&self) -> String {
        let screen = self.tmux(&["capture-pane", "-p", "-J", "-S", "-"]);
        let lines = screen.lines().map(str::trim_end);
        let lines = lines.filter(|line| !line.starts_with(" INFO compressed layer "));
        let lines: Vec<_> = lines.collect();
        lines.join("\n").trim().to_owned()
    }

    /// The screen after the run has ended.
    fn wait_for_end(&self) -> String {
        self.tmux(&["wait-for", "ended"]);
        self.screen()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.tmux(&["kill-server"]);
    }
}

#[test]
fn progress_bars_are_cleared_at_the_end() {
    for width in [30, 80, 200] {
        let google = Google::start();
        // Slow enough for bars to be drawn.
        let slow = FaultAction::Delay(Duration::from_millis(700));
        google
            .standin
            .fault(Fault::always(RequestKind::UploadPut, slow));
        let terminal = Terminal::start(push(&google), width);
        let screen = terminal.wait_for_end();
        let digest = &google.standin.tags("gcr.io", "acme/app")["1"];
        let screen = screen.replace(digest, "sha256:[DIGEST]");
        insta::allow_duplicates!(insta::assert_snapshot!(screen, @"
        INFO signing in to gcr.io as `ci@acme.iam.gserviceaccount.com`, with the key from `credentials_json`
        IMAGE            TAGS  DIGEST                                                                   SENT   EXISTING
        gcr.io/acme/app  1     sha256:[DIGEST]  468 B  0 B

        NAME
        gcr.io/acme/app

        LISTED IMAGE     TAG  DIGEST
        gcr.io/acme/app  1    sha256:[DIGEST]
        exit code 0
        "));
    }
}

#[test]
fn progress_bars_are_cleared_after_ctrl_c() {
    for width in [30, 80, 200] {
        let google = Google::start();
        let stalls = Fault::always(RequestKind::UploadPut, FaultAction::Stall);
        google.standin.fault(stalls);
        let terminal = Terminal::start(push(&google), width);
        while !terminal.screen().contains("send ") {
            std::thread::sleep(Duration::from_millis(20));
        }
        terminal.tmux(&["send-keys", "C-c"]);
        insta::allow_duplicates!(insta::assert_snapshot!(terminal.wait_for_end(), @"
        INFO signing in to gcr.io as `ci@acme.iam.gserviceaccount.com`, with the key from `credentials_json`
        error: stopped by SIGINT
          not tagged: `gcr.io/acme/app:1`

        hint: run this again: it does not send again what has arrived
        exit code 130
        "));
    }
}

#[test]
fn no_color_is_obeyed() {
    let google = Google::start();
    let colours = |run: Run| {
        let script = "exec script --quiet --return --command \"$0\" /dev/null";
        let run = run.variable("TERM", "xterm").under(&["sh", "-c", script]);
        run.succeeds().stdout.contains("\x1b[32m INFO")
    };
    assert!(colours(push(&google)));
    assert!(colours(push(&google).variable("NO_COLOR", "")));
    assert!(!colours(push(&google).variable("NO_COLOR", "1")));
}
