//! Keys, with real processes: strangers learn nothing, and keys come and go under load.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic is the verdict of a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use muster_client::api::cluster::MemberState;
use muster_cluster::keyring::{Change, EntryName};
use muster_cluster::runtime::{KeyFile, KeyRequest, ask};
use muster_e2e::cli::muster;
use muster_e2e::cluster::SOON;
use muster_e2e::history::Fate;
use muster_e2e::load::Load;
use muster_e2e::{Cluster, Plan, Tap, eventually};
use serde_json::Value;

/// How the warning begins.
const OTHER_KEYS: &str = "datagrams and connections were dropped since their keys are not ours";
/// Changes of the key under load, one after the other.
const CHANGES: usize = 4;

async fn new_key() -> String {
    muster(&["keys", "generate"]).await.exits(0).line().to_owned()
}

fn write(path: &Path, lines: &[&str]) -> PathBuf {
    fs::write(path, lines.join("\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    path.to_owned()
}

/// Three nodes, each with a keys file of its own, of these lines, and each reached by the others through a tap only.
async fn cluster(lines: &[&str]) -> (Cluster, PathBuf, Vec<Tap>) {
    let mut cluster = Plan::new(0).expect(3).lay();
    cluster.registry.start().await;
    let mut taps = Vec::new();
    for number in 1..=3 {
        let file = write(&cluster.folder(&format!("keys-{number}")), lines);
        taps.push(cluster.add_behind_tap(Duration::ZERO, &["--keys-file", file.to_str().unwrap()]).await);
    }
    let mine = write(&cluster.folder("keys-mine"), lines);
    cluster.start_all().await;
    let members = cluster.nodes[0].members(&cluster.http).await.unwrap().members;
    let tapped = |peer: &str| peer.parse::<SocketAddr>().is_ok_and(|peer| peer.ip() != IpAddr::V4(cluster.ip));
    assert!(members.iter().all(|member| tapped(&member.peer)), "{members:?}");
    (cluster, mine, taps)
}

/// What a node has dropped for its seal.
async fn dropped(cluster: &Cluster, node: usize) -> BTreeMap<&'static str, u64> {
    let mut counts = BTreeMap::new();
    for reason in ["unsealed", "unknown_key", "bad_seal", "replayed"] {
        let count = cluster.nodes[node].dropped(&cluster.http, reason).await;
        counts.insert(reason, count.expect("every reason has its line"));
    }
    counts
}

/// Whether these bytes went by, and how many did.
fn heard(taps: &[Tap], what: &str) -> (bool, usize) {
    let all: Vec<Vec<u8>> = taps.iter().map(Tap::take).collect();
    let found = all.iter().any(|bytes| bytes.windows(what.len()).any(|window| window == what.as_bytes()));
    (found, all.iter().map(Vec::len).sum())
}

/// Runs `muster keys ...` against the first node and gives what each member has, by name.
async fn keys(cluster: &Cluster, mine: &Path, args: &[&str]) -> Vec<(String, Vec<String>)> {
    let endpoint = cluster.nodes[0].endpoint();
    let more = ["-o", "json", "--endpoint", &endpoint, "--keys-file", mine.to_str().unwrap()];
    let said = muster(&[&["keys"], args, &more].concat()).await.exits(0).json();
    let names =
        |row: &Value| row["keys"].as_array().unwrap().iter().map(|key| key.as_str().unwrap().to_owned()).collect();
    said.as_array().unwrap().iter().map(|row| (row["name"].as_str().unwrap().to_owned(), names(row))).collect()
}

/// What a stranger hears who sends this to a peer port: bytes until the other side closes.
fn probe(cluster: &Cluster, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(cluster.nodes[0].peer()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(bytes).unwrap();
    let mut heard = Vec::new();
    match stream.read_to_end(&mut heard) {
        Ok(_) => heard,
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => heard,
        Err(error) => panic!("it was not closed: {error}"),
    }
}

/// The head of a stream of the node's calls in the open, as a member of an open cluster sends it.
fn open_preface() -> Vec<u8> {
    let hash = b"muster"
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3));
    [b"MSTR\x01\x02\x11\x00".as_slice(), &hash.to_le_bytes(), &[7; 16], &[0; 16]].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_without_the_key_can_neither_join_nor_hear_anything_and_changes_no_keys() {
    let key = new_key().await;
    let (mut cluster, mine, taps) = cluster(&[&key]).await;
    for node in 0..3 {
        // From the first packet on, nobody takes what another says for something else.
        assert!(dropped(&cluster, node).await.values().all(|count| *count == 0), "{:?}", dropped(&cluster, node).await);
    }
    cluster.http.put(cluster.nodes[0].url("/kv/the-very-key"), "the very value").ok().await;
    assert_eq!(probe(&cluster, &open_preface()), b"");
    assert_eq!(probe(&cluster, &[b"MSTS\x01\0\0\0".as_slice(), &open_preface()[8..16], &[9; 104]].concat()), b"");
    assert_eq!(probe(&cluster, &[0; 200]), b"");

    let peer = cluster.nodes[0].peer().to_string();
    let other = write(&cluster.folder("keys-other"), &[&new_key().await]);
    let without = cluster.add(&["--join", &peer]);
    let wrong = cluster.add(&["--join", &peer, "--keys-file", other.to_str().unwrap()]);
    for stranger in [without, wrong] {
        cluster.nodes[stranger].start().await;
    }
    let before = dropped(&cluster, 0).await;
    eventually("both are turned away, again and again", SOON, async || {
        let now = dropped(&cluster, 0).await;
        (["unsealed", "unknown_key"].iter().all(|reason| now[reason] > before[reason] + 3)).then_some(())
    })
    .await;
    for stranger in [without, wrong] {
        let members = cluster.nodes[stranger].members(&cluster.http).await.unwrap();
        assert_eq!(members.members.len(), 1, "{members:?}");
    }
    let members = cluster.nodes[1].members(&cluster.http).await.unwrap().members;
    assert_eq!(members.iter().filter(|member| member.state == MemberState::Alive).count(), 3);
    assert_eq!(members.len(), 3);

    let endpoint = cluster.nodes[0].endpoint();
    let asked = muster(&["keys", "list", "--endpoint", &endpoint, "--keys-file", other.to_str().unwrap()]).await;
    asked.exits(5);
    assert_eq!(keys(&cluster, &mine, &["list"]).await.len(), 3);
    let metrics = cluster.http.get(cluster.nodes[0].url("/metrics")).ok().await.text();
    assert!(!metrics.contains(&key));
    assert!(cluster.nodes[0].process.has_logged(OTHER_KEYS), "{}", cluster.nodes[0].process.run_log());
    let all: Vec<u8> = taps.iter().flat_map(Tap::take).collect();
    for secret in ["the-very-key", "the very value", "harness/usable", "voter", &key] {
        assert!(!all.windows(secret.len()).any(|window| window == secret.as_bytes()), "{secret} went over the wire");
    }
    assert!(all.len() > 10_000, "the taps heard only {} bytes", all.len());
}

/// A program that retries, and plain requests to every node that do not.
struct Writers {
    program: Load,
    plain: Load,
}

impl Writers {
    fn start(cluster: &Cluster) -> Self {
        let program = Load::client(&cluster.client(), "rotate/program", 2);
        // So that a busy machine is not taken for a lost write.
        let timeout = Duration::from_secs(15);
        let plain = Load::plain_within(&cluster.http, &cluster.endpoints(), "rotate/plain", 6, timeout);
        Self { program, plain }
    }

    async fn go_on(&self) {
        self.program.more_acks(50, SOON).await;
        self.plain.more_acks(100, SOON).await;
    }

    /// Ends them; the program lost nothing, and plain requests only what no retry can do for them: those to a node that stops or is gone.
    async fn lost_no_more_than_restarts_cost(self) {
        let (program, plain) = (self.program.stop().await, self.plain.stop().await);
        assert_eq!(program.not_acked().count(), 0, "{:#?}", program.not_acked().collect::<Vec<_>>());
        for write in plain.not_acked() {
            let (Fate::Failed(why) | Fate::Unknown(why)) = &write.fate else { continue };
            let gone = write.fate == Fate::Failed(why.clone()) || !why.starts_with("5");
            assert!(gone, "an answer that nobody needed to give: {write:#?}");
        }
    }

    /// Ends them; no write failed, and none has an outcome that nobody knows.
    async fn all_were_acked(self) {
        for history in [self.program.stop().await, self.plain.stop().await] {
            let failed: Vec<_> = history.not_acked().collect();
            assert!(failed.is_empty(), "{}: {failed:#?}", history.counts());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_cluster_is_sealed_and_its_key_changed_under_load_without_a_failed_write() {
    let key = new_key().await;
    let (cluster, mine, taps) = cluster(&["plain", &key]).await;
    let load = Writers::start(&cluster);
    load.go_on().await;

    let before = keys(&cluster, &mine, &["list"]).await;
    assert!(before.len() == 3 && before.iter().all(|(_, ring)| ring[0] == "plain" && ring.len() == 2), "{before:?}");
    let first = before[0].1[1].clone();
    assert!(!probe(&cluster, &open_preface()).is_empty(), "open members are answered");
    assert!(heard(&taps, "rotate/").0, "in the open, all can be read");
    for step in [["use", &first], ["remove", "plain"]] {
        keys(&cluster, &mine, &step).await;
        load.go_on().await;
    }
    heard(&taps, "rotate/");
    load.go_on().await;
    let (readable, bytes) = heard(&taps, "rotate/");
    assert!(!readable && bytes > 10_000, "{bytes} bytes");

    let (mut old, mut file) = (first, mine);
    // Each change ends every stream between the members, with writes under way on them.
    for round in 0..CHANGES {
        let fresh = write(&cluster.folder(&format!("keys-new-{round}")), &[&new_key().await]);
        let added = keys(&cluster, &file, &["add", fresh.to_str().unwrap()]).await;
        assert!(added.iter().all(|(_, ring)| ring.len() == 2), "{added:?}");
        let name = added[0].1[1].clone();
        keys(&cluster, &file, &["use", &name]).await;
        load.go_on().await;
        let now = keys(&cluster, &fresh, &["remove", &old]).await;
        assert!(now.iter().all(|(_, ring)| *ring == [name.clone()]), "{now:?}");
        load.go_on().await;
        (old, file) = (name, fresh);
    }
    for node in 0..3 {
        let st = cluster.status(node).await;
        eprintln!("{node} term {} {:?}", st.term, st.role);
    }
    load.all_were_acked().await;
    assert!(!heard(&taps, "rotate/").0, "nothing could be read while the key was changed");
    for node in 0..3 {
        let dropped = dropped(&cluster, node).await;
        assert!(dropped.values().all(|count| *count == 0), "n{}: {dropped:?}", node + 1);
    }
    assert_eq!(probe(&cluster, &open_preface()), b"");

    // What each node has on its disk is what it goes by.
    for number in 1..=3 {
        let path = cluster.folder(&format!("keys-{number}"));
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(&old) && !text.contains(&key) && !text.contains("\nplain"), "node {number}");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let endpoint = cluster.nodes[0].endpoint();
    let more = ["--endpoint", &endpoint, "--keys-file", file.to_str().unwrap()];
    muster(&[["keys", "remove", &old].as_slice(), &more].concat()).await.exits(4);
}

/// The way from an open cluster to a sealed one as `docs/security.md` has it, and back.
#[tokio::test(flavor = "multi_thread")]
async fn three_open_nodes_are_restarted_one_by_one_into_a_sealed_cluster_under_load() {
    let key = new_key().await;
    let mut cluster = Cluster::start(3).await;
    let mine = write(&cluster.folder("keys-mine"), &[&key]);
    let load = Writers::start(&cluster);
    load.go_on().await;
    for node in 0..3 {
        let file = write(&cluster.folder(&format!("keys-{node}")), &["plain", &key]);
        assert!(cluster.nodes[node].stop().await.success());
        let file = ["--keys-file", file.to_str().unwrap()].map(str::to_owned);
        cluster.nodes[node].process.args_mut().extend(file);
        cluster.nodes[node].start().await;
        cluster.settled().await;
        load.go_on().await;
    }
    let rings = keys(&cluster, &mine, &["list"]).await;
    assert!(rings.len() == 3 && rings.iter().all(|(_, ring)| ring[0] == "plain" && ring.len() == 2), "{rings:?}");
    load.lost_no_more_than_restarts_cost().await;

    // No step from here on costs anything.
    let load = Writers::start(&cluster);
    load.go_on().await;
    let name = rings[0].1[1].clone();
    for (step, ring) in [
        (["use", name.as_str()], vec![name.as_str(), "plain"]),
        (["remove", "plain"], vec![&name]),
        (["add", "plain"], vec![&name, "plain"]),
        (["use", "plain"], vec!["plain", &name]),
        (["use", &name], vec![&name, "plain"]),
        (["remove", "plain"], vec![&name]),
    ] {
        let now = keys(&cluster, &mine, &step).await;
        assert!(now.len() == 3 && now.iter().all(|(_, now)| *now == ring), "{step:?}: {now:?}");
        load.go_on().await;
    }
    assert_eq!(probe(&cluster, &open_preface()), b"");
    load.all_were_acked().await;

    // Its own file is where a node has the ring from now on.
    assert!(cluster.nodes[1].stop().await.success());
    cluster.nodes[1].start().await;
    cluster.settled().await;
    let now = keys(&cluster, &mine, &["list"]).await;
    assert!(now.len() == 3 && now.iter().all(|(_, ring)| *ring == [name.clone()]), "{now:?}");
}

/// What is carried to the leader while the stream that it went on ends is carried again on the next, and applied once.
#[tokio::test(flavor = "multi_thread")]
async fn writes_under_way_when_their_stream_ends_for_a_removed_key_are_acked_and_applied_once() {
    let texts = [new_key().await, new_key().await];
    let mut cluster = Plan::new(0).expect(3).lay();
    cluster.registry.start().await;
    for number in 1..=3 {
        let file = write(&cluster.folder(&format!("keys-{number}")), &[&texts[0], &texts[1]]);
        // Nobody is elected while the leader is held up for a moment.
        cluster.add(&["--keys-file", file.to_str().unwrap(), "--election-timeout", "10s"]);
    }
    let leader = cluster.start_all().await;
    let term = cluster.status(leader).await.term;
    let file = cluster.folder("keys-mine");
    let ring = KeyFile::new(write(&file, &[&texts[0], &texts[1]])).read().unwrap();
    let names: Vec<EntryName> = ring.keys().map(|key| EntryName::Key(key.name())).collect();
    // The streams that are open go on being sealed with the first.
    keys(&cluster, &file, &["use", &names[1].to_string()]).await;

    let followers: Vec<usize> = (0..3).filter(|node| *node != leader).collect();
    cluster.nodes[leader].process.pause();
    let write = |n: usize| {
        let url = cluster.nodes[followers[n % 2]].url(&format!("/kv/under-way/{n}"));
        tokio::spawn(cluster.http.put(url, n.to_string()).query("timeout", "15s").within(SOON).send())
    };
    let under_way: Vec<_> = (0..40).map(write).collect();
    for node in &followers {
        eventually("its node has taken each, and carries it", SOON, async || {
            // 20 writes and this question.
            let in_flight: u64 = cluster.nodes[*node].metric(&cluster.http, "muster_http_in_flight").await?;
            (in_flight == 21).then_some(())
        })
        .await;
    }
    let peer = cluster.nodes[followers[0]].peer();
    let request = KeyRequest::Change(Change::Remove(names[0]));
    let removal = tokio::spawn(async move { ask(peer, "muster", &ring, &request, SOON).await });
    let only = format!("the keys are now {};", names[1]);
    eventually("both followers have ended their streams", SOON, async || {
        followers.iter().all(|node| cluster.nodes[*node].process.has_logged(&only)).then_some(())
    })
    .await;
    cluster.nodes[leader].process.resume();
    let mut revisions = BTreeSet::new();
    for written in under_way {
        let answer = written.await.unwrap().unwrap();
        assert!(answer.is_ok(), "{} {}", answer.status, answer.text());
        revisions.insert(answer.revision());
    }
    assert_eq!(revisions.len(), 40);
    let reports = removal.await.unwrap().unwrap();
    assert!(reports.iter().all(|report| report.ring == names[1..]), "{reports:?}");
    assert_eq!(cluster.everything(followers[1], "under-way/").await.len(), 40);
    let (first, last) = (revisions.first().unwrap(), revisions.last().unwrap());
    assert_eq!(last - first, 39, "what was carried again was applied again");
    assert_eq!(cluster.status(leader).await.term, term, "nobody else was elected");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_missed_a_change_of_keys_is_a_stranger_until_it_is_given_the_new_one() {
    let (mut cluster, mine, _taps) = cluster(&[&new_key().await]).await;
    let old = keys(&cluster, &mine, &["list"]).await[0].1[0].clone();
    cluster.nodes[2].stop().await;
    eventually("the others see that it is gone", SOON, async || {
        let members = cluster.nodes[0].members(&cluster.http).await?.members;
        (members.iter().filter(|member| member.state == MemberState::Alive).count() == 2).then_some(())
    })
    .await;
    let text = new_key().await;
    let second = write(&cluster.folder("keys-new"), &[&text]);
    let added = keys(&cluster, &mine, &["add", second.to_str().unwrap()]).await;
    let name = added[0].1[1].clone();
    keys(&cluster, &mine, &["use", &name]).await;
    let now = keys(&cluster, &mine, &["remove", &old]).await;
    assert!(now.len() == 2 && now.iter().all(|(_, ring)| *ring == [name.clone()]), "{now:?}");

    cluster.nodes[2].spawn();
    let seen = eventually("it is turned away, again and again", SOON, async || {
        let seen = dropped(&cluster, 0).await;
        (seen["unknown_key"] > 3).then_some(seen)
    })
    .await;
    eventually("both sides say that their keys differ", SOON, async || {
        let mut logged = [0, 2].iter().map(|node| cluster.nodes[*node].process.has_logged(OTHER_KEYS));
        logged.all(|said| said).then_some(())
    })
    .await;
    assert!(seen["unsealed"] == 0 && seen["bad_seal"] == 0, "{seen:?}");
    let members = cluster.nodes[0].members(&cluster.http).await.unwrap().members;
    assert_eq!(members.iter().filter(|member| member.state == MemberState::Alive).count(), 2);

    cluster.nodes[2].stop().await;
    write(&cluster.folder("keys-3"), &[&text]);
    cluster.nodes[2].start().await;
    cluster.settled().await;
    assert_eq!(keys(&cluster, &second, &["list"]).await.len(), 3);
}
