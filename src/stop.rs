//! What ends a run before it is done: a signal, or the end of the time that `timeout` allows.
//!
//! A CI that cancels a job sends SIGINT or SIGTERM and SIGKILL some seconds later. A container's
//! first process gets none of the two unless it asks for them (pid_namespaces(7)), and this one
//! does.

use std::fmt;
use std::future::pending;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::{ExitCode, Hint};
use crate::push::{Journal, TagState};

/// Why a run was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// SIGTERM.
    Terminated,
    /// SIGINT.
    Interrupted,
    /// Its time is up.
    TimeUp(Duration),
}

impl Cause {
    /// Waits for the first cause.
    pub async fn wait(timeout: Option<Duration>) -> Self {
        tokio::select! {
            () = received(SignalKind::terminate()) => Self::Terminated,
            () = received(SignalKind::interrupt()) => Self::Interrupted,
            cause = time_up(timeout) => cause,
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Terminated => formatter.write_str("stopped by SIGTERM"),
            Self::Interrupted => formatter.write_str("stopped by SIGINT"),
            Self::TimeUp(timeout) => write!(
                formatter,
                "stopped after {} s, which is all that `timeout` allows",
                timeout.as_secs()
            ),
        }
    }
}

/// The most tags that are named for each state.
const MOST_SHOWN: usize = 50;

/// Ends when a signal came; never where the system does not hand them out.
async fn received(kind: SignalKind) {
    match signal(kind).as_mut().map(Signal::recv) {
        Ok(received) => drop(received.await),
        Err(_) => pending().await,
    }
}

async fn time_up(timeout: Option<Duration>) -> Cause {
    match timeout {
        Some(timeout) => {
            tokio::time::sleep(timeout).await;
            Cause::TimeUp(timeout)
        }
        None => pending().await,
    }
}

/// A run that was ended, and what had become of its tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stopped {
    cause: Cause,
    tags: Vec<(String, TagState)>,
}

impl Stopped {
    /// The end of a run whose tags stand in `journal`.
    pub fn new(cause: Cause, journal: &Journal) -> Self {
        Self {
            cause,
            tags: journal.tags(),
        }
    }

    /// What the process exits with.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::Temporary
    }
}

impl std::error::Error for Stopped {}

impl fmt::Display for Stopped {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.cause)?;
        if self.tags.is_empty() {
            return formatter.write_str(" before anything was tagged");
        }
        for (state, words) in [
            (TagState::Set, "tagged"),
            (
                TagState::Asked,
                "perhaps tagged, for the answer was not heard",
            ),
            (TagState::Waiting, "not tagged"),
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

impl Hint for Stopped {
    fn hints(&self) -> Vec<String> {
        let again = "run this again: what has arrived is not sent again".to_owned();
        match self.cause {
            Cause::TimeUp(_) => vec![again, "or allow more time with `timeout`".to_owned()],
            Cause::Terminated | Cause::Interrupted => vec![again],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tag_is_told_with_what_became_of_it() {
        let journal = Journal::default();
        assert_eq!(
            Stopped::new(Cause::Interrupted, &journal).to_string(),
            "stopped by SIGINT before anything was tagged"
        );
        for tag in ["r/a:1", "r/a:2", "r/b:1"] {
            journal.expect(tag);
        }
        journal.note("r/a:1", TagState::Set);
        journal.note("r/a:2", TagState::Asked);
        assert_eq!(
            Stopped::new(Cause::Terminated, &journal).to_string(),
            "stopped by SIGTERM\ntagged: `r/a:1`\nperhaps tagged, for the answer was not heard: \
             `r/a:2`\nnot tagged: `r/b:1`"
        );
    }
}
