//! The `muster` command line, with real output and its exit statuses.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic is the verdict of a test")]

use std::time::Duration;

use muster_e2e::cli::{Said, muster, muster_reading};
use muster_e2e::cluster::SOON;
use muster_e2e::process::Process;
use muster_e2e::{Cluster, Http, binaries, eventually};

/// `muster` against a node of the cluster.
async fn at(cluster: &Cluster, node: usize, args: &[&str]) -> Said {
    let endpoint = cluster.endpoint(node);
    muster(&[&["--endpoint", &endpoint], args].concat()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn data() {
    let cluster = Cluster::start(3).await;
    let put = at(&cluster, 0, &["put", "greeting", "hello world"]).await.exits(0);
    assert!(put.line().starts_with("created greeting at revision "), "{}", put.out);
    let got = at(&cluster, 1, &["get", "greeting", "--linearizable"]).await.exits(0);
    assert_eq!(got.out, "hello world");
    let put = at(&cluster, 2, &["put", "greeting", "again", "-o", "json"]).await.exits(0).json();
    let revision = put["revision"].as_u64().unwrap().to_string();
    assert_eq!(put["created"], false);
    at(&cluster, 0, &["put", "greeting", "x", "--if-revision", "1"]).await.exits(4);
    at(&cluster, 0, &["put", "greeting", "x", "--if-absent"]).await.exits(4);
    at(&cluster, 0, &["put", "greeting", "conditional", "--if-revision", &revision]).await.exits(0);
    let json = at(&cluster, 1, &["get", "greeting", "-o", "json", "--linearizable"]).await.exits(0).json();
    assert_eq!(json["text"], "conditional");
    assert_eq!(json["create_revision"].as_u64().unwrap() + 2, json["modify_revision"].as_u64().unwrap());

    let endpoint = cluster.endpoint(0);
    let bytes: Vec<u8> = (0..=255).collect();
    muster_reading(&["--endpoint", &endpoint, "put", "bytes"], &bytes).await.exits(0);
    let read = cluster.http.get(cluster.nodes[1].url("/kv/bytes?consistency=linearizable")).ok().await;
    assert_eq!(read.body, bytes, "standard input as it is");

    for n in 0..5 {
        at(&cluster, 0, &["put", &format!("dir/{n}"), &format!("v{n}")]).await.exits(0);
    }
    let keys = at(&cluster, 1, &["list", "dir/", "--keys", "-o", "plain", "--linearizable"]).await.exits(0);
    assert_eq!(keys.out, "dir/0\ndir/1\ndir/2\ndir/3\ndir/4\n");
    let some = at(&cluster, 1, &["list", "dir/", "--limit", "2", "-o", "plain", "--linearizable"]).await.exits(0);
    assert_eq!(some.out, "dir/0\tv0\ndir/1\tv1\n");
    let table = at(&cluster, 1, &["list", "dir/", "--linearizable"]).await.exits(0);
    assert!(table.out.starts_with("KEY"), "{}", table.out);
    assert_eq!(table.out.lines().count(), 6);
    at(&cluster, 2, &["del", "dir/0"]).await.exits(0);
    at(&cluster, 2, &["del", "dir/0"]).await.exits(3);
    let absent = at(&cluster, 2, &["get", "dir/0", "--linearizable"]).await.exits(3);
    assert!(absent.err.contains("dir/0"), "{}", absent.err);
    assert!(absent.out.is_empty());
    at(&cluster, 0, &["get", "greeting", "--max-staleness", "5s"]).await.exits(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cluster() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let leader_name = cluster.nodes[leader].name().to_owned();
    let members = at(&cluster, 0, &["members"]).await.exits(0);
    for name in ["n1", "n2", "n3"] {
        let line = members.out.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{}", members.out));
        assert!(line.contains("alive"), "{line}");
        assert_eq!(line.contains("leader"), name == leader_name, "{line}");
    }
    let said = at(&cluster, 1, &["leader"]).await.exits(0);
    assert!(said.out.contains(&leader_name), "{}", said.out);
    let other = cluster.nodes[(leader + 1) % 3].name().to_owned();
    let moved = at(&cluster, 2, &["leader", "transfer", &other]).await.exits(0);
    assert!(moved.out.contains(&other), "{}", moved.out);
    assert_eq!(cluster.leader().await, (leader + 1) % 3);
    at(&cluster, 2, &["leader", "transfer"]).await.exits(0);
    let status = at(&cluster, 0, &["status"]).await.exits(0);
    assert!(status.out.contains("3 voters, 1 failure tolerated now"), "{}", status.out);
    let one = at(&cluster, 0, &["status", "n2"]).await.exits(0);
    assert!(one.out.contains("n2"), "{}", one.out);
    let all = at(&cluster, 0, &["status", "-o", "json"]).await.exits(0).json();
    assert_eq!(all.as_array().unwrap().len(), 3);

    let config = at(&cluster, 0, &["config", "-o", "json"]).await.exits(0).json();
    assert_eq!(config, serde_json::json!({"voters": 5, "replace_after": "5m"}));
    at(&cluster, 1, &["config", "replace-after", "7m"]).await.exits(0);
    eventually("the configuration is everywhere", SOON, async || {
        let config = at(&cluster, 2, &["config", "-o", "json"]).await.exits(0).json();
        (config["replace_after"] == "7m").then_some(())
    })
    .await;
    at(&cluster, 1, &["config", "voters", "none"]).await.exits(1);

    let registry = cluster.registry.url();
    let known = muster(&["registry", "--registry-address", &registry]).await.exits(0);
    assert!(["n1", "n2", "n3"].iter().all(|name| known.out.contains(name)), "{}", known.out);
    let through = muster(&["--registry-address", &registry, "put", "via/registry", "x"]).await.exits(0);
    assert!(through.out.starts_with("created"), "{}", through.out);
    let endpoint = cluster.endpoint(0);
    let well = muster(&["doctor", "--endpoint", &endpoint, "--registry-address", &registry]).await;
    // The disk of a machine that does other things at the same time may be slow; nothing else may be wrong.
    let complaints = well.out.lines().filter(|line| line.starts_with("warning") || line.starts_with("critical"));
    let other: Vec<&str> = complaints.filter(|line| !line.contains("is slow")).collect();
    assert!(other.is_empty(), "{}{}", well.out, well.err);
    assert_eq!(well.status == Some(0), !well.out.contains("warning"), "{}{}", well.out, well.err);

    // One dies.
    let leader = cluster.leader().await;
    let (dead, asked) = ((leader + 1) % 3, (leader + 2) % 3);
    let dead_name = cluster.nodes[dead].name().to_owned();
    at(&cluster, asked, &["remove", &dead_name]).await.exits(1);
    cluster.nodes[dead].kill();
    let ill = eventually("the doctor notices", SOON, async || {
        let said = at(&cluster, asked, &["doctor"]).await;
        (said.status == Some(1) && said.out.contains(&dead_name)).then_some(said)
    })
    .await;
    assert!(!ill.out.is_empty());
    eventually("the dead node is removed", SOON, async || {
        (at(&cluster, asked, &["remove", &dead_name]).await.status == Some(0)).then_some(())
    })
    .await;
    let status = at(&cluster, asked, &["status"]).await.exits(0);
    assert!(status.out.contains("2 voters, 0 failures tolerated now"), "{}", status.out);
    let late = cluster.add(&[]);
    cluster.nodes[late].start().await;
    cluster.settled().await;
    at(&cluster, asked, &["leave", "n4"]).await.exits(0);
    let gone = at(&cluster, asked, &["leave", "nobody"]).await;
    assert!(matches!(gone.status, Some(2 | 3)), "{gone:?}");

    // And another: nobody leads any more.
    cluster.nodes[asked].kill();
    let endpoint = cluster.endpoint(leader);
    let lost = eventually("nobody leads", SOON, async || {
        let said = muster(&["--endpoint", &endpoint, "--timeout", "1s", "put", "k", "v"]).await;
        assert_ne!(said.status, Some(0));
        (said.status == Some(5)).then_some(said)
    })
    .await;
    assert!(!lost.err.is_empty());
    eventually("`muster leader` says that nobody does", SOON, async || {
        let said = muster(&["--endpoint", &endpoint, "--timeout", "1s", "leader"]).await;
        (said.status == Some(5)).then_some(())
    })
    .await;
    muster(&["--endpoint", &endpoint, "--timeout", "1s", "get", "k", "--linearizable"]).await.exits(5);
    let why = muster(&["--endpoint", &endpoint, "--timeout", "1s", "doctor"]).await.exits(1);
    assert!(why.out.contains("lead") || why.out.contains("majority"), "{}", why.out);
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_and_nobody_there() {
    for args in [
        &["frobnicate"][..],
        &["put"],
        &["put", "", "x"],
        &["get", "k", "--max-staleness", "5"],
        &["-o", "xml", "list"],
    ] {
        let said = muster(args).await.exits(2);
        assert!(!said.err.is_empty(), "{args:?}");
    }
    // A port that was free a moment ago, on an address that nobody else uses.
    for args in [&["put", "k", "v"][..], &["get", "k"], &["members"], &["status"], &["leader"]] {
        let said = muster(&[&["--endpoint", "http://127.99.99.99:1", "--timeout", "2s"], args].concat()).await.exits(5);
        assert!(said.err.contains("127.99.99.99:1"), "{}", said.err);
    }
    muster(&["registry", "--registry-address", "http://127.99.99.99:1"]).await.exits(5);
    for shell in ["bash", "zsh", "fish"] {
        let script = muster(&["completions", shell]).await.exits(0);
        assert!(script.out.contains("transfer"), "{shell}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_that_nobody_knows_is_said() {
    let mut cluster = Cluster::start(1).await;
    let endpoint = cluster.endpoint(0);
    cluster.leader().await;
    // It takes the request into its socket and sleeps on it.
    cluster.nodes[0].process.pause();
    let said = muster(&["--endpoint", &endpoint, "--timeout", "1s", "put", "k", "v"]).await.exits(6);
    assert!(said.err.contains("unknown"), "{}", said.err);
    cluster.nodes[0].process.resume();
    cluster.usable().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bench() {
    let cluster = Cluster::start(3).await;
    for mix in ["write", "read", "mixed"] {
        let args = ["bench", "--connections", "4", "--keys", "100", "--duration", "1s", "--mix", mix];
        let said = at(&cluster, 0, &args).await.exits(0);
        assert!(said.out.contains("p99") || said.out.contains("99"), "{}", said.out);
        let json = at(&cluster, 1, &[&args[..], &["-o", "json"]].concat()).await.exits(0).json();
        assert!(json.is_object(), "{json}");
    }
    assert!(cluster.everything(0, "").await.keys().all(|key| key.starts_with("harness/")), "it cleans up");
}

#[tokio::test(flavor = "multi_thread")]
async fn up() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("up").display().to_string();
    let args = ["up", "--nodes", "3", "--dir", &data, "--base-port", "0", "--registry-port", "0", "-o", "json"];
    let http = Http::default();
    for round in 0..2 {
        let mut up = Process::new("up", binaries::program("muster"), args.map(str::to_owned)).with_children();
        up.spawn();
        let introduced = eventually("`muster up` introduces everyone", Duration::from_secs(30), async || {
            assert!(up.is_running(), "{}", up.run_log());
            let log = up.run_log();
            let line = log.lines().find_map(|line| line.find('{').map(|at| line[at..].to_owned()))?;
            serde_json::from_str::<serde_json::Value>(&line).ok()
        })
        .await;
        let processes = introduced["processes"].as_array().unwrap();
        assert_eq!(processes.len(), 4);
        let urls: Vec<&str> = processes[1..].iter().map(|process| process["http"].as_str().unwrap()).collect();
        if round == 0 {
            http.put(format!("{}/kv/greeting", urls[0]), "hello").ok().await;
        }
        for url in &urls {
            let read = http.get(format!("{url}/kv/greeting?consistency=linearizable")).ok().await;
            assert_eq!(read.text(), "hello", "data stays in the folder");
        }
        let status = up.terminate(Duration::from_secs(20)).await;
        assert_eq!(status.code(), Some(0), "{}", up.run_log());
        for process in processes {
            let pid = process["pid"].as_u64().unwrap();
            assert!(!std::path::Path::new("/proc").join(pid.to_string()).exists(), "{process} outlived `muster up`");
        }
    }
}
