//! Every decoder of what strangers send and of what is on the disk, given anything.
//!
//! Each has a door that panics where the code behind it is wrong, and whole samples of what belongs there. The tests shake those samples for a
//! second; for longer:
//!
//! ```sh
//! MUSTER_FUZZ=10000000 cargo test --release -p muster-node --lib fuzz -- --nocapture
//! ```
//!
//! A door behind a checksum puts the right one over what comes: what a checksum would refuse anyway finds nothing.

#[allow(dead_code, reason = "inputs that are kept in files have the doors of the cluster's library only, so far")]
#[path = "../../../cluster/tests/fuzzing/shake.rs"]
mod shake;

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use muster_client::api::Key;
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::identity::Identity;
use crate::{http, recovery, replication, set_aside, storage};

type Samples = fn() -> Vec<Vec<u8>>;

const DOORS: &[(shake::Door, Samples)] = &[
    (("frames", replication::fuzz::frames), replication::fuzz::samples),
    (("witness", replication::fuzz::witness), replication::fuzz::witness_samples),
    (("record", storage::fuzz::record), storage::fuzz::record_samples),
    (("segment_head", storage::fuzz::segment_head), storage::fuzz::segment_head_samples),
    (("control", storage::fuzz::control), storage::fuzz::control_samples),
    (("snapshot", storage::fuzz::snapshot), storage::fuzz::snapshot_samples),
    (("row", storage::fuzz::row), storage::fuzz::row_samples),
    (("identity", identity), identity_samples),
    (("format", |bytes| storage::fuzz::format(&in_file("format", bytes))), format_samples),
    (("recovering", |bytes| recovery::fuzz::note(&folder("recovering"), bytes)), recovery::fuzz::note_samples),
    (("setting_aside", |bytes| set_aside::take_any(&folder("setting_aside"), bytes)), setting_aside_samples),
    (("current", |bytes| storage::fuzz::current(&folder("current"), bytes)), storage::fuzz::current_samples),
    (("engine", |bytes| storage::fuzz::engine(&folder("engine"), bytes)), storage::fuzz::engine_samples),
    (("journal", storage::fuzz::journal), storage::fuzz::journal_samples),
    (("request", request), request_samples),
];

/// A folder of a door's own, the same each time.
fn folder(door: &str) -> PathBuf {
    static DIR: LazyLock<tempfile::TempDir> = LazyLock::new(|| tempfile::tempdir().unwrap());
    let dir = DIR.path().join(format!("{door}-{:?}", std::thread::current().id()));
    fs::create_dir_all(&dir).unwrap();
    dir
}

/// A folder with one file of that name and these bytes.
fn in_file(name: &str, bytes: &[u8]) -> PathBuf {
    let dir = folder(name);
    fs::write(dir.join(name), bytes).unwrap();
    dir
}

fn setting_aside_samples() -> Vec<Vec<u8>> {
    ["set-aside-00000000-0000-0000-0000-000000000001", "set-aside-/../outside", "../outside", "/tmp/set-aside-1", ""]
        .map(|name| name.as_bytes().to_vec())
        .to_vec()
}

fn identity(bytes: &[u8]) {
    if let Ok(identity) = Identity::open(&in_file("identity.json", bytes), true) {
        let _ = (identity.id(), identity.ports(), identity.founding());
        assert!(identity.peers().iter().all(|peer| peer.parse::<std::net::SocketAddr>().is_ok()));
    }
}

fn identity_samples() -> Vec<Vec<u8>> {
    let dir = tempfile::tempdir().unwrap();
    let mut identity = Identity::open(dir.path(), false).unwrap();
    let read = || fs::read(dir.path().join("identity.json")).unwrap();
    let first = read();
    identity.keep_ports(8050, 8051).unwrap();
    identity.set_founding(Some(Uuid::from_u128(7))).unwrap();
    identity.keep_peers(vec!["10.0.0.1:8051".into(), "[::1]:8051".into()]).unwrap();
    identity.keep_advertised("host".into()).unwrap();
    vec![first, read(), br#"{"version":1,"id":"00000000-0000-0000-0000-000000000001"}"#.to_vec()]
}

fn format_samples() -> Vec<Vec<u8>> {
    [
        r#"{"format":1}"#,
        r#"{"format":2,"cluster_id":null}"#,
        r#"{"format":1,"cluster_id":"00000000-0000-0000-0000-000000000001"}"#,
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

/// What of a request is read by ourselves: the key in its path, its query, the values of its headers; a line each.
fn request(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut lines = text.split('\n');
    if let Ok(key) = Key::from_path(lines.next().unwrap_or_default()) {
        assert_eq!(Key::from_path(&key.to_path()).unwrap().as_str(), key.as_str());
    }
    http::fuzz::request(lines.next().unwrap_or_default(), lines);
}

fn request_samples() -> Vec<Vec<u8>> {
    [
        "a/b%2Fc\nconsistency=linearizable&max_staleness=5s&min_revision=7&timeout=200ms\n\"7\", \"8\"\n*",
        "%C3%A4+%20\nprefix=a+b&start_after=c&limit=1000&keys_only=true\n\"18446744073709551615\"",
        "a/../b\nall=true&prefix=&timeout=1m\nW/\"1\"\n\"\"\n",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

/// What is understood is understood the same when it is written anew.
pub(crate) fn same_again<T: DeserializeOwned + Serialize>(bytes: &[u8]) {
    if let Ok(understood) = postcard::from_bytes::<T>(bytes) {
        let again = postcard::to_stdvec(&understood).expect("what was read can be written");
        let once_more: T = postcard::from_bytes(&again).expect("what was written can be read");
        assert_eq!(postcard::to_stdvec(&once_more).expect("and written"), again);
    }
}

#[test]
fn every_decoder_takes_anything() {
    for (door, samples) in DOORS {
        // Those that read files are slower, and those that write some in good order slower still.
        let few = |door: &str| match door {
            "recovering" | "setting_aside" => 100,
            "identity" | "format" | "current" | "engine" => 300,
            _ => 2_000,
        };
        let samples = samples();
        assert!(samples.len() >= 3, "{} has too few samples", door.0);
        samples.iter().for_each(|sample| door.1(sample));
        shake::shake_all(&[*door], |_| samples.clone(), few);
    }
}
