//! Keys, with real processes: strangers learn nothing, and keys come and go under load.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic is the verdict of a test")]

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use muster_client::Client;
use muster_client::api::cluster::MemberState;
use muster_e2e::cli::muster;
use muster_e2e::cluster::SOON;
use muster_e2e::load::Load;
use muster_e2e::{Cluster, Plan};
use serde_json::Value;

async fn new_key() -> String {
    muster(&["keys", "generate"]).await.exits(0).line().to_owned()
}

fn write(path: &Path, lines: &[&str]) -> PathBuf {
    fs::write(path, lines.join("\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    path.to_owned()
}

/// Three nodes, each with a keys file of its own, of these lines.
async fn cluster(lines: &[&str]) -> (Cluster, PathBuf) {
    let mut cluster = Plan::new(0).expect(3).lay();
    for number in 1..=3 {
        let file = write(&cluster.folder(&format!("keys-{number}")), lines);
        cluster.add(&["--keys-file", file.to_str().unwrap()]);
    }
    let mine = write(&cluster.folder("keys-mine"), lines);
    cluster.registry.start().await;
    cluster.spawn_all();
    cluster.ready_all().await;
    cluster.usable().await;
    cluster.settled().await;
    (cluster, mine)
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
    let (mut cluster, mine) = cluster(&[&key]).await;
    cluster.http.put(cluster.nodes[0].url("/kv/secret"), "x").ok().await;
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
    tokio::time::sleep(Duration::from_secs(5)).await;
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
    let metrics = cluster.http.get(cluster.nodes[0].url("/metrics")).send().await.unwrap().text();
    for reason in ["unsealed", "unknown_key"] {
        let line = format!("muster_gossip_dropped_total{{reason=\"{reason}\"}} 0\n");
        assert!(!metrics.contains(&line) && metrics.contains(&line[..line.len() - 2]), "{reason}");
    }
    assert!(!metrics.contains(&key));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_cluster_is_sealed_and_its_key_changed_under_load_without_a_failed_write() {
    let key = new_key().await;
    let (cluster, mine) = cluster(&["plain", &key]).await;
    let endpoints: Vec<String> = cluster.nodes.iter().map(|node| node.endpoint()).collect();
    let client = Client::builder().endpoints(endpoints.iter().map(String::as_str)).build().unwrap();
    let load = Load::client(&client, "rotate", 4);
    load.more_acks(50, SOON).await;

    let before = keys(&cluster, &mine, &["list"]).await;
    assert!(before.len() == 3 && before.iter().all(|(_, ring)| ring[0] == "plain" && ring.len() == 2), "{before:?}");
    let first = before[0].1[1].clone();
    assert!(!probe(&cluster, &open_preface()).is_empty(), "open members are answered");
    for step in [["use", &first], ["remove", "plain"]] {
        keys(&cluster, &mine, &step).await;
        load.more_acks(50, SOON).await;
    }
    assert_eq!(probe(&cluster, &open_preface()), b"");

    let second = write(&cluster.folder("keys-new"), &[&new_key().await]);
    let added = keys(&cluster, &mine, &["add", second.to_str().unwrap()]).await;
    assert!(added.iter().all(|(_, ring)| ring.len() == 2), "{added:?}");
    let name = added[0].1[1].clone();
    load.more_acks(50, SOON).await;
    keys(&cluster, &mine, &["use", &name]).await;
    load.more_acks(50, SOON).await;
    let now = keys(&cluster, &second, &["remove", &first]).await;
    assert!(now.iter().all(|(_, ring)| *ring == [name.clone()]), "{now:?}");
    load.more_acks(100, SOON).await;
    let history = load.stop().await;
    let failed: Vec<_> =
        history.writes.iter().filter(|write| !matches!(write.fate, muster_e2e::history::Fate::Acked(_))).collect();
    assert!(failed.is_empty(), "{failed:#?}");

    // What each node has on its disk is what it goes by.
    for number in 1..=3 {
        let path = cluster.folder(&format!("keys-{number}"));
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(&name) && !text.contains(&key) && !text.contains("\nplain"), "node {number}");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let endpoint = cluster.nodes[0].endpoint();
    let more = ["--endpoint", &endpoint, "--keys-file", second.to_str().unwrap()];
    muster(&[["keys", "remove", &name].as_slice(), &more].concat()).await.exits(4);
}
