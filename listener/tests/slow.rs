//! Clients that keep a connection and do not get on: every one is let go of, and none keeps others out.
#![allow(clippy::unwrap_used, reason = "the helpers of a test may unwrap: a panic is its verdict")]

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use actix_web::web::{self, Bytes};
use actix_web::{HttpResponse, rt};
use muster_listener::Limits;

const GOOD: &str = "GET /short HTTP/1.1\r\nHost: h\r\n\r\n";
/// More than the two kernels keep between them.
const LONG: usize = 32 << 20;
/// What takes longer is taken to be for ever: the limits below are a second or two.
const FOR_EVER: Duration = Duration::from_secs(20);

fn served(connections_per_worker: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let limits = Limits {
        workers: Some(1),
        connections_per_worker,
        own_files: 10,
        head: Duration::from_secs(1),
        keep_alive: Duration::from_secs(60),
        answer: Duration::from_secs(2),
        unanswered: 4 << 20,
        stall: Duration::from_secs(2),
        linger: Duration::from_secs(1),
        shutdown_seconds: 1,
    };
    std::thread::spawn(move || {
        rt::System::new().block_on(async move {
            muster_listener::serve(listener, limits, String::new(), |routes| {
                routes
                    .route("/short", web::get().to(|| async { HttpResponse::Ok().body("short") }))
                    .route("/long", web::get().to(|| async { HttpResponse::Ok().body(vec![b'x'; LONG]) }))
                    .route("/put", web::put().to(|_: Bytes| async { HttpResponse::Ok().finish() }))
                    .route("/refuse", web::put().to(HttpResponse::PayloadTooLarge));
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
    stream.set_read_timeout(Some(FOR_EVER)).unwrap();
    stream.set_write_timeout(Some(FOR_EVER)).unwrap();
    stream
}

/// Asks for something short, and reads the answer.
fn asks(stream: &mut TcpStream) {
    stream.write_all(GOOD.as_bytes()).unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\nshort") {
        let mut piece = [0; 1024];
        let length = stream.read(&mut piece).unwrap();
        assert!(length > 0, "closed: {}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&piece[..length]);
    }
}

/// How long it takes until the server has closed.
fn closed(mut stream: TcpStream) -> Duration {
    let since = Instant::now();
    let mut piece = [0; 1024];
    loop {
        match stream.read(&mut piece) {
            Ok(0) => return since.elapsed(),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return since.elapsed(),
            Err(error) => panic!("it was not closed: {error}"),
        }
    }
}

#[test]
fn the_head_of_a_later_request_has_an_end_too() {
    let mut stream = connect(served(100));
    asks(&mut stream);
    stream.write_all(b"GET /short HTT").unwrap();
    assert!(closed(stream) > Duration::from_secs(1));
}

#[test]
fn a_body_that_drips_has_an_end() {
    let mut stream = connect(served(100));
    stream.write_all(b"PUT /put HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n").unwrap();
    let since = Instant::now();
    while stream.write_all(b"x").is_ok() {
        assert!(since.elapsed() < FOR_EVER);
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_refused_body_without_an_end_is_not_read_for_ever() {
    let at = served(100);
    let head = b"PUT /refuse HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunk = [&b"10000\r\n"[..], &[b'x'; 0x10000], b"\r\n"].concat();
    let mut stream = connect(at);
    stream.write_all(head).unwrap();
    let mut sent = 0;
    while stream.write_all(&chunk).is_ok() {
        sent += chunk.len();
        assert!(sent < 1 << 30, "it reads on and on");
    }
    // The same, and then nothing more: no timer of actix's runs there.
    let mut stream = connect(at);
    stream.write_all(head).unwrap();
    stream.write_all(b"1\r\nx\r\n").unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
    stream.write_all(b"1\r\nx\r\n").unwrap();
    closed(stream);
}

#[test]
fn an_answer_that_nobody_reads_is_given_up_and_one_that_is_read_slowly_is_not() {
    let at = served(100);
    let ask = b"GET /long HTTP/1.1\r\nHost: h\r\n\r\n";
    let (mut unread, mut slow) = (connect(at), connect(at));
    unread.write_all(ask).unwrap();
    slow.write_all(ask).unwrap();
    let mut read = 0;
    let mut piece = vec![0; 1 << 20];
    while read < LONG {
        let length = slow.read(&mut piece).unwrap();
        assert!(length > 0, "cut after {read} bytes");
        read += length;
        // 32 MiB in pieces of at most a mebibyte: longer than the two seconds that the other has.
        std::thread::sleep(Duration::from_millis(100));
    }
    // The other's was reset long ago: what had arrived is gone as well, or was all that ever came.
    let mut read = 0;
    while let Ok(length @ 1..) = unread.read(&mut piece) {
        read += length;
    }
    assert!(read < LONG, "it was kept whole");
}

#[test]
fn silent_connections_do_not_keep_others_out() {
    let at = served(64);
    let mut silent = Vec::new();
    for _ in 0..200 {
        let mut stream = connect(at);
        asks(&mut stream);
        silent.push(stream);
    }
    // The newest of them are still served.
    let mut newest = silent.pop().unwrap();
    asks(&mut newest);
}
