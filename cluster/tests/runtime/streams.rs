//! The program's own streams on the peer port, and the strangers that come there.

use std::time::Duration;

use muster_cluster::{
    runtime::{Limits, OpenError, Peer, Step},
    swim::{
        MemberState,
        wire::{Answer, ClusterHash, Preface, Refusal, StreamKind, VERSIONS, VersionRange},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
};
use uuid::Uuid;

use crate::fixture::{Node, Plan, start_all, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_carries_bytes_both_ways_and_knows_who_is_there() {
    let mut nodes = start_all(2).await;
    let (to, from) = (nodes[0].id(), nodes[1].id());
    let mut stream = nodes[1].cluster.open_stream(to, 200).await.expect("it opens");
    assert_eq!((stream.peer(), stream.version()), (to, VERSIONS.max));
    let incoming = within("the stream", nodes[0].streams.recv()).await.expect("it arrives");
    assert_eq!((incoming.kind, incoming.version, incoming.from), (200, VERSIONS.max, from));
    assert_eq!(incoming.stream.peer(), from);

    let payload: Vec<u8> = (0..200_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let (mut reader, mut writer) = incoming.stream.into_split();
    let echo = tokio::spawn(async move { tokio::io::copy(&mut reader, &mut writer).await });
    let mut back = Vec::new();
    within("the echo", async {
        let (mut reader, mut writer) = tokio::io::split(&mut stream);
        let send = async {
            writer.write_all(&payload).await?;
            writer.shutdown().await
        };
        let (sent, read) = tokio::join!(send, reader.read_to_end(&mut back));
        sent.and(read).expect("both ways work");
    })
    .await;
    assert!(back == payload);
    assert_eq!(echo.await.expect("no panic").expect("no error"), 200_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_way_of_not_getting_a_stream_has_its_name() {
    let nodes = start_all(2).await;
    let cluster = &nodes[0].cluster;
    let other = nodes[1].cluster.local_address();
    let stranger = Uuid::from_u128(99);

    assert!(matches!(cluster.open_stream(other, 15).await, Err(OpenError::ReservedKind(15))));
    assert!(matches!(cluster.open_stream(stranger, 16).await, Err(OpenError::UnknownMember(id)) if id == stranger));

    let wrong = cluster.open_stream(Peer::Member { id: stranger, address: other }, 16).await;
    let Err(OpenError::WrongMember { expected, answered, .. }) = wrong else { panic!("{wrong:?}") };
    assert_eq!((expected, answered), (stranger, nodes[1].id()));

    let nobody = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("an address");
    let gone = cluster.open_stream(nobody, 16).await;
    assert!(gone.as_ref().is_err_and(OpenError::process_is_gone), "{gone:?}");

    // Something else listens there: it closes, it talks nonsense.
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let closes = async { drop(listener.accept().await.expect("a connection")) };
    let (closed, ()) = tokio::join!(cluster.open_stream(address, 16), closes);
    assert!(matches!(closed, Err(OpenError::Closed { .. })), "{closed:?}");
    let talks = async {
        let (mut tcp, _) = listener.accept().await.expect("a connection");
        tcp.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.expect("it is read");
        tcp
    };
    let (nonsense, _tcp) = tokio::join!(cluster.open_stream(address, 16), talks);
    assert!(matches!(nonsense, Err(OpenError::NotAMember { .. })), "{nonsense:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_listener_is_not_waited_for_for_ever() {
    let limits = Limits { handshake_timeout: Duration::from_millis(50), ..Limits::default() };
    let node = Plan { limits, ..Plan::new(1) }.start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let late = within("the time-out", node.cluster.open_stream(address, 16)).await;
    assert!(matches!(late, Err(OpenError::TimedOut { step: Step::Preface, .. })), "{late:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_nobody_takes_are_refused_and_not_piled_up() {
    let limits = Limits { incoming_streams: 1, ..Limits::default() };
    let mut node = Plan { limits, ..Plan::new(1) }.start().await;
    let dialler = Plan::new(2).start().await;
    let to = node.cluster.local_address();
    let first = dialler.cluster.open_stream(to, 16).await.expect("there is room for one");
    let busy = dialler.cluster.open_stream(to, 16).await;
    assert!(matches!(busy, Err(OpenError::Refused { reason: Refusal::Busy, .. })), "{busy:?}");
    let incoming = within("the first", node.streams.recv()).await.expect("it arrives");
    dialler.cluster.open_stream(to, 16).await.expect("there is room again");
    drop((first, incoming));

    node.streams.close();
    while node.streams.recv().await.is_some() {}
    let unserved = dialler.cluster.open_stream(to, 16).await;
    assert!(matches!(unserved, Err(OpenError::Refused { reason: Refusal::Kind, .. })), "{unserved:?}");
    let metrics = node.metrics().await;
    assert_eq!((metrics.streams_accepted, metrics.refused_busy, metrics.refused_kind), (2, 1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_and_babbling_strangers_are_bounded_counted_and_in_nobodys_way() {
    let limits =
        Limits { handshakes_per_address: 2, handshake_timeout: Duration::from_millis(300), ..Limits::default() };
    let node = Plan { limits, ..Plan::new(1) }.start().await;
    let to = node.cluster.local_address();

    let mut babbler = TcpStream::connect(to).await.expect("it listens");
    babbler.write_all(&[b'x'; 48]).await.expect("it reads");
    node.counts("the babbler", |metrics| metrics.prefaces_malformed == 1).await;
    assert_eq!(within("its end", babbler.read(&mut [0; 1])).await.ok(), Some(0), "it is hung up on");

    // From another address of the loopback, so that they do not count against the members.
    let mut silent = Vec::new();
    for _ in 0..5 {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind("127.0.0.2:0".parse().expect("an address")).expect("the loopback has many addresses");
        silent.push(socket.connect(to).await.expect("it listens"));
    }
    node.counts("the crowd", |metrics| metrics.connections_crowded_out == 3).await;
    let member = Plan::new(2).seeds([to]).start().await;
    member.sees(2, MemberState::Alive).await;
    member.cluster.open_stream(node.id(), 16).await.expect("members get in");
    node.counts("the silent", |metrics| metrics.prefaces_late == 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_strangers_from_many_addresses_keep_no_member_out() {
    // For longer than the test takes.
    let limits = Limits { handshakes: 8, handshake_timeout: Duration::from_secs(60), ..Limits::default() };
    let node = Plan { limits, ..Plan::new(1) }.start().await;
    let to = node.cluster.local_address();
    let mut silent = Vec::new();
    for n in 0..32 {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket
            .bind(format!("127.0.0.{}:0", 2 + n).parse().expect("an address"))
            .expect("the loopback has many addresses");
        silent.push(socket.connect(to).await.expect("it listens"));
    }
    node.counts("the crowd", |metrics| metrics.connections_crowded_out == 24).await;
    let member = Plan::new(2).seeds([to]).start().await;
    member.sees(2, MemberState::Alive).await;
    member.cluster.open_stream(node.id(), 16).await.expect("members get in");
}

/// Sends a preface by hand, and hears the answer.
async fn knock(node: &Node, preface: Preface) -> (TcpStream, Answer) {
    let mut tcp = TcpStream::connect(node.cluster.local_address()).await.expect("it listens");
    tcp.write_all(&preface.encode()).await.expect("it reads");
    let mut answer = [0; Answer::LEN];
    within("the answer", tcp.read_exact(&mut answer)).await.expect("it answers");
    (tcp, Answer::decode(&answer).expect("it makes sense"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exchanges_at_once_are_bounded_and_a_frame_too_long_ends_one() {
    let limits = Limits { exchanges: 1, ..Limits::default() };
    let node = Plan { limits, ..Plan::new(1) }.start().await;
    let preface = Preface::new(StreamKind::Exchange, ClusterHash::of("test"), Uuid::from_u128(2), Some(node.id()));
    let (mut first, answer) = knock(&node, preface).await;
    assert_eq!((answer.verdict, answer.sender), (Ok(VERSIONS.max), node.id()));
    let (_, answer) = knock(&node, preface).await;
    assert_eq!(answer.verdict, Err(Refusal::Busy));

    first.write_all(&u32::MAX.to_le_bytes()).await.expect("it reads");
    node.counts("the broken exchange", |metrics| metrics.exchanges_broken == 1).await;
    assert_eq!(within("its end", first.read(&mut [0; 1])).await.ok(), Some(0), "it is hung up on");
    // The place is free a moment after the stream is closed.
    within("room again", async { while knock(&node, preface).await.1.verdict.is_err() {} }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_highest_version_that_both_speak_is_chosen_and_none_is_a_refusal() {
    let node = Plan::new(1).start().await;
    let preface = Preface::new(StreamKind::Application(16), ClusterHash::of("test"), Uuid::from_u128(2), None);
    let both = Preface { versions: VersionRange { min: 1, max: 250 }, ..preface };
    assert_eq!(knock(&node, both).await.1.verdict, Ok(VERSIONS.max));
    let newer = Preface { versions: VersionRange { min: 240, max: 250 }, ..preface };
    let (_, answer) = knock(&node, newer).await;
    assert_eq!((answer.verdict, answer.versions), (Err(Refusal::Version), VERSIONS));
    let reserved = Preface { kind: StreamKind::Reserved(3), ..preface };
    assert_eq!(knock(&node, reserved).await.1.verdict, Err(Refusal::Kind));
}
