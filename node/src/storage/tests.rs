//! The data dir as a whole.

use super::*;
use crate::storage::log::Record;

fn options() -> StorageOptions {
    StorageOptions { cache_bytes: 1 << 20, segment_bytes: 64 << 10, reserve_bytes: 0 }
}

fn refusal(dir: &Path) -> OpenError {
    let refusal = Storage::open(dir, &options()).unwrap_err();
    assert!(!refusal.to_string().contains('\n') && refusal.to_string().contains(';'), "{refusal}");
    refusal
}

#[test]
fn one_process_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let storage = Storage::open(dir.path(), &options()).unwrap();
    assert!(matches!(refusal(dir.path()), OpenError::Locked(_)));
    drop(storage);
    Storage::open(dir.path(), &options()).unwrap();
}

#[test]
fn the_data_is_of_one_cluster() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let storage = Storage::open(dir.path(), &options()).unwrap();
    assert_eq!(storage.cluster_id(), None);
    storage.set_cluster_id(ours).unwrap();
    drop(storage);
    let storage = Storage::open(dir.path(), &options()).unwrap();
    assert_eq!(storage.cluster_id(), Some(ours));
    storage.set_cluster_id(ours).unwrap();
    let refusal = storage.set_cluster_id(other).unwrap_err();
    assert!(matches!(&refusal, OpenError::OtherCluster(line) if line.contains(&ours.to_string())), "{refusal}");
}

#[test]
fn a_log_that_is_gone_is_refused_whatever_the_state_holds() {
    let dir = tempfile::tempdir().unwrap();
    // Nothing was acknowledged before there is a cluster: a first start may have died before the log was there.
    drop(Storage::open(dir.path(), &options()).unwrap());
    std::fs::remove_dir_all(dir.path().join("log")).unwrap();
    let storage = Storage::open(dir.path(), &options()).unwrap();
    storage.set_cluster_id(Uuid::new_v4()).unwrap();
    drop(storage);
    drop(Storage::open(dir.path(), &options()).unwrap());
    std::fs::remove_dir_all(dir.path().join("log")).unwrap();
    let why = refusal(dir.path()).to_string();
    assert!(why.contains("is missing") && why.contains("start with an empty one"), "{why}");
}

#[test]
fn a_newer_format_and_a_damaged_format_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(Storage::open(dir.path(), &options()).unwrap());
    std::fs::write(dir.path().join("format"), r#"{"format":2,"cluster_id":{"of":"another shape"}}"#).unwrap();
    assert!(matches!(refusal(dir.path()), OpenError::Newer(_)));
    std::fs::write(dir.path().join("format"), "nonsense").unwrap();
    assert!(matches!(refusal(dir.path()), OpenError::Damaged(_)));
    std::fs::remove_file(dir.path().join("format")).unwrap();
    assert!(matches!(refusal(dir.path()), OpenError::Damaged(line) if line.contains("missing")));
}

#[test]
fn a_state_that_lost_what_the_log_no_longer_holds_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    {
        let storage = Storage::open(dir.path(), &options()).unwrap();
        let position = Position { term: 1, index: 0 };
        storage.log().append(vec![Record { position, payload: "x".into() }], Box::new(|_| ())).unwrap();
        let (sender, answer) = std::sync::mpsc::channel();
        storage.log().purge(position, Box::new(move |result| sender.send(result).unwrap()));
        answer.recv().unwrap().unwrap();
    }
    assert!(matches!(refusal(dir.path()), OpenError::Damaged(line) if line.contains("begins behind entry 0")));
}

#[test]
fn what_is_no_state_engine_is_refused_without_a_panic() {
    let dir = tempfile::tempdir().unwrap();
    drop(Storage::open(dir.path(), &options()).unwrap());
    let state = dir.path().join("state");
    for (file, content) in [("1/version", &b"nonsense"[..]), ("current", b"x"), ("current", b"77")] {
        let path = state.join(file);
        let before = std::fs::read(&path).unwrap();
        std::fs::write(&path, content).unwrap();
        assert!(
            matches!(refusal(dir.path()), OpenError::Damaged(_) | OpenError::Newer(_) | OpenError::Io(_)),
            "{file}"
        );
        std::fs::write(&path, before).unwrap();
    }
}
