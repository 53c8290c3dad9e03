//! What a client sees on a real connection when it sends what is no request.
#![allow(clippy::unwrap_used, reason = "the helpers of a test may unwrap: a panic is its verdict")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use actix_web::web::{self, Bytes};
use actix_web::{HttpResponse, rt};
use muster_listener::Limits;

/// A value that anyone may have put: it ends like the refusals that are exchanged.
const SLY: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
const GOOD: &str = "GET /sly HTTP/1.1\r\nHost: h\r\n\r\n";

fn served() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let limits = Limits {
        workers: Some(1),
        connections_per_worker: 100,
        own_files: 10,
        head: Duration::from_millis(300),
        keep_alive: Duration::from_secs(5),
        answer: Duration::from_secs(5),
        unanswered: 4 << 20,
        stall: Duration::from_secs(5),
        linger: Duration::from_secs(1),
        shutdown_seconds: 1,
    };
    std::thread::spawn(move || {
        rt::System::new().block_on(async move {
            muster_listener::serve(listener, limits, "muster-node: n\r\n".to_owned(), |routes| {
                routes
                    .route("/sly", web::get().to(|| async { HttpResponse::Ok().body(SLY) }))
                    .route("/echo", web::put().to(|body: Bytes| async move { HttpResponse::Ok().body(body) }));
            })
            .unwrap()
            .await
            .unwrap();
        });
    });
    at
}

fn connect(at: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

/// Everything until the server closes; a reset instead of an end is a failure.
fn rest(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8(answer).unwrap()
}

fn said(at: SocketAddr, request: &[u8]) -> String {
    let mut stream = connect(at);
    stream.write_all(request).unwrap();
    rest(stream)
}

fn is_ours(answer: &str, status: u16, words: &str) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head: {answer}"));
    assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    assert!(head.contains("\r\nmuster-node: n\r\n"), "{answer}");
    assert!(head.contains(&format!("\r\ncontent-length: {}\r\n", body.len())), "{answer}");
    let body: serde_json::Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("no JSON: {answer}"));
    assert_eq!(body["error"]["outcome"], "not_applied");
    assert!(body["error"]["message"].as_str().unwrap().contains(words), "{answer}");
}

#[test]
fn every_kind_of_nonsense_is_answered_with_words() {
    let at = served();
    for (request, words) in [
        (&b"garbage\r\n\r\n"[..], "request line"),
        (b"G@T /sly HTTP/1.1\r\nHost: h\r\n\r\n", "request line"),
        (b"GET /kv/\xc3\xa4 HTTP/1.1\r\nHost: h\r\n\r\n", "%-escapes"),
        (b"GET /kv/a b HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1"),
        (b"GET /sly HTTP/3.1\r\nHost: h\r\n\r\n", "HTTP/1.1"),
        (b"GET /sly HTTP/1.1\r\nHo st: h\r\n\r\n", "header"),
        (b"GET /sly HTTP/1.1\r\n\r\n", "Host"),
        (b"GET /sly HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n", "header"),
    ] {
        is_ours(&said(at, request), 400, words);
    }
    let long = format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "x".repeat(70_000));
    is_ours(&said(at, long.as_bytes()), 400, "65534");
    let many = format!("GET /sly HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(97));
    is_ours(&said(at, many.as_bytes()), 431, "96 headers");
}

#[test]
fn a_head_without_an_end_is_answered_before_the_connection_goes() {
    let at = served();
    // More than is read: without the pause before the end it would be a reset, and the answer lost.
    let large = format!("GET /sly HTTP/1.1\r\nHost: h\r\na: {}\r\n\r\n", "x".repeat(1 << 20));
    is_ours(&said(at, large.as_bytes()), 431, "128 KiB");
    is_ours(&said(at, b"GET /sly HTT"), 408, "in time");
}

#[test]
fn requests_before_the_nonsense_are_answered_as_ever() {
    let at = served();
    let value = String::from_utf8(SLY.to_vec()).unwrap();
    // All in one piece.
    let answer = said(at, format!("{GOOD}{GOOD}nonsense\r\n\r\n").as_bytes());
    let parts: Vec<&str> = answer.split(&value).collect();
    assert_eq!(parts.len(), 3, "{answer}");
    is_ours(parts[2], 400, "request line");
    // One after the other, on one connection.
    let mut stream = connect(at);
    for _ in 0..3 {
        stream.write_all(GOOD.as_bytes()).unwrap();
        let mut answer = String::new();
        while !answer.ends_with(&value) {
            let mut piece = [0; 1024];
            let length = stream.read(&mut piece).unwrap();
            assert!(length > 0, "the value is cut: {answer}");
            answer.push_str(std::str::from_utf8(&piece[..length]).unwrap());
        }
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    stream.write_all(b"nonsense\r\n\r\n").unwrap();
    is_ours(&rest(stream), 400, "request line");
}

#[test]
fn a_large_value_that_ends_like_a_refusal_arrives_whole() {
    let at = served();
    let value = [&b"x".repeat(200_000), SLY].concat();
    let mut stream = connect(at);
    let head = format!("PUT /echo HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", value.len());
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&value).unwrap();
    let answer = rest(stream);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert_eq!(body.as_bytes(), value);
}
