//! The state of every tag of a run, for the message of an interrupted run.

use std::sync::Arc;

use parking_lot::Mutex;

use super::targets::Target;

/// The state of a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TagState {
    /// The tag is not set yet.
    Pending,
    /// The request that sets the tag was sent, and the registry has not responded.
    Requested,
    /// The tag points at the pushed image.
    Updated,
}

/// The tags of a run with their states, in the order of the request; clones share them.
#[derive(Clone, Debug, Default)]
pub struct TagLog(Arc<Mutex<Vec<(String, TagState)>>>);

impl TagLog {
    /// Adds a tag that the run will set, as `host/repository:tag`.
    pub fn expect(&self, tag: &str) {
        let mut tags = self.0.lock();
        if !tags.iter().any(|(known, _)| known == tag) {
            tags.push((tag.to_owned(), TagState::Pending));
        }
    }

    /// Adds all tags of these targets.
    pub fn expect_all<'a>(&self, targets: impl IntoIterator<Item = &'a Target>) {
        for target in targets {
            target.names().iter().for_each(|name| self.expect(name));
        }
    }

    /// Sets the state of a tag, and adds the tag if it is new.
    pub fn note(&self, tag: &str, state: TagState) {
        let mut tags = self.0.lock();
        match tags.iter_mut().find(|(known, _)| known == tag) {
            Some((_, known)) => *known = state,
            None => tags.push((tag.to_owned(), state)),
        }
    }

    /// Returns every tag with its state.
    pub fn tags(&self) -> Vec<(String, TagState)> {
        let tags = self.0.lock();
        tags.clone()
    }
}
