use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::sync::mpsc;

use bytes::Bytes;

use super::*;
use crate::kv::{Condition, Operation, Write};
use crate::replication::offline::SKIPPED_REVISIONS;
use crate::replication::types::{Command, LogId, Membership, Node, NodeId, Payload, StoredMembership, Vote};
use crate::storage::log::{Callback, Record};
use crate::storage::state::{Change, Entry};

const OLD: Uuid = Uuid::from_u128(100);
const OTHERS: [Uuid; 2] = [Uuid::from_u128(2), Uuid::from_u128(3)];
/// Entries 0 to 1 are memberships, the others a put each; up to 8 they are applied.
const LAST: Position = Position { term: 3, index: 12 };

fn done(ask: impl FnOnce(Callback)) {
    let (sender, answer) = mpsc::channel();
    ask(Box::new(move |result| sender.send(result).unwrap()));
    answer.recv().unwrap().unwrap();
}

fn payload(index: u64, me: Uuid) -> Payload {
    let voters: &[Uuid] = if index == 0 { &[me] } else { &[me, OTHERS[0], OTHERS[1]] };
    if index < 2 {
        let ids: BTreeSet<NodeId> = voters.iter().copied().map(NodeId).collect();
        let nodes: BTreeMap<NodeId, Node> = ids.iter().map(|id| (*id, Node { name: "n".to_owned() })).collect();
        return Payload::Membership(Membership::new(vec![ids], nodes).unwrap());
    }
    let operation = Operation::Put {
        key: format!("k{index}"),
        value: Bytes::from_static(b"v"),
        content_type: None,
        condition: Condition::Always,
    };
    Payload::Normal(Command::new(0, vec![Write { operation, idempotency: None }]))
}

/// A data dir of one of three voters, and its id.
fn filled() -> (tempfile::TempDir, Uuid) {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path()).unwrap();
    let mut identity = Identity::open(dir.path(), false).unwrap();
    identity.keep_cluster("muster").unwrap();
    let me = identity.id();
    storage.set_cluster_id(OLD).unwrap();
    let mut records = Vec::new();
    for index in 0..=LAST.index {
        let position = Position { index, ..LAST };
        let payload = payload(index, me);
        records.push(Record { position, payload: postcard::to_stdvec(&payload).unwrap().into() });
        let change = match payload {
            Payload::Membership(membership) => {
                let stored = StoredMembership::new(Some(LogId::new_term_index(position.term, index)), membership);
                Change::Membership(postcard::to_stdvec(&stored).unwrap().into())
            }
            Payload::Normal(command) => Change::Writes { stamp_ms: 0, writes: command.writes },
            Payload::Blank => Change::Nothing,
        };
        if index <= 8 {
            storage.state().apply(&[Entry { position, change }]).unwrap();
        }
    }
    let vote = postcard::to_stdvec(&Vote::new_committed(3, NodeId(OTHERS[0]))).unwrap();
    done(|done| storage.log().save_vote(vote.into(), done));
    done(|done| storage.log().append(records, done).unwrap());
    fs::write(dir.path().join("witness"), b"whatever it was").unwrap();
    (dir, me)
}

fn recover(confirm: Option<Uuid>) -> Recover {
    Recover { confirm, even_if_reached: false }
}

/// All of the log that a node would go on with.
fn log_of(dir: &Path) -> Vec<(Position, Payload)> {
    let storage = open(dir).unwrap();
    let records = storage.log().read(0, u64::MAX, u64::MAX).unwrap();
    records.into_iter().map(|record| (record.position, postcard::from_bytes(&record.payload).unwrap())).collect()
}

/// The disk of the only voter of another cluster, that lacks nothing which was there.
fn check(dir: &Path, me: Uuid) {
    assert!(!is_unfinished(dir) && !dir.join("witness").exists());
    let identity = Identity::open(dir, true).unwrap();
    assert_ne!(identity.id(), me);
    {
        let storage = open(dir).unwrap();
        assert!(storage.cluster_id().is_some_and(|id| id != OLD));
        let found = offline::look(&storage).unwrap();
        assert_eq!(found.voters.keys().copied().collect::<Vec<_>>(), [identity.id()]);
        assert_eq!((found.replaced, found.term, found.waiting), (BTreeSet::from([OLD]), 4, 4));
    }
    let log = log_of(dir);
    for (at, (position, entry)) in log.iter().take(13).enumerate() {
        assert_eq!((position.term, position.index), (3, at as u64));
        assert_eq!(*entry, payload(at as u64, me));
    }
    assert_eq!(log.len(), 15);
    assert_eq!([log[13].0, log[14].0], [13, 14].map(|index| Position { term: 4, index }));
    let Payload::Normal(last) = &log[14].1 else { panic!("{:?}", log[14]) };
    assert_eq!(last.writes[1].operation, Operation::SkipRevisions { count: SKIPPED_REVISIONS });
}

#[test]
fn a_look_shows_what_survived_and_changes_nothing() {
    let (dir, me) = filled();
    let before = log_of(dir.path());
    let text = run(dir.path(), &recover(None)).unwrap();
    for part in [
        format!("{OLD} (named muster)"),
        format!("n {me} (this node)"),
        "entry 12 of term 3".to_owned(),
        "applied up to entry 8".to_owned(),
        "7 is applied, and 4 further writes".to_owned(),
        format!("--confirm {OLD}"),
        "LOST FOR GOOD".to_owned(),
        "2 of the 3 voters".to_owned(),
    ] {
        assert!(text.contains(&part), "`{part}` is not in\n{text}");
    }
    assert_eq!(log_of(dir.path()), before);
    assert_eq!(Identity::open(dir.path(), true).unwrap().id(), me);
    assert_eq!(open(dir.path()).unwrap().cluster_id(), Some(OLD));
}

#[test]
fn the_survivor_becomes_the_only_voter_of_another_cluster_and_keeps_all_that_it_has() {
    let (dir, me) = filled();
    let told = run(dir.path(), &recover(Some(OLD))).unwrap();
    assert!(told.contains("Done.") && told.contains("empty data dirs"), "{told}");
    check(dir.path(), me);
    // Once more: nothing to do, whether it is asked for the old cluster or for the new one.
    let again = run(dir.path(), &recover(Some(OLD))).unwrap();
    assert!(again.contains("done before"), "{again}");
    let now = open(dir.path()).unwrap().cluster_id();
    assert!(matches!(run(dir.path(), &recover(now)), Err(RecoveryError::NotNeeded)));
    assert!(run(dir.path(), &recover(None)).unwrap().contains("needs no recovery"));
    check(dir.path(), me);
}

#[test]
fn wherever_a_crash_stops_it_the_next_start_does_the_rest() {
    for steps in 0..=5 {
        let (dir, me) = filled();
        let note = {
            let storage = open(dir.path()).unwrap();
            let survivor = look(dir.path(), &storage, None).unwrap();
            let note = decide(dir.path(), &survivor, OLD, false).unwrap();
            note.write(dir.path()).unwrap();
            let at = Position { term: note.term, index: note.index };
            let how = Continuation {
                node: note.node,
                name: note.name.clone(),
                at,
                replaced: OLD,
                note: format!("{} {} {}", note.began, note.revision, note.index),
            };
            match steps {
                0 => {}
                1 => {
                    let vote = postcard::to_stdvec(&Vote::new(note.term, NodeId(note.node))).unwrap();
                    done(|done| storage.log().save_vote(vote.into(), done));
                }
                2 => {
                    // The first entry of the two.
                    let half = postcard::to_stdvec(&payload(0, note.node)).unwrap().into();
                    done(|done| storage.log().append(vec![Record { position: at, payload: half }], done).unwrap());
                }
                _ => offline::continue_alone(&storage, &how).unwrap(),
            }
            if steps >= 4 {
                Identity::open(dir.path(), true).unwrap().begin_anew(note.node).unwrap();
            }
            if steps >= 5 {
                fs::remove_file(dir.path().join("witness")).unwrap();
                storage.replace_cluster_id(note.from, note.to).unwrap();
            }
            note
        };
        assert!(is_unfinished(dir.path()));
        finish_before_start(dir.path()).unwrap();
        check(dir.path(), me);
        assert_eq!(Identity::open(dir.path(), true).unwrap().id(), note.node);
        assert_eq!(open(dir.path()).unwrap().cluster_id(), Some(note.to));
    }
}

#[test]
fn the_command_finishes_what_was_interrupted_as_well() {
    let (dir, me) = filled();
    {
        let storage = open(dir.path()).unwrap();
        let survivor = look(dir.path(), &storage, None).unwrap();
        decide(dir.path(), &survivor, OLD, false).unwrap().write(dir.path()).unwrap();
    }
    let told = run(dir.path(), &recover(None)).unwrap();
    assert!(told.contains("interrupted") && told.contains("Done."), "{told}");
    check(dir.path(), me);
}

#[test]
fn what_is_no_survivor_or_may_not_be_alone_is_refused_and_left_as_it_is() {
    let empty = tempfile::tempdir().unwrap();
    assert!(matches!(run(empty.path(), &recover(None)), Err(RecoveryError::NoData(_))));
    assert_eq!(fs::read_dir(empty.path()).unwrap().count(), 0);

    let fresh = tempfile::tempdir().unwrap();
    drop(open(fresh.path()).unwrap());
    Identity::open(fresh.path(), false).unwrap();
    assert!(matches!(run(fresh.path(), &recover(None)), Err(RecoveryError::Empty(_))));

    let (dir, me) = filled();
    let before = log_of(dir.path());
    let running = open(dir.path()).unwrap();
    let locked = run(dir.path(), &recover(Some(OLD))).unwrap_err().to_string();
    assert!(locked.contains("another process uses this data dir"), "{locked}");
    drop(running);
    let other = run(dir.path(), &recover(Some(Uuid::from_u128(9)))).unwrap_err().to_string();
    assert!(other.contains("nothing was changed"), "{other}");

    let member = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = member.local_addr().unwrap().to_string();
    Identity::open(dir.path(), true).unwrap().keep_peers(vec![at.clone()]).unwrap();
    assert!(run(dir.path(), &recover(None)).unwrap().contains(&format!("SOMEBODY ANSWERS at {at}")));
    let reached = run(dir.path(), &recover(Some(OLD))).unwrap_err().to_string();
    assert!(reached.contains(&at) && reached.contains("nothing was changed"), "{reached}");
    assert_eq!(log_of(dir.path()), before);
    assert_eq!(Identity::open(dir.path(), true).unwrap().id(), me);
    run(dir.path(), &Recover { confirm: Some(OLD), even_if_reached: true }).unwrap();
    check(dir.path(), me);
}

#[test]
fn a_note_of_a_newer_release_is_refused() {
    let (dir, _) = filled();
    fs::write(dir.path().join("recovering"), r#"{"version":2,"and":"more"}"#).unwrap();
    let refused = finish_before_start(dir.path()).unwrap_err().to_string();
    assert!(refused.contains("newer release"), "{refused}");
    assert!(is_unfinished(dir.path()));
}
