//! Members with keys on real sockets: who is let in, who is told nothing, and what becomes of streams when keys change.

use muster_cluster::{
    keyring::{Change, Entry, EntryName, Key, Keyring},
    runtime::{AskError, KeyReport, KeyRequest, Metrics, OpenError, ask},
    swim::{
        MemberState,
        wire::{Answer, ClusterHash, Preface, StreamKind},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use uuid::Uuid;

use crate::fixture::{DEADLINE, Node, Plan, within};

fn key(byte: u8) -> Key {
    Key::new([byte; 32])
}

fn name(key: &Key) -> EntryName {
    EntryName::Key(key.name())
}

async fn two_with(keys: &Keyring) -> [Node; 2] {
    let first = Plan { keys: keys.clone(), ..Plan::new(1) }.start().await;
    let seed = first.cluster.local_address();
    let second = Plan { keys: keys.clone(), ..Plan::new(2) }.seeds([seed]).start().await;
    first.sees(2, MemberState::Alive).await;
    second.sees(2, MemberState::Alive).await;
    [first, second]
}

/// Of what is dropped for its seal, what should never happen among members.
fn broken(metrics: &Metrics) -> [u64; 3] {
    [metrics.swim.bad_seals, metrics.swim.replayed, metrics.streams_bad_seal]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_with_the_key_find_each_other_and_strangers_find_nobody() {
    let mut nodes = two_with(&Keyring::sealed(key(1))).await;
    let to = nodes[0].cluster.local_address();
    let open = Plan::new(3).seeds([to]).start().await;
    let other = Plan { keys: Keyring::sealed(key(2)), ..Plan::new(4) }.seeds([to]).start().await;
    let turned_away = |metrics: &Metrics| metrics.streams_unsealed > 2 && metrics.streams_unknown_key > 2;
    nodes[0].counts("strangers are turned away, again and again", turned_away).await;
    for stranger in [&open, &other] {
        assert_eq!(stranger.cluster.view().members.len(), 1, "{:?}", stranger.cluster.view());
        let closed = stranger.cluster.open_stream(to, 16).await;
        assert!(matches!(closed, Err(OpenError::Closed { .. })), "{closed:?}");
    }
    for node in &nodes {
        assert_eq!(node.cluster.view().members.len(), 2, "{:?}", node.cluster.view());
        let metrics = node.metrics().await;
        assert_eq!(broken(&metrics), [0; 3], "{metrics:?}");
    }
    let metrics = nodes[1].metrics().await;
    assert_eq!(metrics.swim.unsealed + metrics.swim.unknown_keys, 0, "nobody told them of the second: {metrics:?}");

    let mut stream = nodes[1].cluster.open_stream(nodes[0].id(), 16).await.expect("members get in");
    assert!(stream.is_sealed());
    let mut incoming = within("the stream", nodes[0].streams.recv()).await.expect("it arrives").stream;
    assert!(incoming.is_sealed());
    stream.write_all(b"secret").await.expect("it is read");
    stream.shutdown().await.expect("it is read");
    let mut heard = Vec::new();
    within("what was written", incoming.read_to_end(&mut heard)).await.expect("it ends well");
    assert_eq!(heard, b"secret");
}

/// What is heard after these bytes, until the other side closes.
async fn hears(node: &Node, bytes: &[u8]) -> Vec<u8> {
    let mut tcp = TcpStream::connect(node.cluster.local_address()).await.expect("it listens");
    tcp.write_all(bytes).await.expect("it reads");
    // An answer would be at least so long; who takes the stream keeps it open after that.
    let mut heard = Vec::new();
    let mut tcp = tcp.take(Answer::LEN as u64);
    within("an answer or the end", tcp.read_to_end(&mut heard)).await.expect("it closes in good order");
    heard
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_kind_of_stream_tells_anything_to_who_has_no_key() {
    let mine = key(1);
    let sealed = Plan { keys: Keyring::sealed(mine.clone()), ..Plan::new(1) }.start().await;
    let open = Plan::new(2).start().await;
    let cluster = ClusterHash::of("test");
    for byte in 0..=u8::MAX {
        let kind = StreamKind::from_byte(byte);
        let to = |node: &Node| Preface::new(kind, cluster, Uuid::from_u128(9), Some(node.id())).encode();
        assert_eq!(hears(&sealed, &to(&sealed)).await, b"", "{kind:?}");
        assert_eq!(hears(&open, &to(&open)).await.len(), Answer::LEN, "what the same says to an open member, {kind:?}");
    }
    let metrics = sealed.metrics().await;
    assert_eq!((metrics.streams_unsealed, metrics.streams_accepted, metrics.exchanges_accepted), (256, 0, 0));

    // Names of keys can be read on the wire, so a stranger knows them.
    let EntryName::Key(known) = name(&mine) else { panic!("a key has a name") };
    let hex = known.to_string();
    let known = (0..8).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).expect("hex"));
    let head = |name: &[u8]| {
        let hash = cluster.to_bits().to_le_bytes();
        [b"MSTS\x01\0\0\0".as_slice(), &hash, name, &[9; 96]].concat()
    };
    assert_eq!(hears(&sealed, &head(&known.collect::<Vec<_>>())).await, b"");
    assert_eq!(hears(&sealed, &head(&[0; 8])).await, b"");
    let metrics = sealed.metrics().await;
    assert_eq!((metrics.streams_bad_seal, metrics.streams_unknown_key), (1, 1), "{metrics:?}");
    let keys = Preface::new(StreamKind::Keys, cluster, Uuid::from_u128(9), None);
    let refused = Answer::decode(hears(&open, &keys.encode()).await.as_slice().try_into().expect("one answer"));
    assert!(refused.expect("it makes sense").verdict.is_err(), "an open member changes no keys for who has none");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_change_while_members_run_and_streams_end_with_theirs() {
    let (old, new) = (key(1), key(2));
    let mut nodes = two_with(&Keyring::sealed(old.clone())).await;
    let to = nodes[0].cluster.local_address();
    let request = async |with: &Key, change: Change| {
        ask(to, "test", &Keyring::sealed(with.clone()), &KeyRequest::Change(change), DEADLINE).await
    };
    let has = |reports: Vec<KeyReport>, names: &[EntryName]| {
        assert_eq!(reports.len(), 2, "{reports:?}");
        assert!(reports.iter().all(|report| report.failure.is_none() && report.ring == names), "{reports:?}");
    };
    let mut on_old = nodes[1].cluster.open_stream(nodes[0].id(), 16).await.expect("it opens");
    let mut far = within("the stream", nodes[0].streams.recv()).await.expect("it arrives").stream;
    let added = request(&old, Change::Add(Entry::Key(new.clone()))).await.expect("who holds a key may");
    has(added, &[name(&old), name(&new)]);
    has(request(&old, Change::Use(name(&new))).await.expect("who holds a key may"), &[name(&new), name(&old)]);
    on_old.write_all(b"on").await.expect("its key is in the ring");
    let mut two = [0; 2];
    within("what was written", far.read_exact(&mut two)).await.expect("its key is in the ring");

    // The request hangs on the key that it takes out.
    let removed = request(&old, Change::Remove(name(&old))).await.expect("it is answered");
    has(removed, &[name(&new)]);
    within("its end", far.read(&mut two)).await.expect_err("its key is gone");
    within("its end", on_old.read(&mut two)).await.expect_err("its key is gone");
    on_old.write_all(b"off").await.expect_err("its key is gone");
    nodes[1].cluster.open_stream(nodes[0].id(), 16).await.expect("the new key opens");
    let late = request(&old, Change::Add(Entry::Key(old.clone()))).await;
    assert!(matches!(late, Err(AskError::Open(OpenError::Closed { .. }))), "{late:?}");

    let before = nodes[1].metrics().await.datagrams_received;
    nodes[1].counts("gossip goes on", |metrics| metrics.datagrams_received > before + 10).await;
    for (node, unknown) in nodes.iter().zip([1, 0]) {
        node.sees(2, MemberState::Alive).await;
        let metrics = node.metrics().await;
        assert_eq!(broken(&metrics), [0; 3], "{metrics:?}");
        assert_eq!((metrics.swim.unknown_keys, metrics.streams_unknown_key), (0, unknown), "{metrics:?}");
    }
}
