//! openraft's own storage tests against our log and our state.

use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use tempfile::TempDir;

use super::log_store::LogStore;
use super::state_machine::StateMachine;
use super::types::TypeConfig;
use crate::storage::{Storage, StorageOptions};

struct Builder;

type Guard = (Storage, TempDir);

impl StoreBuilder<TypeConfig, LogStore, StateMachine, Guard> for Builder {
    async fn build(&self) -> Result<(Guard, LogStore, StateMachine), StorageError<TypeConfig>> {
        let dir = tempfile::tempdir().unwrap();
        let options = StorageOptions { cache_bytes: 1 << 20, segment_bytes: 64 << 10, reserve_bytes: 0 };
        let storage = Storage::open(dir.path(), &options).unwrap();
        let (log, state) = (storage.log().clone(), storage.state().clone());
        Ok(((storage, dir), LogStore::unguarded(log), StateMachine::new(state)))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openrafts_storage_tests_pass() {
    Suite::test_all(Builder).await.unwrap();
}
