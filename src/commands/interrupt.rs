//! What ends a run before it is done: a signal, or the end of the time that `timeout` allows.
//!
//! A CI that cancels a job sends SIGINT or SIGTERM and SIGKILL some seconds later; a terminal that is
//! closed sends SIGHUP. A container's first process gets none of them unless it asks for them
//! (pid_namespaces(7)), and this one does.

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

/// Why a run was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interruption {
    /// SIGTERM.
    Terminated,
    /// SIGINT.
    Interrupted,
    /// SIGHUP.
    HungUp,
    /// Its time is up.
    Timeout(Duration),
}

/// How long a run that was stopped may take to put its things away, or to say its last words to
/// somebody who may not listen.
pub const GRACE: Duration = Duration::from_secs(1);

/// Tells a run that it is stopped.
pub type Stop = oneshot::Receiver<()>;

/// Runs `work` in a thread of its own until it is done or there is a cause to stop it. No write that
/// nobody reads, and no file that cannot be opened, keeps a signal from being heard; a thread that
/// does not end within [`GRACE`] is left behind.
///
/// # Errors
///
/// When the system does not give the thread.
pub fn supervise<T: Send + 'static>(
    timeout: Option<Duration>,
    work: impl FnOnce(Stop) -> T + Send + 'static,
) -> io::Result<Result<T, Interruption>> {
    /// What the first thread of a process has on most systems; the futures of a push nest deep.
    const STACK: usize = 8 << 20;

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let context = runtime.enter();
    // From here on no signal ends the process by itself.
    let signals = Signals::listen();
    drop(context);
    let (stop, stopped) = oneshot::channel();
    let (done, mut result) = oneshot::channel();
    let thread = thread::Builder::new()
        .stack_size(STACK)
        // Nobody waits any more for what comes too late.
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
        // It went without a word, which only a panic does.
        Err(_) => match thread.join() {
            Err(panic) => resume_unwind(panic),
            Ok(()) => Err(io::ErrorKind::Other.into()),
        },
    }
}

/// What a run tells whoever ends it before it is done.
#[derive(Clone, Debug, Default)]
pub struct RunProgress {
    /// What has become of every tag.
    pub tag_log: TagLog,
    /// How far it is, if tags do not say it.
    pub state: RunState,
}

/// The system does not give the threads that a run needs.
#[derive(Debug, thiserror::Error)]
#[error("could not start")]
pub struct StartError(#[from] io::Error);

impl Diagnostic for StartError {}

/// Runs a command until it is done, a signal comes, or `timeout` is over.
///
/// # Errors
///
/// Those of the command, or what became of the tags when it was ended.
pub fn run<E>(
    timeout: Option<Duration>,
    command: impl AsyncFnOnce(&RunProgress) -> Result<(), Failure<E>> + Send + 'static,
) -> Result<(), Failure<E>>
where
    E: Diagnostic + From<StartError> + From<Interrupted> + Send + 'static,
{
    let progress = RunProgress::default();
    let own = progress.clone();
    let work = move |stop: Stop| {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(StartError)?;
        let done = runtime.block_on(async {
            tokio::select! {
                biased;
                // The error of a run that is ended is made below.
                _ = stop => Ok(()),
                done = command(&own) => done.map_err(RunError::Command),
            }
        });
        // Threads that still read or compress for a run that was ended are not waited for.
        runtime.shutdown_background();
        done
    };
    match supervise(timeout, work).map_err(|error| E::from(StartError(error)))? {
        Ok(Ok(())) => Ok(()),
        Ok(Err(RunError::Start(error))) => Err(E::from(error).into()),
        Ok(Err(RunError::Command(failure))) => Err(failure),
        Err(cause) => {
            let RunProgress { tag_log, state } = &progress;
            Err(E::from(Interrupted::new(cause, tag_log, state)).into())
        }
    }
}

enum RunError<E> {
    Start(StartError),
    Command(Failure<E>),
}

impl<E> From<StartError> for RunError<E> {
    fn from(error: StartError) -> Self {
        Self::Start(error)
    }
}

/// The signals that end a run; none where the system does not hand them out.
struct Signals {
    terminate: Option<Signal>,
    interrupt: Option<Signal>,
    hang_up: Option<Signal>,
}

impl Signals {
    /// Begins to listen, within a tokio runtime.
    fn listen() -> Self {
        // `nohup` means it, and what listens is no longer ignored.
        let is_nohup = ignores_hang_up();
        Self {
            terminate: signal(SignalKind::terminate()).ok(),
            interrupt: signal(SignalKind::interrupt()).ok(),
            hang_up: match is_nohup {
                true => None,
                false => signal(SignalKind::hangup()).ok(),
            },
        }
    }

    /// Waits for the first cause.
    async fn wait(self, timeout: Option<Duration>) -> Interruption {
        tokio::select! {
            () = received(self.terminate) => Interruption::Terminated,
            () = received(self.interrupt) => Interruption::Interrupted,
            () = received(self.hang_up) => Interruption::HungUp,
            cause = time_up(timeout) => cause,
        }
    }
}

/// True where whoever started this process had it ignore SIGHUP, as `nohup` does; false where the
/// system does not tell.
fn ignores_hang_up() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    is_hang_up_ignored(&status)
}

/// The same out of the text of proc_pid_status(5): SIGHUP is the first of the mask.
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
                "stopped after {} s, which is all that `timeout` allows",
                timeout.as_secs()
            ),
        }
    }
}

/// The most tags that are named for each state.
const MOST_SHOWN: usize = 50;

/// Ends when the signal came; never where it is not listened for.
async fn received(signal: Option<Signal>) {
    match signal {
        Some(mut signal) => drop(signal.recv().await),
        None => pending().await,
    }
}

async fn time_up(timeout: Option<Duration>) -> Interruption {
    match timeout {
        Some(timeout) => {
            tokio::time::sleep(timeout).await;
            Interruption::Timeout(timeout)
        }
        None => pending().await,
    }
}

/// How far a run is whose work is not told by tags; empty where it is.
#[derive(Clone, Debug, Default)]
pub struct RunState(Arc<Mutex<String>>);

impl RunState {
    /// How far it is now, as the end of a sentence that begins with what stopped it.
    pub fn set(&self, how_far: impl Into<String>) {
        *self.0.lock() = how_far.into();
    }

    fn get(&self) -> String {
        self.0.lock().clone()
    }
}

/// A run that was ended, and what had become of its tags, or how far it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interrupted {
    cause: Interruption,
    tags: Vec<(String, TagState)>,
    how_far: String,
}

impl Interrupted {
    /// The end of a run whose tags stand in `journal`, or which was as far as `state` says.
    pub fn new(cause: Interruption, journal: &TagLog, state: &RunState) -> Self {
        Self {
            cause,
            tags: journal.tags(),
            how_far: state.get(),
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
        if !self.how_far.is_empty() {
            return write!(formatter, " {}", self.how_far);
        }
        if self.tags.is_empty() {
            return formatter.write_str(" before anything was tagged");
        }
        for (state, words) in [
            (TagState::Updated, "tagged"),
            (
                TagState::Requested,
                "perhaps tagged, for the answer was not heard",
            ),
            (TagState::Pending, "not tagged"),
        ] {
            let tags = self.tags.iter().filter(|(_, is)| *is == state);
            let tags: Vec<_> = tags.map(|(tag, _)| format!("`{tag}`")).collect();
            let shown = &tags[..tags.len().min(MOST_SHOWN)];
            if !tags.is_empty() {
                write!(formatter, "\n{words}: {}", shown.join(", "))?;
            }
            if tags.len() > MOST_SHOWN {
                write!(formatter, " and {} more", tags.len() - MOST_SHOWN)?;
            }
        }
        Ok(())
    }
}

impl Diagnostic for Interrupted {
    fn exit_code(&self) -> ExitCode {
        match self.cause {
            // A shell tells by this that it was its user who ended it.
            Interruption::Interrupted if is_at_terminal() => ExitCode::Interrupted,
            Interruption::Interrupted
            | Interruption::Terminated
            | Interruption::HungUp
            | Interruption::Timeout(_) => ExitCode::Temporary,
        }
    }

    fn hints(&self) -> Vec<String> {
        let again = match self.how_far.is_empty() {
            true => "run this again: what has arrived is not sent again".to_owned(),
            false => "run this again".to_owned(),
        };
        match self.cause {
            Interruption::Timeout(_) => vec![again, "or allow more time with `timeout`".to_owned()],
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
        let (journal, state) = (TagLog::default(), RunState::default());
        assert_eq!(
            Interrupted::new(Interruption::Interrupted, &journal, &state).to_string(),
            "stopped by SIGINT before anything was tagged"
        );
        for tag in ["r/a:1", "r/a:2", "r/b:1"] {
            journal.expect(tag);
        }
        journal.note("r/a:1", TagState::Updated);
        journal.note("r/a:2", TagState::Requested);
        assert_eq!(
            Interrupted::new(Interruption::Terminated, &journal, &state).to_string(),
            "stopped by SIGTERM\ntagged: `r/a:1`\nperhaps tagged, for the answer was not heard: \
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
