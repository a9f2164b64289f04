//! Interrupts a run: by a signal, or when `timeout` expires.
//!
//! A CI that cancels a job sends SIGINT or SIGTERM, and SIGKILL some seconds later. A closed terminal
//! sends SIGHUP. The first process of a container only receives the signals that it has a handler for
//! (pid_namespaces(7)), so this module installs one for each.

use std::fmt;
use std::future::pending;
use std::io::{self, IsTerminal as _};
use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use crate::diagnostics::{Diagnostic, ExitCode, Failure};
use crate::push::{TagLog, TagState};

/// The cause of an interruption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interruption {
    /// SIGTERM.
    Terminated,
    /// SIGINT.
    Interrupted,
    /// SIGHUP.
    HungUp,
    /// The `timeout` of this length expired.
    Timeout(Duration),
}

/// The time that an interrupted run has to clean up, or to write its final output.
pub const GRACE: Duration = Duration::from_secs(1);

/// Signals an interruption to the run.
pub type Stop = oneshot::Receiver<()>;

/// Runs `work` in its own thread until it is done or interrupted. A blocked write or open does not
/// delay the handling of a signal. A thread that does not end within [`GRACE`] is abandoned.
///
/// # Errors
///
/// If the system cannot start the thread.
pub fn supervise<T: Send + 'static>(
    timeout: Option<Duration>,
    work: impl FnOnce(Stop) -> T + Send + 'static,
) -> io::Result<Result<T, Interruption>> {
    /// The default of a main thread on most systems. The futures of a push are deeply nested.
    const STACK: usize = 8 << 20;

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let context = runtime.enter();
    // From here on the signals no longer end the process by default.
    let signals = Signals::listen();
    drop(context);
    let (stop, stopped) = oneshot::channel();
    let (done, mut result) = oneshot::channel();
    let thread = thread::Builder::new()
        .stack_size(STACK)
        // A result after the grace time has no receiver.
        .spawn(move || drop(done.send(work(stopped))))?;
    let ended = runtime.block_on(async {
        tokio::select! {
            biased;
            cause = signals.wait(timeout) => {
                drop(stop);
                let _ = tokio::time::timeout(GRACE, &mut result).await;
                Ok(Err(cause))
            }
            done = &mut result => done.map(Ok),
        }
    });
    match ended {
        Ok(ended) => Ok(ended),
        // The thread ended without a result, which only a panic does.
        Err(_) => match thread.join() {
            Err(panic) => resume_unwind(panic),
            Ok(()) => Err(io::ErrorKind::Other.into()),
        },
    }
}

/// The progress of a run, for the message of an interruption.
#[derive(Clone, Debug, Default)]
pub struct RunProgress {
    /// The state of every tag.
    pub tag_log: TagLog,
    /// The progress of commands that do not push tags.
    pub state: RunState,
}

/// The system cannot start the threads of a run.
#[derive(Debug, thiserror::Error)]
#[error("could not start")]
pub struct StartError(#[from] io::Error);

impl Diagnostic for StartError {}

/// Runs a command until it is done, a signal arrives, or `timeout` expires.
///
/// # Errors
///
/// Those of the command, or [`Interrupted`] with the progress of the run.
pub fn run<E>(
    timeout: Option<Duration>,
    command: impl AsyncFnOnce(&RunProgress) -> Result<(), Failure<E>> + Send + 'static,
) -> Result<(), Failure<E>>
where
    E: Diagnostic + From<StartError> + From<Interrupted> + Send + 'static,
{
    let start_error = |error| E::from(StartError(error));
    let progress = RunProgress::default();
    let own = progress.clone();
    let work = move |stop: Stop| {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(start_error)?;
        let done = runtime.block_on(async {
            tokio::select! {
                biased;
                // The error of an interrupted run is created below.
                _ = stop => Ok(()),
                done = command(&own) => done,
            }
        });
        // Does not wait for threads that still read or compress.
        runtime.shutdown_background();
        done
    };
    match supervise(timeout, work).map_err(start_error)? {
        Ok(done) => done,
        Err(cause) => {
            let RunProgress { tag_log, state } = &progress;
            Err(E::from(Interrupted::new(cause, tag_log, state)).into())
        }
    }
}

/// The signals that interrupt a run. Each is `None` if it cannot be handled.
struct Signals {
    terminate: Option<Signal>,
    interrupt: Option<Signal>,
    hang_up: Option<Signal>,
}

impl Signals {
    /// Installs the handlers. Requires a tokio runtime.
    fn listen() -> Self {
        // A handler would override `nohup`, which ignores SIGHUP on purpose.
        let is_nohup = ignores_hang_up();
        Self {
            terminate: signal(SignalKind::terminate()).ok(),
            interrupt: signal(SignalKind::interrupt()).ok(),
            hang_up: if is_nohup {
                None
            } else {
                signal(SignalKind::hangup()).ok()
            },
        }
    }

    /// Waits for the first interruption.
    async fn wait(self, timeout: Option<Duration>) -> Interruption {
        tokio::select! {
            () = received(self.terminate) => Interruption::Terminated,
            () = received(self.interrupt) => Interruption::Interrupted,
            () = received(self.hang_up) => Interruption::HungUp,
            cause = timed_out(timeout) => cause,
        }
    }
}

/// True if this process was started with SIGHUP ignored, as by `nohup`. False if that is unknown.
fn ignores_hang_up() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    is_hang_up_ignored(&status)
}

/// Reads the same from the text of proc_pid_status(5). SIGHUP is the lowest bit of the mask.
fn is_hang_up_ignored(status: &str) -> bool {
    let mut lines = status.lines();
    let mask = lines.find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & 1 == 1)
}

impl fmt::Display for Interruption {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Terminated => formatter.write_str("stopped by SIGTERM"),
            Self::Interrupted => formatter.write_str("stopped by SIGINT"),
            Self::HungUp => formatter.write_str("stopped by SIGHUP"),
            Self::Timeout(timeout) => write!(
                formatter,
                "stopped after {} s, the limit that `timeout` sets",
                timeout.as_secs()
            ),
        }
    }
}

/// The maximum number of tags that are listed for each state.
const MAX_LISTED: usize = 50;

/// Waits for the signal. Never returns if there is no handler.
async fn received(signal: Option<Signal>) {
    match signal {
        Some(mut signal) => drop(signal.recv().await),
        None => pending().await,
    }
}

/// Waits for the timeout. Never returns if there is none.
async fn timed_out(timeout: Option<Duration>) -> Interruption {
    match timeout {
        Some(timeout) => {
            tokio::time::sleep(timeout).await;
            Interruption::Timeout(timeout)
        }
        None => pending().await,
    }
}

/// The progress of a run that pushes no tags. Empty for a run that does.
#[derive(Clone, Debug, Default)]
pub struct RunState(Arc<Mutex<String>>);

impl RunState {
    /// Sets the progress, as the end of a sentence that begins with the cause of the interruption.
    pub fn set(&self, progress: impl Into<String>) {
        *self.0.lock() = progress.into();
    }

    fn get(&self) -> String {
        self.0.lock().clone()
    }
}

/// The error of an interrupted run: the cause, and the states of its tags or its progress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interrupted {
    cause: Interruption,
    tags: Vec<(String, TagState)>,
    progress: String,
}

impl Interrupted {
    /// The error with the tags in `tag_log`, or with the progress in `state`.
    pub fn new(cause: Interruption, tag_log: &TagLog, state: &RunState) -> Self {
        Self {
            cause,
            tags: tag_log.tags(),
            progress: state.get(),
        }
    }
}

fn is_at_terminal() -> bool {
    io::stdin().is_terminal() || io::stderr().is_terminal()
}

impl std::error::Error for Interrupted {}

impl fmt::Display for Interrupted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.cause)?;
        if !self.progress.is_empty() {
            return write!(formatter, " {}", self.progress);
        }
        if self.tags.is_empty() {
            return formatter.write_str(" before anything was tagged");
        }
        for (state, words) in [
            (TagState::Updated, "tagged"),
            (
                TagState::Requested,
                "perhaps tagged, because no response arrived",
            ),
            (TagState::Pending, "not tagged"),
        ] {
            let tags = self.tags.iter().filter(|(_, is)| *is == state);
            let tags: Vec<_> = tags.map(|(tag, _)| format!("`{tag}`")).collect();
            let shown = &tags[..tags.len().min(MAX_LISTED)];
            if !tags.is_empty() {
                write!(formatter, "\n{words}: {}", shown.join(", "))?;
            }
            if tags.len() > MAX_LISTED {
                write!(formatter, " and {} more", tags.len() - MAX_LISTED)?;
            }
        }
        Ok(())
    }
}

impl Diagnostic for Interrupted {
    fn exit_code(&self) -> ExitCode {
        match self.cause {
            // A shell recognizes Ctrl-C by this exit code.
            Interruption::Interrupted if is_at_terminal() => ExitCode::Interrupted,
            Interruption::Interrupted
            | Interruption::Terminated
            | Interruption::HungUp
            | Interruption::Timeout(_) => ExitCode::Temporary,
        }
    }

    fn hints(&self) -> Vec<String> {
        let again = if self.progress.is_empty() {
            "run this again: it does not send again what has arrived".to_owned()
        } else {
            "run this again".to_owned()
        };
        match self.cause {
            Interruption::Timeout(_) => vec![again, "or raise `timeout`".to_owned()],
            Interruption::Terminated | Interruption::Interrupted | Interruption::HungUp => {
                vec![again]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nohup_is_detected() {
        let status =
            |mask| format!("Name:\tgcr-push\nSigBlk:\t0000000000000001\nSigIgn:\t{mask}\n");
        assert!(is_hang_up_ignored(&status("0000000000001001")));
        assert!(!is_hang_up_ignored(&status("0000000000001000")));
        assert!(!is_hang_up_ignored(""));
    }

    #[test]
    fn every_tag_is_listed_with_its_state() {
        let (tag_log, state) = (TagLog::default(), RunState::default());
        assert_eq!(
            Interrupted::new(Interruption::Interrupted, &tag_log, &state).to_string(),
            "stopped by SIGINT before anything was tagged"
        );
        for tag in ["r/a:1", "r/a:2", "r/b:1"] {
            tag_log.expect(tag);
        }
        tag_log.note("r/a:1", TagState::Updated);
        tag_log.note("r/a:2", TagState::Requested);
        assert_eq!(
            Interrupted::new(Interruption::Terminated, &tag_log, &state).to_string(),
            "stopped by SIGTERM\ntagged: `r/a:1`\nperhaps tagged, because no response arrived: \
             `r/a:2`\nnot tagged: `r/b:1`"
        );
    }

    #[test]
    fn interruption_without_tags_shows_progress() {
        let state = RunState::default();
        state.set("after 3 of 4 places were listed");
        let stopped = Interrupted::new(Interruption::Interrupted, &TagLog::default(), &state);
        assert_eq!(
            stopped.to_string(),
            "stopped by SIGINT after 3 of 4 places were listed"
        );
    }
}
