//! A server that behaves as badly as it is told to: it hangs, breaks off, or answers with whatever a test says.
//!
//! It exists to force what a real cluster does rarely and at moments of its own choosing. What a healthy cluster does is
//! tested against real nodes, in `e2e/`.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What a client sent.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }
}

/// What to do with a request.
#[derive(Debug, Clone)]
pub(crate) enum Action {
    /// Answer it: status, headers, body.
    Answer(u16, Vec<(&'static str, String)>, String),
    /// Never answer.
    Hang,
    /// Close the connection without an answer.
    BreakOff,
    /// Do that, after a while.
    Late(Duration, Box<Action>),
}

/// An answer of a node whose id is `node`.
pub(crate) fn answer(status: u16, node: u128, body: &str) -> Action {
    Action::Answer(status, vec![("Muster-Node", id(node))], body.to_owned())
}

/// An error as nodes write it.
pub(crate) fn error(status: u16, code: &str, outcome: &str, more: &str) -> Action {
    let body = format!(r#"{{"error":{{"code":"{code}","message":"as told","outcome":{outcome}{more}}}}}"#);
    answer(status, 1, &body)
}

pub(crate) fn id(node: u128) -> String {
    uuid::Uuid::from_u128(node).to_string()
}

/// The answer to a put.
pub(crate) fn put(revision: u64) -> Action {
    answer(200, 1, &format!(r#"{{"key":"k","revision":{revision},"created":false}}"#))
}

/// The answer to a get.
pub(crate) fn value(body: &str, revision: u64) -> Action {
    let headers = vec![
        ("Muster-Node", id(1)),
        ("ETag", format!("\"{revision}\"")),
        ("Muster-Create-Revision", "1".to_owned()),
        ("Muster-Revision", revision.to_string()),
    ];
    Action::Answer(200, headers, body.to_owned())
}

/// A server on a port of its own, until it is dropped.
pub(crate) struct StandIn {
    pub(crate) address: String,
    seen: Arc<Mutex<Vec<Request>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl StandIn {
    /// Does with each request what `behaviour` says.
    pub(crate) async fn start(behaviour: impl Fn(&Request) -> Action + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (seen, behaviour) = (Arc::new(Mutex::new(Vec::new())), Arc::new(behaviour));
        let log = seen.clone();
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, behaviour.clone(), log.clone()));
            }
        });
        Self { address, seen, task }
    }

    /// What was sent to `/kv`, in order.
    pub(crate) fn kv(&self) -> Vec<Request> {
        self.all().into_iter().filter(|request| request.path().starts_with("/kv")).collect()
    }

    /// Everything that was sent, in order.
    pub(crate) fn all(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }
}

/// An address where nobody listens.
pub(crate) async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().to_string()
}

async fn serve(
    mut stream: TcpStream,
    behaviour: Arc<impl Fn(&Request) -> Action>,
    log: Arc<Mutex<Vec<Request>>>,
) -> Option<()> {
    loop {
        let request = read(&mut stream).await?;
        log.lock().unwrap().push(request.clone());
        let mut action = behaviour(&request);
        while let Action::Late(wait, then) = action {
            tokio::time::sleep(wait).await;
            action = *then;
        }
        match action {
            Action::Answer(status, headers, body) => {
                let mut text = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n", body.len());
                for (name, value) in headers {
                    text.push_str(&format!("{name}: {value}\r\n"));
                }
                stream.write_all(format!("{text}\r\n{body}").as_bytes()).await.ok()?;
            }
            Action::Hang => std::future::pending().await,
            Action::BreakOff | Action::Late(..) => return None,
        }
    }
}

async fn read(stream: &mut TcpStream) -> Option<Request> {
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let text = String::from_utf8(bytes[..head].to_vec()).ok()?;
    let mut lines = text.lines();
    let mut first = lines.next()?.split(' ');
    let (method, target) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let mut request = Request { method, target, headers, body: Vec::new() };
    let length = request.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    while bytes.len() < head + length {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    request.body = bytes[head..head + length].to_vec();
    Some(request)
}
