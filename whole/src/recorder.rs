//! Where clients write down what they do, in virtual time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use muster_e2e::torture::operation::{Call, Micros, Operation, Seen};
use muster_e2e::torture::record::Record;

/// Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Recorder {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    record: Record,
    last: Micros,
}

impl Recorder {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time of the run. What happens in one virtual millisecond happens one after the other: no two times are the same.
    pub fn now(&self) -> Micros {
        let mut inner = self.lock();
        inner.last = (muster_world::now() * 1_000).max(inner.last + 1);
        inner.last
    }

    /// Writes down an operation that ends now.
    pub fn ended(&self, client: usize, node: usize, began: Micros, call: Call, seen: Seen) {
        let ended = self.now();
        self.lock().record.operations.push(Operation { client, node: Some(node), began, ended, call, seen });
    }

    /// Changes the record.
    pub fn with<T>(&self, change: impl FnOnce(&mut Record) -> T) -> T {
        change(&mut self.lock().record)
    }
}
