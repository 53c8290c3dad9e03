//! Clients and strangers that mean no good, or have gone away: none keeps the others from being served, none costs memory without bound.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic is the verdict of a test")]

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use muster_cluster::swim::wire::{ClusterHash, Preface, StreamKind};
use muster_e2e::cluster::SOON;
use muster_e2e::figures::{figure, summary};
use muster_e2e::process::Process;
use muster_e2e::skip::needs;
use muster_e2e::strangers::{connect, connect_from, ended, hears, open_files};
use muster_e2e::{Cluster, Http, Plan, RegistryServer, binaries, eventually};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use uuid::Uuid;

/// What a client waits for at most while others misbehave, on a machine that may have much else to do.
const PATIENCE: Duration = Duration::from_secs(10);

/// 1 MiB of a body are read before it is refused, and 34 MiB more only to be thrown away.
const THROWN_AWAY: u64 = 35 << 20;
/// 12 MiB, with room to spare: what Linux takes from a sender whom nobody reads, in its own buffer (4 MiB) and in the receiver's (6 MiB).
const UNDER_WAY: u64 = 12 << 20;

async fn lone() -> Cluster {
    let mut cluster = Plan::new(1).without_registry().lay();
    cluster.nodes[0].start().await;
    cluster.usable().await;
    cluster
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

/// A client that goes on working: each of its writes and reads is done, and within its patience.
async fn works(http: &Http, url: &str, rounds: usize) -> Vec<Duration> {
    let mut times = Vec::with_capacity(rounds);
    for n in 0..rounds {
        let (url, value, since) = (format!("{url}/kv/works/{n}"), vec![b'v'; 20_000], Instant::now());
        http.put(&url, value.clone()).within(PATIENCE).ok().await;
        let read = http.get(&url).query("consistency", "linearizable").within(PATIENCE).ok().await;
        assert_eq!(read.body, value);
        times.push(since.elapsed());
    }
    times
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_idle_connections_are_in_nobodys_way() {
    const MANY: usize = 10_000;
    let Some(()) = needs("many open files", open_files(MANY as u64 + 1_000)) else { return };
    let cluster = lone().await;
    let (node, registry) = (&cluster.nodes[0], &mut registry_beside(&cluster));
    registry.start().await;
    let before = works(&cluster.http, &node.endpoint(), 30).await;
    let at_rest = node.process.resident_bytes();
    // Each has asked for something once, as a pool of a client does, so that nothing but time ends it.
    let ask = b"GET /livez HTTP/1.1\r\nHost: h\r\n\r\n";
    let mut idle = connect(node.http(), MANY, ask).await;
    let during = works(&cluster.http, &node.endpoint(), 30).await;
    assert_eq!(ended(&mut idle).await, 0, "there is room for all of them");
    let held = node.process.resident_bytes();
    assert!(held - at_rest < 512 << 20, "{} for {MANY} connections", mib(held - at_rest));
    drop(idle);
    let after = works(&cluster.http, &node.endpoint(), 30).await;
    for (when, times) in [("before", before), ("with", during), ("after", after)] {
        figure(&format!("a write and a read of 20 kB, {when} {MANY} idle connections"), &summary(&times).2);
    }
    figure("memory of a node", &format!("{} before, {} with {MANY} idle connections", mib(at_rest), mib(held)));
    // The registry likewise.
    let at_rest = registry.process.resident_bytes();
    let mut idle = connect(address(registry), MANY, ask).await;
    let since = Instant::now();
    cluster.http.get(format!("{}/nodes", registry.url())).within(PATIENCE).ok().await;
    figure("an answer of a registry with as many idle connections", &format!("{} ms", since.elapsed().as_millis()));
    assert_eq!(ended(&mut idle).await, 0, "there is room for all of them");
    let held = registry.process.resident_bytes();
    figure("memory of a registry", &format!("{} before, {} with {MANY} idle connections", mib(at_rest), mib(held)));
    assert!(held - at_rest < 512 << 20, "{} for {MANY} connections", mib(held - at_rest));
}

fn registry_beside(cluster: &Cluster) -> RegistryServer {
    RegistryServer::new(&cluster.folder("registry"), SocketAddr::from((cluster.ip, 0)), &[])
}

fn address(registry: &RegistryServer) -> SocketAddr {
    registry.url().trim_start_matches("http://").parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_and_greedy_clients_keep_nobody_out() {
    const EACH: usize = 280;
    let cluster = lone().await;
    let node = &cluster.nodes[0];
    cluster.http.put(node.url("/kv/large"), vec![b'x'; 1 << 20]).ok().await;
    works(&cluster.http, &node.endpoint(), 10).await;
    let at_rest = node.process.resident_bytes();
    // Heads that never end; bodies that are announced and never come, that drip, that never end; answers that nobody reads.
    let put = |more: &str| format!("PUT /kv/hostile HTTP/1.1\r\nHost: h\r\n{more}\r\n\r\n").into_bytes();
    let heads = connect(node.http(), EACH, b"GET /kv/a HTTP/1.1\r\nHost: h\r\nX: ").await;
    let announced = connect(node.http(), EACH, &put("Content-Length: 1048576")).await;
    let dripping = connect(node.http(), EACH, &put("Content-Length: 100000")).await;
    let drip = tokio::spawn(drip(dripping));
    let endless = connect(node.http(), 4, &put("Transfer-Encoding: chunked")).await;
    let endless: Vec<_> = endless.into_iter().map(|stranger| tokio::spawn(never_ends(stranger))).collect();
    // More than the 256 MiB that may be unread.
    let large = b"GET /kv/large HTTP/1.1\r\nHost: h\r\n\r\n";
    let mut unread = connect(node.http(), EACH, large).await;
    let times = works(&cluster.http, &node.endpoint(), 30).await;
    figure("a write and a read of 20 kB among slow and greedy clients", &summary(&times).2);
    let held = node.process.resident_bytes();
    figure(
        "memory of a node",
        &format!("{} before, {} with {EACH} clients of each slow kind", mib(at_rest), mib(held)),
    );
    // What is unread, the pages being made, and the cache beside it.
    assert!(held < at_rest + (512 << 20), "{}", mib(held));
    let refused = hears(&mut connect(node.http(), 1, large).await[0], Duration::from_secs(1)).await;
    assert!(
        refused.contains("HTTP/1.1 429") && refused.contains("retry-after: 1"),
        "{}",
        refused.get(..300).unwrap_or(&refused)
    );
    // Each is ended by the server: heads within five seconds, bodies within ten, give or take one; the endless ones when they have sent too much.
    let mut slow = heads;
    slow.extend(announced);
    eventually("all slow ones are ended", SOON, async || (ended(&mut slow).await == slow.len()).then_some(())).await;
    assert_eq!(drip.await.unwrap(), 0, "drips that were not ended");
    let mut most = 0;
    for stranger in endless {
        most = most.max(stranger.await.unwrap());
    }
    figure("taken of one body without an end", &mib(most));
    assert!(most < THROWN_AWAY + UNDER_WAY, "{}", mib(most));
    // Whoever reads after all gets what he asked for.
    assert!(hears(&mut unread[0], PATIENCE).await.starts_with("HTTP/1.1 200"));
    drop(unread);
    eventually("the memory is given back", SOON, async || {
        (node.metric::<u64>(&cluster.http, "muster_http_answer_bytes").await? == 0).then_some(())
    })
    .await;
    cluster.http.get(node.url("/kv/large")).ok().await;
}

/// Sends a byte now and then on each connection. How many of them were never ended.
async fn drip(mut strangers: Vec<TcpStream>) -> usize {
    let since = Instant::now();
    while since.elapsed() < SOON && !strangers.is_empty() {
        tokio::time::sleep(Duration::from_millis(500)).await;
        strangers.retain(|stranger| stranger.try_write(b"x").is_ok());
    }
    strangers.len()
}

/// Sends chunk after chunk until it is ended. How much it could send.
async fn never_ends(mut stranger: TcpStream) -> u64 {
    let chunk = [&b"10000\r\n"[..], &[b'x'; 0x10000], b"\r\n"].concat();
    let mut sent = 0;
    while sent < 1 << 30 && stranger.write_all(&chunk).await.is_ok() {
        sent += chunk.len() as u64;
        // Not faster than the node reads, or it would be the kernel's room that is measured.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    sent
}

#[tokio::test(flavor = "multi_thread")]
async fn a_length_that_lies_is_no_request() {
    let cluster = lone().await;
    let node = &cluster.nodes[0];
    let put = |length: &str, body: &str| {
        format!("PUT /kv/lie HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes()
    };
    // Less than was announced, and the end: nothing is written.
    let mut stranger = connect(node.http(), 1, &put("100", "short")).await.remove(0);
    stranger.shutdown().await.unwrap();
    let heard = hears(&mut stranger, PATIENCE).await;
    assert!(heard.is_empty() || heard.starts_with("HTTP/1.1 400"), "{heard}");
    cluster.http.get(node.url("/kv/lie")).expect(404).await;
    // More than was announced: the rest is the next request, and none.
    let heard = hears(&mut connect(node.http(), 1, &put("5", "12345garbage\r\n\r\n")).await[0], PATIENCE).await;
    assert!(heard.starts_with("HTTP/1.1 201") && heard.contains("HTTP/1.1 400"), "{heard}");
    assert_eq!(cluster.http.get(node.url("/kv/lie")).ok().await.body, b"12345");
    // Beyond the limit, beyond every number, and two of them.
    for (length, status) in [("1048577", 413), ("18446744073709551616", 400), ("5\r\nContent-Length: 6", 400)] {
        let heard = hears(&mut connect(node.http(), 1, &put(length, "12345")).await[0], PATIENCE).await;
        assert!(heard.starts_with(&format!("HTTP/1.1 {status}")), "{length}: {heard}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_that_wait_are_refused_at_once_and_served_again_as_soon_as_there_is_room() {
    const MANY: usize = 4_500;
    const BOUND: usize = 4_096;
    let Some(()) = needs("many open files", open_files(MANY as u64 * 2 + 1_000)) else { return };
    let cluster = lone().await;
    let node = &cluster.nodes[0];
    let at_rest = node.process.resident_bytes();
    let written = cluster.http.put(node.url("/kv/crowd"), "1").ok().await.revision();
    let wait = |revision: u64| format!("GET /kv/crowd?min_revision={revision}&timeout=60s HTTP/1.1\r\nHost: h\r\n\r\n");
    let next = written + 1;
    let waiting = connect(node.http(), MANY, wait(next).as_bytes()).await;
    are_refused(&waiting, MANY - BOUND).await;
    let held = node.process.resident_bytes();
    figure("memory of a node", &format!("{} before, {} with {BOUND} that wait", mib(at_rest), mib(held)));
    assert!(held < at_rest + (512 << 20), "{}", mib(held));
    // They take nobody's place: others read, and one of them writes what all wait for.
    cluster.http.get(node.url("/livez")).within(PATIENCE).ok().await;
    assert_eq!(cluster.http.get(node.url("/kv/crowd")).within(PATIENCE).ok().await.body, b"1");
    assert_eq!(cluster.http.put(node.url("/kv/crowd"), "2").within(PATIENCE).ok().await.revision(), next);
    let mut answered = BTreeSet::new();
    let mut heard = [0; 1024];
    eventually("all are answered", SOON, async || {
        for (n, stranger) in waiting.iter().enumerate() {
            if let Ok(length @ 1..) = stranger.try_read(&mut heard) {
                assert!(heard[..length].starts_with(b"HTTP/1.1 200 "));
                answered.insert(n);
            }
        }
        (answered.len() == BOUND).then_some(())
    })
    .await;
    // There is room again for as many.
    let again = connect(node.http(), 500, wait(next + 1).as_bytes()).await;
    are_refused(&again, 0).await;
    works(&cluster.http, &node.endpoint(), 5).await;
}

/// Waits until so many are refused, which is at once; who waits for something is told nothing.
async fn are_refused(strangers: &[TcpStream], expected: usize) {
    let mut refused = BTreeSet::new();
    let mut heard = [0; 1024];
    eventually("those beyond the bound are refused", SOON, async || {
        for (n, stranger) in strangers.iter().enumerate() {
            if let Ok(length @ 1..) = stranger.try_read(&mut heard) {
                let heard = String::from_utf8_lossy(&heard[..length]).into_owned();
                assert!(heard.starts_with("HTTP/1.1 429") && heard.contains("\r\nretry-after: 1\r\n"), "{heard}");
                refused.insert(n);
            }
        }
        (refused.len() >= expected).then_some(())
    })
    .await;
    assert_eq!(refused.len(), expected, "and nobody else");
}

#[tokio::test(flavor = "multi_thread")]
async fn few_files_are_kept_for_the_service_itself() {
    let cluster = &mut Plan::new(1).without_registry().lay();
    // A shell that may open 160 files, and so may what it turns into.
    let script = cluster.folder("with-few-files");
    let node = binaries::program("muster-node");
    std::fs::write(&script, format!("#!/bin/sh\nulimit -n 160\nexec {} \"$@\"\n", node.display())).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    cluster.nodes[0].process.run_as(script);
    cluster.nodes[0].start().await;
    cluster.usable().await;
    let node = &cluster.nodes[0];
    assert!(node.process.has_logged("ulimit -n"), "an operator is told");
    // Five times as many as fit. Those that rest longest are closed, so the client that comes is served.
    let mut crowd = connect(node.http(), 800, b"GET /livez HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let times = works(&Http::default(), &node.endpoint(), 20).await;
    figure("a write and a read of 20 kB when the files run out", &summary(&times).2);
    assert!(ended(&mut crowd).await > 600);
    let busy = processor_time(&node.process);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let busy = processor_time(&node.process) - busy;
    assert!(busy < Duration::from_millis(500), "it spins: {busy:?} in a second");
    // Silent peers are bounded by number and time.
    let _silent = connect(node.peer(), 200, b"").await;
    works(&cluster.http, &node.endpoint(), 10).await;
    drop(crowd);
    works(&cluster.http, &node.endpoint(), 10).await;
    assert!(cluster.nodes[0].stop().await.success());
}

/// User and system time that a process has used so far.
fn processor_time(process: &Process) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.pid())).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    // In hundredths of a second on every Linux.
    Duration::from_millis((fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()) * 10)
}

/// A stream of a node's own kind, opened by whoever, and the greeting behind it. It is not read whether that was welcome.
fn knock(kind: u8, cluster_id: Uuid, from: Uuid) -> Vec<u8> {
    let preface = Preface::new(StreamKind::from_byte(kind), ClusterHash::of("muster"), from, None);
    // `Hello { cluster_id: Some(..) }`, as docs/wire.md has it.
    let hello = [&[1, 16][..], cluster_id.as_bytes()].concat();
    let mut said = preface.encode().to_vec();
    said.extend_from_slice(&(hello.len() as u32).to_le_bytes());
    said.extend_from_slice(&0_u64.to_le_bytes());
    said.extend_from_slice(&hello);
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_at_the_peer_port_keep_no_peer_out() {
    let Some(()) = needs("many open files", open_files(4_000)) else { return };
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let to = cluster.nodes[leader].peer();
    let members = cluster.nodes[leader].members(&cluster.http).await.unwrap();
    let (id, cluster_id) = (members.local, members.cluster_id.unwrap());
    let at_rest = cluster.nodes[leader].process.resident_bytes();
    let files = || std::fs::read_dir(format!("/proc/{}/fd", cluster.nodes[leader].process.pid())).unwrap().count();
    let few = files();
    let mut strangers = Vec::new();
    // From as many addresses as one likes: silent ones, and such whose preface stops midway.
    for n in 0..600_u16 {
        let [high, low] = n.to_be_bytes();
        let mut stranger = connect_from(Ipv4Addr::new(127, 99, high, low), to).await.unwrap();
        stranger.write_all(&knock(17, cluster_id, id)[..usize::from(n % 48)]).await.unwrap();
        strangers.push(stranger);
    }
    // A preface by the book and no greeting; a greeting, and silence; a frame of 48 MiB, announced; one that nobody knows.
    for n in 0..2_000_u128 {
        let kind = 16 + u8::try_from(n % 3).unwrap();
        let mut said = knock(kind, cluster_id, Uuid::from_u128(n));
        match n % 4 {
            0 => said.truncate(48),
            1 => {}
            2 => said.extend_from_slice(&[&(48_u32 << 20).to_le_bytes()[..], &[7; 5_000]].concat()),
            _ => said.extend_from_slice(&[&[5, 0, 0, 0][..], &[1; 8], &[0xff; 5]].concat()),
        }
        strangers.extend(connect(to, 1, &said).await);
    }
    let times = works(&cluster.http, &cluster.endpoint(leader), 30).await;
    figure("a write and a read of 20 kB while strangers knock at the peer port", &summary(&times).2);
    let held = cluster.nodes[leader].process.resident_bytes();
    figure("memory of a leader", &format!("{} before, {} with {} strangers", mib(at_rest), mib(held), strangers.len()));
    assert!(held < at_rest + (256 << 20), "{}", mib(held));
    eventually("no more than 1,024 streams from one address stay", SOON, async || {
        (files() < few + 1_200).then_some(())
    })
    .await;
    // A node joins in the midst of it, and the group is whole.
    let newcomer = cluster.add(&[]);
    cluster.nodes[newcomer].start().await;
    cluster.settled().await;
    drop(strangers);
    works(&cluster.http, &cluster.endpoint(newcomer), 5).await;
}
