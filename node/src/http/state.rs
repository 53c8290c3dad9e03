//! What every handler is given.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use actix_web::http::header::HeaderValue;
use uuid::Uuid;

use super::answer;
use crate::admin::Admin;
use crate::keyspace::Keyspace;

/// Shared by all workers.
#[derive(Debug)]
pub struct AppState {
    /// The log keyspace.
    pub keyspace: Arc<Keyspace>,
    /// The cluster.
    pub admin: Arc<Admin>,
    /// Bytes that a value may have.
    pub max_value_size: usize,
    /// `Muster-Node`, formatted once.
    pub(super) node: HeaderValue,
    stopping: AtomicBool,
}

impl AppState {
    /// Of the node `id`.
    pub fn new(id: Uuid, keyspace: Arc<Keyspace>, admin: Arc<Admin>, max_value_size: usize) -> Self {
        Self { keyspace, admin, max_value_size, node: answer::id(id), stopping: AtomicBool::new(false) }
    }

    /// Makes `/readyz` say that the node goes, so that balancers look elsewhere.
    pub fn set_stopping(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }
}
