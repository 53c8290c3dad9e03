//! What cannot work is refused with one line that says what to do; what can be repaired is repaired, and said.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic is the verdict of a test")]

use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use muster_e2e::cli::{Said, run};
use muster_e2e::cluster::SOON;
use muster_e2e::figures::rounds;
use muster_e2e::folder::edit;
use muster_e2e::{Cluster, Load, Plan, eventually};

/// A lone node, started once and with some data.
async fn lone() -> Cluster {
    let mut cluster = Plan::new(1).without_registry().lay();
    cluster.nodes[0].start().await;
    cluster.usable().await;
    for n in 0..20 {
        cluster.http.put(cluster.nodes[0].url(&format!("/kv/kept/{n:02}")), format!("value {n}")).ok().await;
    }
    cluster
}

/// Starts a node in this folder that is not meant to run.
async fn start(dir: &Path, more: &[&str]) -> Said {
    let dir = dir.display().to_string();
    let args = ["--data-dir", &dir, "--http", "127.0.0.1:0", "--peer", "127.0.0.1:0"];
    run("muster-node", &[&args[..], more].concat(), b"").await
}

/// The one line that says what is wrong: what is written last, and the only error.
fn complaint(said: &Said) -> String {
    let everything = format!("{}{}", said.out, said.err);
    assert!(!everything.contains("panicked"), "{everything}");
    let errors: Vec<&str> =
        everything.lines().filter(|line| line.contains("ERROR") || line.starts_with("muster-")).collect();
    assert_eq!(errors.len(), 1, "one line that says what to do: {everything}");
    errors[0].to_owned()
}

fn names(line: &str, words: &[&str]) {
    for word in words {
        assert!(line.to_lowercase().contains(&word.to_lowercase()), "`{word}` is missing in: {line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_with_one_data_dir() {
    let mut cluster = lone().await;
    let said = start(cluster.nodes[0].dir(), &[]).await.exits(1);
    names(&complaint(&said), &[&cluster.nodes[0].dir().display().to_string(), "--data-dir"]);
    assert!(cluster.nodes[0].is_running(), "the first goes on");
    cluster.usable().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_dir_of_a_cluster_of_another_name() {
    let mut cluster = lone().await;
    assert!(cluster.nodes[0].stop().await.success());
    let said = start(cluster.nodes[0].dir(), &["--cluster", "another"]).await.exits(1);
    names(&complaint(&said), &["cluster", "--data-dir"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_dir_of_another_cluster_of_the_same_name_never_merges() {
    let mut other = lone().await;
    assert!(other.nodes[0].stop().await.success());
    let mut cluster = Cluster::start(3).await;
    let foreign = other.nodes[0].dir().to_owned();
    let node = cluster.add(&["--data-dir", &foreign.display().to_string()]);
    let args = cluster.nodes[node].process.args_mut();
    let first = args.iter().position(|arg| arg == "--data-dir").unwrap();
    args.drain(first..first + 2);
    cluster.nodes[node].start().await;
    // Both sides say so, in the log and in /readyz; no one's data goes to the other.
    let told = |text: &str| text.contains("more than one cluster") || text.contains("another cluster");
    for who in [node, 0, 1, 2] {
        eventually("both sides say that there are two clusters", SOON, async || {
            let node = &cluster.nodes[who];
            let http = node.process.ready_now()?.http;
            let ready = cluster.http.get(format!("http://{http}/readyz")).send().await.ok()?;
            (told(&ready.text()) && told(&node.process.run_log())).then_some(())
        })
        .await;
    }
    let status = cluster.status(0).await;
    assert_eq!((status.voters.len(), status.learners.len()), (3, 0), "{status:?}");
    assert!(cluster.everything(0, "kept/").await.is_empty());
    for (who, many) in [(0, 3), (node, 1)] {
        eventually("each lists its own members", SOON, async || {
            (cluster.nodes[who].members(&cluster.http).await?.members.len() == many).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_dir_of_a_newer_format() {
    let mut cluster = lone().await;
    assert!(cluster.nodes[0].stop().await.success());
    let path = cluster.nodes[0].dir().join("format");
    let mut known = 0;
    let raise = |format: &mut serde_json::Map<_, _>| {
        known = format["format"].as_u64().unwrap();
        format.insert("format".to_owned(), (known + 1).into());
    };
    edit(&path, raise).unwrap();
    let said = start(cluster.nodes[0].dir(), &[]).await.exits(1);
    names(&complaint(&said), &["format", &(known + 1).to_string(), "newer"]);
    // What was refused was left as it was.
    edit(&path, |format| drop(format.insert("format".to_owned(), known.into()))).unwrap();
    cluster.nodes[0].start().await;
    cluster.usable().await;
    assert_eq!(cluster.everything(0, "kept/").await.len(), 20);
}

/// The segments of a node's log that hold records, oldest first.
fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut found: Vec<(u64, PathBuf)> = fs::read_dir(dir.join("log"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "seg"))
        .map(|path| {
            let mut header = [0; 64];
            fs::File::open(&path).unwrap().read_exact(&mut header).unwrap();
            (u64::from_le_bytes(header[16..24].try_into().unwrap()), path)
        })
        .filter(|(_, path)| !records(path).is_empty())
        .collect();
    found.sort();
    found.into_iter().map(|(_, path)| path).collect()
}

/// Where the records of a segment begin and end, as `docs/storage.md` lays them out.
fn records(segment: &Path) -> Vec<(u64, u64)> {
    let bytes = fs::read(segment).unwrap();
    let generation = &bytes[16..24];
    let mut found = Vec::new();
    let mut at = 4096;
    while at + 48 <= bytes.len() && &bytes[at + 8..at + 16] == generation && generation != [0; 8] {
        let length = u32::from_le_bytes(bytes[at + 4..at + 8].try_into().unwrap()) as usize;
        let end = (at + 48 + length).next_multiple_of(8);
        found.push((at as u64, end as u64));
        at = end;
    }
    found
}

fn flip(path: &Path, at: u64) {
    let mut file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.seek(SeekFrom::Start(at)).unwrap();
    file.read_exact(&mut byte).unwrap();
    byte[0] ^= 0x10;
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(&byte).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_record_in_the_middle_of_the_log() {
    let mut cluster = lone().await;
    cluster.nodes[0].kill();
    let segment = segments(cluster.nodes[0].dir()).pop().expect("a segment with records");
    let all = records(&segment);
    assert!(all.len() > 10, "{} records", all.len());
    let (begin, end) = all[all.len() / 2];
    flip(&segment, begin + (end - begin) / 2);
    let said = start(cluster.nodes[0].dir(), &[]).await.exits(1);
    let file = segment.file_name().unwrap().to_string_lossy().into_owned();
    names(&complaint(&said), &[&file, "disk"]);
    // And it stays refused: nothing is repaired by guessing.
    start(cluster.nodes[0].dir(), &[]).await.exits(1);
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_small_files() {
    for (file, word) in [("identity.json", "identity"), ("format", "format")] {
        let mut cluster = lone().await;
        cluster.nodes[0].kill();
        let path = cluster.nodes[0].dir().join(file);
        fs::write(&path, b"\0\xff{").unwrap();
        let said = start(cluster.nodes[0].dir(), &[]).await.exits(1);
        names(&complaint(&said), &[word]);
    }
}

/// An id with another digit is an id, too: of a stranger, or of a cluster that nobody else is in.
#[tokio::test(flavor = "multi_thread")]
async fn small_files_with_a_bit_turned_over() {
    let mut cluster = lone().await;
    cluster.nodes[0].kill();
    for (file, of) in [("identity.json", "\"id\": \""), ("format", "\"cluster_id\": \"")] {
        let path = cluster.nodes[0].dir().join(file);
        let before = fs::read(&path).unwrap();
        let at = before.windows(of.len()).position(|window| window == of.as_bytes()).expect("an id") + of.len();
        let mut turned = before.clone();
        turned[at] ^= 1;
        fs::write(&path, turned).unwrap();
        let said = start(cluster.nodes[0].dir(), &[]).await.exits(1);
        names(&complaint(&said), &[file, "checksum"]);
        fs::write(&path, before).unwrap();
    }
    // Releases before 2.4 wrote none.
    for file in ["identity.json", "format"] {
        edit(&cluster.nodes[0].dir().join(file), |_| {}).unwrap();
    }
    cluster.nodes[0].start().await;
    cluster.usable().await;
    for file in ["identity.json", "format"] {
        let text = fs::read_to_string(cluster.nodes[0].dir().join(file)).unwrap();
        assert!(text.contains("\"sum\""), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_memory_of_others_of_a_newer_format() {
    let mut cluster = lone().await;
    assert!(cluster.nodes[0].stop().await.success());
    let path = cluster.nodes[0].dir().join("witness");
    // Magic, format 2, and what nobody knows today.
    let newer = b"MUSTRWIT\x02\x00 and something else".to_vec();
    fs::write(&path, &newer).unwrap();
    let said = start(cluster.nodes[0].dir(), &[]).await.exits(1);
    names(&complaint(&said), &["witness", "format 2", "newer release"]);
    assert_eq!(fs::read(&path).unwrap(), newer);
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_of_peers_that_are_none_are_left_out_and_said() {
    let mut cluster = lone().await;
    assert!(cluster.nodes[0].stop().await.success());
    let path = cluster.nodes[0].dir().join("identity.json");
    let peers = serde_json::json!(["garbage", "10.0.0.1"]);
    edit(&path, |identity| drop(identity.insert("peers".to_owned(), peers))).unwrap();
    cluster.nodes[0].start().await;
    cluster.usable().await;
    assert!(cluster.nodes[0].process.has_logged("`garbage` is no address of a peer"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_last_record_is_cut_off_and_said() {
    let mut cluster = lone().await;
    cluster.nodes[0].kill();
    let segment = segments(cluster.nodes[0].dir()).pop().expect("a segment with records");
    let (begin, end) = *records(&segment).last().expect("a record");
    // The beginning of a record that never got any further: a copy of the last one's header, and nothing behind it.
    let mut file = fs::OpenOptions::new().read(true).write(true).open(&segment).unwrap();
    let mut header = [0; 48];
    file.seek(SeekFrom::Start(begin)).unwrap();
    file.read_exact(&mut header).unwrap();
    let index = u64::from_le_bytes(header[16..24].try_into().unwrap());
    header[16..24].copy_from_slice(&(index + 1).to_le_bytes());
    file.seek(SeekFrom::Start(end)).unwrap();
    file.write_all(&header).unwrap();
    drop(file);
    cluster.nodes[0].start().await;
    let log = cluster.nodes[0].process.run_log();
    let said = log.lines().find(|line| line.contains("WARN") && line.contains(".seg"));
    assert!(said.is_some(), "a repair is said: {log}");
    cluster.usable().await;
    assert_eq!(cluster.everything(0, "kept/").await.len(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn ports_that_are_in_use() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().display().to_string();
    for (flag, other) in [("--http", "--peer"), ("--peer", "--http")] {
        let said = run("muster-node", &["--data-dir", &dir, flag, &address, other, "127.0.0.1:0"], b"").await.exits(1);
        names(&complaint(&said), &[&address, flag]);
    }
    let said = run("muster-registry", &["--data-dir", &dir, "--http", &address], b"").await.exits(1);
    names(&complaint(&said), &[&address, "--http"]);
    // A peer port needs UDP as well.
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let said =
        run("muster-node", &["--data-dir", &dir, "--peer", &address, "--http", "127.0.0.1:0"], b"").await.exits(1);
    names(&complaint(&said), &[&address, "--peer"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn flags_that_make_no_sense() {
    let long = "n".repeat(65);
    let node: &[&[&str]] = &[
        &["--colour", "blue"],
        &["--http", "here"],
        &["--http", "127.0.0.1:99999"],
        &["--peer", "8051"],
        &["-ra", "ftp://registry:8080"],
        &["--join", "no-port"],
        &["--name", ""],
        &["--name", &long],
        &["--cluster", ""],
        &["--priority", "high"],
        &["--voters", "0"],
        &["--voters", "-3"],
        &["--replace-after", "5"],
        &["--replace-after", "0s"],
        &["--bootstrap-expect", "0"],
        &["--heartbeat", "0s"],
        &["--heartbeat", "200ms", "--election-timeout", "300ms"],
        &["--max-value-size", "17MiB"],
        &["--cache-size", "1.5GiB"],
        &["--snapshot-every", "10"],
        &["--config", "/nonexistent/muster.toml"],
        &["surplus"],
    ];
    for args in node {
        let said = run("muster-node", args, b"").await.exits(2);
        assert!(said.err.contains("error:"), "{args:?}: {}", said.err);
    }
    let registry: &[&[&str]] =
        &[&["--http", "8080"], &["--lease", "1ms"], &["--lease", "5"], &["--data-dir"], &["surplus"]];
    for args in registry {
        run("muster-registry", args, b"").await.exits(2);
    }
    for program in ["muster", "muster-node", "muster-registry"] {
        let version = run(program, &["--version"], b"").await.exits(0);
        assert!(version.out.starts_with(program), "{}", version.out);
        let help = run(program, &["--help"], b"").await.exits(0);
        assert!(help.out.len() > 500, "a help text worth reading: {}", help.out);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lone_node_killed_while_it_writes_keeps_what_it_acknowledged() {
    let mut cluster = lone().await;
    let mut histories = Vec::new();
    for round in 0..rounds(4) {
        let load = Load::plain(&cluster.http, &[cluster.endpoint(0)], &format!("round{round}"), 6);
        load.more_acks(200, SOON).await;
        cluster.nodes[0].kill();
        histories.push(load.stop().await);
        cluster.nodes[0].start().await;
        cluster.usable().await;
    }
    let there = cluster.everything(0, "").await;
    for history in &histories {
        history.check(&there);
    }
    assert_eq!(there.iter().filter(|(key, _)| key.starts_with("kept/")).count(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_in_good_order_is_quick_and_answers_who_waits() {
    let mut cluster = Cluster::start(3).await;
    // A read that waits for what will not come.
    let waiting =
        cluster.http.get(cluster.nodes[0].url("/kv/never")).query("min_revision", 1_000_000).query("timeout", "30s");
    let waiting = tokio::spawn(waiting.send());
    cluster.http.get(cluster.nodes[0].url("/livez")).ok().await;
    let since = std::time::Instant::now();
    assert_eq!(cluster.nodes[0].stop().await.code(), Some(0));
    let took = since.elapsed();
    muster_e2e::figures::figure("SIGTERM of a node, its end", &format!("{} ms", took.as_millis()));
    assert!(took < Duration::from_secs(5), "{took:?}");
    let answer = waiting.await.unwrap().expect("who waits is answered");
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert_eq!(cluster.registry.process.terminate(Duration::from_secs(5)).await.code(), Some(0));
}
