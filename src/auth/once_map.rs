//! A map whose values are computed once, even if several tasks request one at the same time.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use parking_lot::Mutex;

use tokio::sync::OnceCell;

/// A map in which one task computes a value while others that need it wait.
#[derive(Debug)]
pub struct OnceMap<K, V>(Mutex<HashMap<K, Arc<OnceCell<V>>>>);

impl<K, V> Default for OnceMap<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash, V> OnceMap<K, V> {
    /// Returns the cell for the value of `key`.
    pub fn of(&self, key: K) -> Arc<OnceCell<V>> {
        let mut cells = self.0.lock();
        Arc::clone(cells.entry(key).or_default())
    }
}
