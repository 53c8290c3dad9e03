//! A real node of its own for each test, and an HTTP client that sends exactly what it is told.

#![allow(dead_code, reason = "each test file is a crate of its own and uses a part")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "the panic of a test is its verdict")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Everything here answers at once; what takes this long will not come.
const DEADLINE: Duration = Duration::from_secs(20);

/// A node that runs until it is dropped.
pub(crate) struct Node {
    pub(crate) address: SocketAddr,
    process: Child,
    _data: tempfile::TempDir,
}

/// The binary with a data dir and ports of its own.
pub(crate) fn command(data: &tempfile::TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_muster-node"));
    command.args(["--http", "127.0.0.1:0", "--peer", "127.0.0.1:0", "--data-dir"]).arg(data.path());
    command.env("RUST_LOG", "info").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

impl Node {
    pub(crate) fn start(more: &[&str]) -> Self {
        let data = tempfile::tempdir().unwrap();
        let mut process = command(&data).args(more).spawn().unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let ready = lines.find(|line| line.as_ref().unwrap().contains("ready")).expect("the node ended").unwrap();
        let after = ready.split("clients on ").nth(1).unwrap();
        let address = after.split([' ', ',', ';']).next().unwrap().parse().unwrap();
        // What it still says must be read, or it would wait for room in the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        let this = Self { address, process, _data: data };
        // A node alone founds its cluster first.
        until("readiness", || this.get("/readyz").status == 200);
        this
    }

    /// Sends a request without a body.
    pub(crate) fn call(&self, method: &str, target: &str, headers: &[(&str, &str)]) -> Answer {
        call(self.address, method, target, headers, b"")
    }

    pub(crate) fn get(&self, target: &str) -> Answer {
        self.call("GET", target, &[])
    }

    pub(crate) fn send(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        call(self.address, method, target, headers, body)
    }

    pub(crate) fn put(&self, target: &str, body: &str) -> Answer {
        self.send("PUT", target, &[], body.as_bytes())
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream
    }

    /// Sends a signal by its number and waits for the end.
    pub(crate) fn stop(&mut self, signal: &str) -> ExitStatus {
        let id = self.process.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
        wait(&mut self.process)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Waits until something holds.
pub(crate) fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits for a process that is expected to end.
pub(crate) fn wait(process: &mut Child) -> ExitStatus {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(status) = process.try_wait().unwrap() {
            return status;
        }
        assert!(Instant::now() < deadline, "the process does not end");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// An answer as it came.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The status and the code of an error, having checked its form.
    pub(crate) fn error(&self) -> (u16, String) {
        assert_eq!(self.header("content-type"), Some("application/json"), "{self:?}");
        let json = self.json();
        assert!(json["error"]["message"].as_str().is_some_and(|text| !text.is_empty()), "{self:?}");
        assert!(json["error"].get("outcome").is_some(), "{self:?}");
        (self.status, json["error"]["code"].as_str().unwrap().to_owned())
    }
}

pub(crate) fn call(address: SocketAddr, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut head = format!("{method} {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    if !body.is_empty() {
        head += &format!("Content-Length: {}\r\n", body.len());
    }
    stream.write_all(format!("{head}\r\n").as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    read(&mut stream)
}

/// Reads an answer to the end of the connection.
pub(crate) fn read(stream: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    parse(&bytes)
}

fn parse(bytes: &[u8]) -> Answer {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("no head in the answer");
    let head = std::str::from_utf8(&bytes[..end]).unwrap();
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers = lines.map(|line| line.split_once(": ").unwrap()).map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
    Answer { status, headers, body: bytes[end + 4..].to_vec() }
}
