//! The real program: killed, restarted, refused.
#![allow(clippy::unwrap_used, reason = "the helpers of a test may unwrap: a panic is its verdict")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Far beyond what anything here takes, so that only a hang runs into it.
const DEADLINE: Duration = Duration::from_secs(20);

fn command(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_muster-registry"));
    command.env_clear().args(["--http", "127.0.0.1:0", "--data-dir"]).arg(dir);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

struct Running {
    child: Child,
    at: SocketAddr,
    lines: Receiver<String>,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    fn start(dir: &Path, more: &[&str]) -> Self {
        let mut child = command(dir).args(more).spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let (send, lines) = channel();
        std::thread::spawn(move || log.lines().map_while(Result::ok).try_for_each(|line| send.send(line)));
        let mut running = Self { child, at: ([127, 0, 0, 1], 1).into(), lines };
        let ready = running.wait_for(" ready http=");
        let at = ready.split(" http=").nth(1).unwrap().split(' ').next().unwrap();
        running.at = at.parse().unwrap();
        running
    }

    fn wait_for(&self, part: &str) -> String {
        let until = Instant::now() + DEADLINE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left).unwrap_or_else(|_| panic!("no line with `{part}`"));
            if line.contains(part) {
                return line;
            }
        }
    }

    fn call(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.at).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: r\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
    }

    fn signal(&self, name: &str) {
        let done = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status().unwrap();
        assert!(done.success());
    }

    /// Waits for the end; how it ended and how long that took.
    fn ended(&mut self) -> (std::process::ExitStatus, Duration) {
        let began = Instant::now();
        (self.child.wait().unwrap(), began.elapsed())
    }

    fn nodes(&self) -> Vec<String> {
        let (status, body) = self.call("GET", "/nodes", "");
        assert_eq!(status, 200);
        let nodes: muster_client::api::registry::Nodes = serde_json::from_str(&body).unwrap();
        nodes.nodes.into_iter().map(|node| node.id.to_string()).collect()
    }
}

const A: &str = "00000000-0000-0000-0000-00000000000a";
const B: &str = "00000000-0000-0000-0000-00000000000b";
const SAID: &str =
    r#"{"name":"n","cluster":"muster","http":"0.0.0.0:8050","peer":"0.0.0.0:8051","bootstrap_expect":9}"#;

fn register(registry: &Running, id: &str) {
    let (status, body) = registry.call("PUT", &format!("/nodes/{id}"), SAID);
    assert_eq!(status, 200, "{body}");
}

fn refused(dir: &Path, more: &[&str]) -> (i32, String) {
    let Output { status, stderr, .. } = command(dir).args(more).output().unwrap();
    (status.code().unwrap(), String::from_utf8(stderr).unwrap())
}

#[test]
fn killed_and_started_again_it_forgets_nobody_who_is_still_there() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = Running::start(dir.path(), &["--lease", "2s"]);
    register(&first, A);
    register(&first, B);
    assert!(first.wait_for("Registered node").contains(&format!("Registered node {A} at IP 127.0.0.1:8050")));
    let founding = format!(r#"{{"cluster_id":"{B}","founder":"{A}"}}"#);
    // Without a memory it listens for a second first.
    let until = Instant::now() + DEADLINE;
    while first.call("PUT", "/clusters/muster", &founding).0 == 503 {
        assert!(Instant::now() < until);
        register(&first, A);
        register(&first, B);
        std::thread::sleep(Duration::from_millis(50));
    }
    let at = first.at;
    first.signal("KILL");
    first.ended();

    let second = Running::start(dir.path(), &["--lease", "2s"]);
    assert_eq!(second.at, at, "the port picked for 0 is kept");
    assert_eq!(second.nodes(), [A, B]);
    assert_eq!(second.call("PUT", "/clusters/muster", &founding), (200, founding.clone()));
    let other = format!(r#"{{"cluster_id":"{A}","founder":"{A}"}}"#);
    assert_eq!(second.call("PUT", "/clusters/muster", &other).0, 409);
    // Who is still there renews; who is not has one lease.
    let until = Instant::now() + DEADLINE;
    while second.nodes() != [A] {
        assert!(Instant::now() < until, "{B} was never forgotten");
        register(&second, A);
        std::thread::sleep(Duration::from_millis(50));
    }
    second.wait_for(&format!("Forgot node {B}"));
}

#[test]
fn both_signals_stop_it_in_good_order_within_a_second() {
    for signal in ["TERM", "INT"] {
        let dir = tempfile::tempdir().unwrap();
        let mut running = Running::start(dir.path(), &[]);
        // A connection that idles must not hold it up.
        let mut idle = TcpStream::connect(running.at).unwrap();
        idle.write_all(b"GET /livez HTTP/1.1\r\nHost: r\r\n\r\n").unwrap();
        idle.read_exact(&mut [0; 12]).unwrap();
        running.signal(signal);
        let (status, took) = running.ended();
        assert_eq!(status.code(), Some(0));
        assert!(took < Duration::from_secs(1), "{took:?}");
        drop(idle);
    }
}

#[test]
fn a_directory_or_a_port_in_use_stops_it_with_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start(dir.path(), &[]);
    let (status, said) = refused(dir.path(), &[]);
    assert_eq!(status, 1);
    assert!(said.lines().count() == 1 && said.contains("--data-dir"), "{said}");

    let other = tempfile::tempdir().unwrap();
    let mut taken = Command::new(env!("CARGO_BIN_EXE_muster-registry"));
    taken.env_clear().args(["--http", &running.at.to_string(), "--data-dir"]).arg(other.path());
    let Output { status, stderr, .. } = taken.output().unwrap();
    let said = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(1));
    assert!(said.contains("in use") && said.contains("--http"), "{said}");
}

#[test]
fn damage_and_newer_formats_stop_it_with_one_line() {
    for (file, text, hint) in [
        ("foundings", "muster-registry foundings 7\n", "newer version"),
        ("foundings", "nonsense\n", "restore it"),
        ("nodes", "nonsense\n", "move it away"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(file), text).unwrap();
        let (status, said) = refused(dir.path(), &[]);
        assert_eq!(status, 1, "{said}");
        assert!(said.lines().count() == 1 && said.contains(hint), "{said}");
    }
}

#[test]
fn a_torn_tail_is_repaired_and_said() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = Running::start(dir.path(), &[]);
    register(&first, A);
    register(&first, B);
    first.signal("KILL");
    first.ended();
    let path = dir.path().join("nodes");
    let text = std::fs::read(&path).unwrap();
    std::fs::write(&path, &text[..text.len() - 5]).unwrap();
    let mut child = command(dir.path()).spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let said = log.find(|line| line.contains("torn tail"));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(said.is_some_and(|line| line.contains("1 nodes are remembered")));
}

#[test]
fn a_usage_error_is_status_2_and_the_environment_counts() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(refused(dir.path(), &["--lease", "1"]).0, 2);
    assert_eq!(refused(dir.path(), &["--nonsense"]).0, 2);
    let Output { status, .. } = command(dir.path()).env("MUSTER_LEASE", "never").output().unwrap();
    assert_eq!(status.code(), Some(2));
}
