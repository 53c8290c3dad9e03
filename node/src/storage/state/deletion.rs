//! A prefix delete that is too large for one batch, as readers see it: done from its first batch on.
//!
//! Its keys go in many batches, so that its memory is bounded; until the last is committed, readers leave out every key with the prefix.

use std::sync::{PoisonError, RwLock, RwLockReadGuard};

/// The deletion under way, if there is one.
#[derive(Debug, Default)]
pub(super) struct Deletion {
    prefix: RwLock<Option<String>>,
}

/// What readers leave out. Hold it while a snapshot or a row is taken: then no batch of a deletion comes between.
#[derive(Debug)]
pub(super) struct Hidden<'a>(RwLockReadGuard<'a, Option<String>>);

impl Deletion {
    /// Of what was under way when the process died; its entry is applied again.
    pub(super) fn resumed(prefix: Option<String>) -> Self {
        Self { prefix: RwLock::new(prefix) }
    }

    /// From now on readers see no key with this prefix. Before the first batch is committed.
    pub(super) fn begin(&self, prefix: &str) {
        *self.prefix.write().unwrap_or_else(PoisonError::into_inner) = Some(prefix.to_owned());
    }

    /// The last batch is committed: readers see what there is.
    pub(super) fn end(&self) {
        *self.prefix.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(super) fn hidden(&self) -> Hidden<'_> {
        Hidden(self.prefix.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Hidden<'_> {
    pub(super) fn covers(&self, key: &str) -> bool {
        self.0.as_ref().is_some_and(|prefix| key.starts_with(prefix.as_str()))
    }

    /// To be used when it is not held any more.
    pub(super) fn prefix(&self) -> Option<String> {
        self.0.clone()
    }
}
