//! What has become of every tag of a run so far, for the last words of one that is stopped.

use std::sync::Arc;

use parking_lot::Mutex;

use super::destinations::Target;

/// What has become of a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TagState {
    /// Nothing yet.
    Pending,
    /// The registry was asked to set it, and has not answered.
    Requested,
    /// It points at what was pushed.
    Updated,
}

/// The tags of a run, in the order in which they were asked for; clones share them.
#[derive(Clone, Debug, Default)]
pub struct TagLog(Arc<Mutex<Vec<(String, TagState)>>>);

impl TagLog {
    /// Adds a tag that is to be set, as `host/repository:tag`.
    pub fn expect(&self, tag: &str) {
        let mut tags = self.0.lock();
        if !tags.iter().any(|(known, _)| known == tag) {
            tags.push((tag.to_owned(), TagState::Pending));
        }
    }

    /// Adds every tag of these.
    pub fn expect_all<'a>(&self, targets: impl IntoIterator<Item = &'a Target>) {
        for target in targets {
            target.names().iter().for_each(|name| self.expect(name));
        }
    }

    /// Notes what has become of a tag.
    pub fn note(&self, tag: &str, state: TagState) {
        let mut tags = self.0.lock();
        match tags.iter_mut().find(|(known, _)| known == tag) {
            Some((_, is)) => *is = state,
            None => tags.push((tag.to_owned(), state)),
        }
    }

    /// Every tag, and what has become of it.
    pub fn tags(&self) -> Vec<(String, TagState)> {
        let tags = self.0.lock();
        tags.clone()
    }
}
