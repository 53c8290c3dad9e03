//! The dashboard in a real browser: what a person reads, not what was sent.
//!
//! Needs Chromium (`chromium` on `PATH`, or `MUSTER_CHROMIUM`); says so and passes where there is none. With
//! `MUSTER_SCREENSHOTS=DIR` each page is also drawn there, wide and narrow, light and dark.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "the panic of a test is its verdict")]

mod support;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::Node;

const A: &str = "0aaaaaaa-0000-4000-8000-000000000001";
const B: &str = "0bbbbbbb-0000-4000-8000-000000000002";
const C: &str = "0ccccccc-0000-4000-8000-000000000003";

fn chromium() -> Option<Command> {
    let named = std::env::var("MUSTER_CHROMIUM").ok();
    let names = named.iter().map(String::as_str).chain(["chromium", "chromium-browser", "google-chrome"]);
    for name in names {
        let asked = Command::new(name).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        if asked.is_ok_and(|status| status.success()) {
            let mut command = Command::new(name);
            // Without its own sandbox, which containers and root do not allow; it is only shown our own page.
            command.args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--hide-scrollbars",
            ]);
            command.args(["--no-first-run", "--disable-background-networking", "--disable-component-update"]);
            command.stderr(Stdio::null());
            return Some(command);
        }
    }
    eprintln!("skipped: there is no chromium here; install it or set MUSTER_CHROMIUM");
    None
}

/// The page as the browser has it after two seconds of its own time.
fn rendered(name: &str, address: SocketAddr) -> Option<String> {
    let url = format!("http://{address}/");
    let profile = tempfile::tempdir().unwrap();
    let own = |command: &mut Command| {
        command.arg(format!("--user-data-dir={}", profile.path().display())).arg("--virtual-time-budget=2000");
    };
    let mut dump = chromium()?;
    own(&mut dump);
    let dom = run(dump.arg("--dump-dom").arg(&url));
    if let Ok(dir) = std::env::var("MUSTER_SCREENSHOTS") {
        for (kind, more) in [
            ("wide", &["--window-size=1200,1000"][..]),
            ("phone", &["--window-size=500,1500"]),
            ("dark", &["--window-size=1200,1000", "--blink-settings=preferredColorScheme=0"]),
        ] {
            let mut draw = chromium()?;
            own(&mut draw);
            let file = Path::new(&dir).join(format!("{name}-{kind}.png"));
            run(draw.args(more).arg(format!("--screenshot={}", file.display())).arg(&url));
        }
    }
    Some(dom)
}

/// What a program printed; one that hangs is ended, not waited for.
fn run(command: &mut Command) -> String {
    let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = process.stdout.take().unwrap();
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        stdout.read_to_string(&mut text).map(|_| text)
    });
    let deadline = Instant::now() + Duration::from_secs(60);
    let status = loop {
        match process.try_wait().unwrap() {
            Some(status) => break status,
            None if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(20)),
            None => {
                process.kill().unwrap();
                panic!("the browser hangs");
            }
        }
    };
    assert!(status.success(), "{status}");
    reader.join().unwrap().unwrap()
}

/// What stands in the element with this id, tags left out and entities kept.
fn text(dom: &str, id: &str) -> String {
    let at = dom.find(&format!("id=\"{id}\"")).unwrap_or_else(|| panic!("no {id} in {dom}"));
    let opened = &dom[..at][dom[..at].rfind('<').unwrap() + 1..];
    let tag = opened.split_whitespace().next().unwrap();
    let rest = &dom[at..];
    let inner = &rest[rest.find('>').unwrap() + 1..rest.find(&format!("</{tag}>")).unwrap()];
    let mut plain = String::new();
    let mut inside = true;
    for c in inner.chars() {
        match c {
            '<' => inside = false,
            '>' => {
                inside = true;
                plain.push(' ');
            }
            c if inside => plain.push(c),
            _ => {}
        }
    }
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Serves the real page, and made-up answers beside it.
fn stage(answers: BTreeMap<&'static str, (u16, Value)>) -> SocketAddr {
    stage_for(usize::MAX, answers)
}

/// Like [`stage`], but closes connections in silence after so many of the made-up answers.
fn stage_for(many: usize, answers: BTreeMap<&'static str, (u16, Value)>) -> SocketAddr {
    let node = Node::start(&[]);
    let page = node.get("/");
    let policy = page.header("content-security-policy").unwrap().to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let shared = Arc::new(Stage { answers, left: AtomicUsize::new(many), page: page.body, policy });
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A thread for each: browsers open connections that they never use.
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || play(stream, &shared));
        }
    });
    address
}

struct Stage {
    answers: BTreeMap<&'static str, (u16, Value)>,
    left: AtomicUsize,
    page: Vec<u8>,
    policy: String,
}

fn play(mut stream: TcpStream, Stage { answers, left, page, policy }: &Stage) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    let Some(Ok(first)) = lines.next() else { return };
    // The rest of the head; there is no body.
    let _ = lines.find(|line| line.as_ref().map_or(true, |line| line.is_empty()));
    let target = first.split(' ').nth(1).unwrap_or("");
    let (status, kind, body) = match answers.get(target) {
        _ if target == "/" => (200, "text/html; charset=utf-8", page.clone()),
        Some(_) if left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_err() => return,
        Some((status, body)) => (*status, "application/json", body.to_string().into_bytes()),
        None => (404, "application/json", b"{}".to_vec()),
    };
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\
         Content-Security-Policy: {policy}\r\n\r\n"
    );
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
}

fn member(id: &str, name: &str, port: u16, state: &str, role: Option<&str>) -> Value {
    json!({"id": id, "name": name, "http": format!("127.0.0.1:{port}"), "peer": format!("127.0.0.1:{}", port + 1),
        "state": state, "incarnation": 1, "role": role, "priority": 0, "last_seen_ms": 240})
}

fn replica(id: &str, name: &str, state: &str, lag: Option<u64>) -> Value {
    json!({"id": id, "name": name, "matched_index": lag.map(|lag| 12_345 - lag), "lag": lag, "state": state})
}

fn status(leader: Option<&str>, reason: Option<&str>, voters: Vec<Value>, learners: Vec<Value>) -> Value {
    json!({"id": A, "name": "n1", "version": "1.0.0", "cluster_id": "0ddddddd-0000-4000-8000-000000000004",
        "role": if leader == Some(A) { "leader" } else { "voter" }, "term": 7, "leader": leader,
        "leader_since_ms": leader.map(|_| 3_700_000), "no_leader_reason": reason, "last_log_index": 12_345,
        "committed_index": 12_345, "applied_index": 12_340, "revision": 9_876, "voters": voters, "learners": learners,
        "failures_tolerated": if leader.is_some() { 1 } else { 0 },
        "disk": {"log_bytes": 67_108_864, "state_bytes": 1_500_000, "free_bytes": 52_000_000_000u64, "sync_ms_p50": 0.41,
            "sync_ms_p99": 3.2, "full": false},
        "network": [
            {"id": B, "connected": true, "version": 1, "round_trip_ms": 0.21, "last_error": null},
            {"id": C, "connected": false, "version": null, "round_trip_ms": null, "last_error": "connection refused"}]})
}

#[test]
fn a_real_node_is_shown_with_its_leadership() {
    let node = Node::start(&["--name", "first"]);
    node.put("/kv/k", "v");
    let Some(dom) = rendered("alone", node.address) else { return };
    assert_eq!(text(&dom, "leader"), "first");
    assert!(text(&dom, "since").starts_with("leads since"), "{}", text(&dom, "since"));
    assert_eq!(text(&dom, "revision"), "1");
    assert_eq!(text(&dom, "age"), "up to date");
    let members = text(&dom, "members");
    assert!(members.contains("first") && members.contains("alive") && members.contains("this node"), "{members}");
    assert!(text(&dom, "replicas").contains("leader"), "{}", text(&dom, "replicas"));
    assert!(text(&dom, "tolerated-words").contains("of 1 voter"));
    assert_eq!(text(&dom, "notice-title"), "");
}

#[test]
fn gossip_and_replication_stand_side_by_side_and_names_are_only_text() {
    let hostile = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>";
    let members = json!({"cluster_id": null, "local": A, "leader": A, "members": [
        member(A, "n1", 8050, "alive", Some("leader")), member(B, hostile, 8052, "suspect", Some("voter")),
        member(C, "n3", 8054, "failed", Some("voter")),
        {"id": "0eeeeeee-0000-4000-8000-000000000005", "name": "n4", "http": "javascript:alert(1)", "peer": "",
            "state": "left", "incarnation": 1, "role": null, "priority": -2, "last_seen_ms": null}]});
    let voters = vec![
        replica(A, "n1", "alive", Some(0)),
        replica(B, hostile, "suspect", Some(1)),
        replica(C, "n3", "failed", Some(4_321)),
    ];
    let mut learner = replica("0eeeeeee-0000-4000-8000-000000000006", "n5", "alive", Some(12_000));
    learner["snapshot_percent"] = json!(42);
    let address = stage(BTreeMap::from([
        ("/cluster/members", (200, members)),
        ("/cluster/status", (200, status(Some(A), None, voters, vec![learner]))),
        ("/cluster/leader", (200, json!({"id": A, "name": "n1", "http": "127.0.0.1:8050", "term": 7}))),
    ]));
    let Some(dom) = rendered("three", address) else { return };
    assert_eq!(text(&dom, "leader"), "n1");
    let since = text(&dom, "since");
    assert!(since.starts_with("leads since ") && since.ends_with(", for 61 min"), "{since}");
    assert_eq!(text(&dom, "tolerated-words"), "failure tolerated, of 3 voters");
    let gossip = text(&dom, "members");
    for word in ["alive", "suspect", "failed", "left", "never"] {
        assert!(gossip.contains(word), "{word}: {gossip}");
    }
    let copies = text(&dom, "replicas");
    for words in ["nothing", "1 entry", "4,321 entries", "12,000 entries, snapshot 42 %", "learner"] {
        assert!(copies.contains(words), "{words}: {copies}");
    }
    assert!(text(&dom, "links").contains("none: connection refused"), "{}", text(&dom, "links"));
    assert_eq!((text(&dom, "log-bytes"), text(&dom, "sync")), ("64 MiB".to_owned(), "0.41 ms, 3.20 ms".to_owned()));
    assert!(dom.contains("<title>n1 - Muster</title>") && gossip.contains("&lt;img src=x"), "{gossip}");
    assert!(!dom.contains("<img") && !dom.contains("href=\"javascript:"));
}

#[test]
fn when_nobody_leads_it_says_why() {
    let reason = "2 of 3 voters are needed and only n1 answers; n2 and n3 are given up";
    let members = json!({"cluster_id": null, "local": A, "leader": null, "members": [
        member(A, "n1", 8050, "alive", Some("voter")), member(B, "n2", 8052, "failed", Some("voter")),
        member(C, "n3", 8054, "failed", Some("voter"))]});
    let voters =
        vec![replica(A, "n1", "alive", None), replica(B, "n2", "failed", None), replica(C, "n3", "failed", None)];
    let error = json!({"error": {"code": "no_leader", "message": format!("nobody leads: {reason}"), "outcome": null}});
    let address = stage(BTreeMap::from([
        ("/cluster/members", (200, members)),
        ("/cluster/status", (200, status(None, Some(reason), voters, vec![]))),
        ("/cluster/leader", (503, error)),
    ]));
    let Some(dom) = rendered("leaderless", address) else { return };
    assert_eq!(text(&dom, "leader"), "nobody");
    assert_eq!(text(&dom, "notice-text"), reason);
    assert!(text(&dom, "notice-title").contains("nothing can be written"));
    assert!(text(&dom, "lag-note").contains("Only the leader knows"));
    assert_eq!(text(&dom, "age"), "up to date");
}

fn three_that_are_well() -> BTreeMap<&'static str, (u16, Value)> {
    let ids = [(A, "n1", 8050), (B, "n2", 8052), (C, "n3", 8054)];
    let members = ids.map(|(id, name, port)| member(id, name, port, "alive", Some("voter")));
    let voters = ids.map(|(id, name, _)| replica(id, name, "alive", Some(0))).to_vec();
    BTreeMap::from([
        ("/cluster/members", (200, json!({"cluster_id": null, "local": A, "leader": A, "members": members}))),
        ("/cluster/status", (200, status(Some(A), None, voters, vec![]))),
        ("/cluster/leader", (200, json!({"id": A, "name": "n1", "http": "127.0.0.1:8050", "term": 7}))),
    ])
}

#[test]
fn a_node_that_falls_silent_is_said_to_and_what_is_shown_is_dated() {
    let Some(dom) = rendered("unreachable", stage_for(3, three_that_are_well())) else { return };
    assert_eq!(text(&dom, "age"), "unreachable");
    assert_eq!(text(&dom, "notice-title"), "This node does not answer.");
    assert!(text(&dom, "notice-text").starts_with("What is shown is from "), "{}", text(&dom, "notice-text"));
    assert_eq!(text(&dom, "leader"), "n1");
    assert!(dom.contains("<main id=\"page\" class=\"old\">"));
}

#[test]
fn a_node_that_answers_with_an_error_is_not_called_silent() {
    let error = json!({"error": {"code": "not_ready", "message": "the node is starting", "outcome": null}});
    let mut answers = three_that_are_well();
    answers.insert("/cluster/status", (503, error));
    let Some(dom) = rendered("error", stage(answers)) else { return };
    assert_eq!((text(&dom, "age"), text(&dom, "leader")), ("no news".to_owned(), "unknown".to_owned()));
    assert_eq!(text(&dom, "notice-title"), "This node answers with an error.");
    assert!(text(&dom, "notice-text").contains("the node is starting"));
}
