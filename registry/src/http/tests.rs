//! Calls on a real port, in this process.

use std::collections::BTreeSet;
use std::time::Duration;

use actix_web::{App, HttpServer, web};
use muster_client::api::registry::{FoundingConflict, Nodes, Registered};
use muster_client::api::{ErrorBody, ErrorCode};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::registry::Registry;

const A: &str = "00000000-0000-0000-0000-00000000000a";
const B: &str = "00000000-0000-0000-0000-00000000000b";
const SAID: &str = r#"{"name":"n1","cluster":"muster","http":"0.0.0.0:8050","peer":"[::]:8051"}"#;

struct Served {
    at: std::net::SocketAddr,
    dir: TempDir,
}

/// A registry with a memory, so that it need not be quiet first.
fn served() -> Served {
    let dir = TempDir::new().unwrap();
    drop(crate::store::Store::open(dir.path()).unwrap());
    let registry = web::Data::new(Registry::open(dir.path(), Duration::from_secs(60)).unwrap());
    let outgoing = web::Data::new(muster_listener::Outgoing::new(usize::MAX));
    let app = move || App::new().app_data(registry.clone()).app_data(outgoing.clone()).configure(super::configure);
    let server = HttpServer::new(app).workers(1).disable_signals().bind("127.0.0.1:0").unwrap();
    let at = server.addrs()[0];
    actix_web::rt::spawn(server.run());
    Served { at, dir }
}

impl Served {
    async fn raw(&self, request: &[u8]) -> (u16, String, String) {
        let mut stream = tokio::net::TcpStream::connect(self.at).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), head.to_lowercase(), body.to_owned())
    }

    async fn call(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let length = body.len();
        let head =
            format!("{method} {path} HTTP/1.1\r\nHost: r\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
        let (status, _, answer) = self.raw(format!("{head}{body}").as_bytes()).await;
        (status, answer)
    }

    async fn refused(&self, method: &str, path: &str, body: &str) -> (u16, ErrorCode, String) {
        let (status, answer) = self.call(method, path, body).await;
        let error =
            serde_json::from_str::<ErrorBody>(&answer).unwrap_or_else(|_| panic!("{method} {path}: {answer}")).error;
        (status, error.code, error.message)
    }
}

#[actix_web::test]
async fn a_node_registers_is_listed_and_goes() {
    let served = served();
    let (status, body) = served.call("PUT", &format!("/nodes/{A}"), SAID).await;
    assert_eq!(status, 200, "{body}");
    let answer: Registered = serde_json::from_str(&body).unwrap();
    assert_eq!((answer.lease_ms, answer.observed_ip.to_string().as_str(), answer.found), (60_000, "127.0.0.1", true));
    let (_, body) = served.call("GET", "/nodes?cluster=muster", "").await;
    let nodes: Nodes = serde_json::from_str(&body).unwrap();
    assert_eq!((nodes.nodes[0].http.as_str(), nodes.nodes[0].peer.as_str()), ("127.0.0.1:8050", "127.0.0.1:8051"));
    assert_eq!(served.call("GET", "/nodes?cluster=other", "").await, (200, r#"{"nodes":[]}"#.to_owned()));
    let (_, seeds) = served.call("GET", "/seeds?cluster=muster&limit=1", "").await;
    assert!(seeds.contains(A), "{seeds}");
    assert_eq!(served.call("DELETE", &format!("/nodes/{A}"), "").await, (200, r#"{"existed":true}"#.to_owned()));
    assert_eq!(served.call("DELETE", &format!("/nodes/{A}"), "").await, (200, r#"{"existed":false}"#.to_owned()));
}

#[actix_web::test]
async fn a_founding_is_recorded_once_and_forgotten_deliberately() {
    let served = served();
    let founding = |cluster: &str| format!(r#"{{"cluster_id":"{cluster}","founder":"{A}"}}"#);
    assert_eq!(served.call("PUT", "/clusters/muster", &founding(A)).await, (201, founding(A)));
    assert_eq!(served.call("PUT", "/clusters/muster", &founding(A)).await, (200, founding(A)));
    let (status, body) = served.call("PUT", "/clusters/muster", &founding(B)).await;
    let conflict: FoundingConflict = serde_json::from_str(&body).unwrap();
    assert_eq!((status, conflict.standing.unwrap().cluster_id.to_string().as_str()), (409, A));
    assert!(std::fs::read_to_string(served.dir.path().join("foundings")).unwrap().contains(A));
    let (_, shown) = served.call("GET", "/clusters", "").await;
    assert_eq!(shown, format!(r#"{{"clusters":[{{"name":"muster","cluster_id":"{A}","founder":"{A}","seen":[]}}]}}"#));
    assert_eq!(served.call("DELETE", &format!("/clusters/muster?cluster_id={B}"), "").await.0, 409);
    assert_eq!(served.call("DELETE", &format!("/clusters/muster?cluster_id={A}"), "").await.1, r#"{"existed":true}"#);
    assert_eq!(served.call("DELETE", "/clusters/muster", "").await.1, r#"{"existed":false}"#);
    assert_eq!(served.call("PUT", "/clusters/gr%C3%B6%C3%9Fe", &founding(B)).await.0, 201);
    assert!(served.call("GET", "/clusters", "").await.1.contains("größe"));
}

#[actix_web::test]
async fn what_is_malformed_is_400_with_words() {
    let served = served();
    let node = format!("/nodes/{A}");
    let long = format!("/clusters/{}", "x".repeat(129));
    let nobody = format!(r#"{{"cluster_id":"{}","founder":"{A}"}}"#, uuid::Uuid::nil());
    let founding = format!(r#"{{"cluster_id":"{A}","founder":"{A}"}}"#);
    for (method, path, body) in [
        ("PUT", "/nodes/7", SAID),
        ("PUT", "/nodes/%FF", SAID),
        ("PUT", "/nodes/00000000-0000-0000-0000-000000000000", SAID),
        ("PUT", node.as_str(), ""),
        ("PUT", node.as_str(), "{"),
        ("PUT", node.as_str(), "[]"),
        ("PUT", node.as_str(), r#"{"name":"n1"}"#),
        ("PUT", node.as_str(), &SAID.replace("n1", "")),
        ("PUT", node.as_str(), &SAID.replace("n1", &"x".repeat(129))),
        ("PUT", node.as_str(), &SAID.replace("8050", "0")),
        ("PUT", node.as_str(), &SAID.replace("0.0.0.0", "no such host")),
        ("PUT", node.as_str(), &SAID.replace("\"name\"", "\"bootstrap_expect\":-1,\"name\"")),
        ("DELETE", "/nodes/x", ""),
        ("GET", "/nodes?clutser=muster", ""),
        ("GET", "/nodes?cluster=", ""),
        ("GET", "/seeds", ""),
        ("GET", "/seeds?cluster=muster&limit=0", ""),
        ("GET", "/seeds?cluster=muster&limit=many", ""),
        ("GET", "/seeds?cluster=muster&limit=101", ""),
        ("PUT", "/clusters/muster", "{}"),
        ("PUT", "/clusters/muster", &nobody),
        ("PUT", "/clusters/a%2Fb", &founding),
        ("PUT", "/clusters/%C3", &founding),
        ("PUT", long.as_str(), &founding),
        ("DELETE", "/clusters/muster?cluster_id=7", ""),
    ] {
        let (status, code, message) = served.refused(method, path, body).await;
        assert_eq!((status, code), (400, ErrorCode::BadRequest), "{method} {path} {body}: {message}");
        assert!(message.len() > 10 && !message.contains("eserialize"), "{method} {path}: {message}");
    }
    assert_eq!(served.call("GET", "/nodes", "").await.1, r#"{"nodes":[]}"#, "nothing was changed");
}

#[actix_web::test]
async fn a_body_too_large_an_unknown_path_and_a_wrong_method_are_told_apart() {
    let served = served();
    let large = format!("{{\"name\":\"{}\"}}", "x".repeat(super::MAX_BODY));
    assert_eq!(served.refused("PUT", &format!("/nodes/{A}"), &large).await.1, ErrorCode::TooLarge);
    let chunked = format!(
        "PUT /nodes/{A} HTTP/1.1\r\nHost: r\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{large}\r\n0\r\n\r\n",
        large.len()
    );
    assert_eq!(served.raw(chunked.as_bytes()).await.0, 413);
    for path in ["/", "/node", "/nodes/", "/nodes/a/b", "/clusters//", "/openapi"] {
        assert_eq!(served.refused("GET", path, "").await.0, 404, "{path}");
    }
    let (status, head, body) = served.raw(b"POST /clusters/x HTTP/1.1\r\nHost: r\r\nConnection: close\r\n\r\n").await;
    assert!(
        status == 405 && head.contains("allow: put, delete") && body.contains("method_not_allowed"),
        "{head} {body}"
    );
}

#[actix_web::test]
async fn head_is_get_without_the_body() {
    let served = served();
    for path in ["/nodes", "/seeds?cluster=muster", "/clusters", "/livez", "/readyz", "/openapi.json", "/nodes?x=1"] {
        let ask = async |method: &str| {
            served.raw(format!("{method} {path} HTTP/1.1\r\nHost: r\r\nConnection: close\r\n\r\n").as_bytes()).await
        };
        let (get, head) = (ask("GET").await, ask("HEAD").await);
        assert_eq!((head.0, head.2.as_str()), (get.0, ""), "{path}");
        let length = format!("content-length: {}", get.2.len());
        assert!(!get.2.is_empty() && head.1.contains(&length), "{path}: {}", head.1);
    }
}

#[actix_web::test]
async fn no_call_takes_a_parameter_that_it_does_not_know() {
    let served = served();
    let node = format!("/nodes/{A}?x=1");
    let founding = format!(r#"{{"cluster_id":"{B}","founder":"{A}"}}"#);
    for path in ["/nodes", "/seeds", "/clusters", "/livez", "/readyz", "/metrics", "/openapi.json"] {
        assert_eq!(served.refused("GET", &format!("{path}?x=1"), "").await.0, 400, "{path}");
    }
    assert_eq!(served.refused("PUT", &node, SAID).await.0, 400);
    assert_eq!(served.refused("DELETE", &node, "").await.0, 400);
    assert_eq!(served.refused("PUT", "/clusters/muster?x=1", &founding).await.0, 400);
    assert_eq!(served.call("GET", "/nodes", "").await.1, r#"{"nodes":[]}"#);
    assert_eq!(served.call("GET", "/clusters", "").await.1, r#"{"clusters":[]}"#);
}

#[actix_web::test]
async fn health_and_metrics_answer() {
    let served = served();
    assert_eq!(served.call("GET", "/livez", "").await.0, 200);
    let (status, body) = served.call("GET", "/readyz", "").await;
    assert!(status == 200 && body.contains(r#""ok":true"#), "{body}");
    served.call("PUT", &format!("/nodes/{A}"), SAID).await;
    served.call("PUT", &format!("/nodes/{A}"), SAID).await;
    let (_, text) = served.call("GET", "/metrics", "").await;
    for line in ["muster_registry_nodes 1", "muster_registry_registered_total 1", "muster_registry_renewed_total 1"] {
        assert!(text.lines().any(|other| other == line), "{line}: {text}");
    }
}

#[actix_web::test]
async fn the_description_and_the_routing_table_are_one() {
    let served = served();
    let (_, text) = served.call("GET", "/openapi.json", "").await;
    let described: Value = serde_json::from_str(&text).unwrap();
    let paths = described["paths"].as_object().unwrap();
    let known: BTreeSet<&str> = paths.keys().map(String::as_str).collect();
    let served_paths = BTreeSet::from([
        "/nodes",
        "/nodes/{id}",
        "/seeds",
        "/clusters",
        "/clusters/{name}",
        "/livez",
        "/readyz",
        "/metrics",
        "/openapi.json",
    ]);
    assert_eq!(known, served_paths);
    for (path, operations) in paths {
        let concrete = path.replace("{id}", A).replace("{name}", "muster");
        for method in ["GET", "HEAD", "PUT", "POST", "DELETE", "PATCH"] {
            let (status, _) = served.call(method, &concrete, "").await;
            let there = operations.get(method.to_lowercase()).is_some();
            assert_eq!(status != 405 && status != 404, there, "{method} {path} answered {status}");
        }
    }
    let mut refs = BTreeSet::new();
    collect_refs(&described, &mut refs);
    for name in &refs {
        assert!(described["components"]["schemas"].get(name).is_some(), "{name} is not described");
    }
    assert_eq!(refs.len(), described["components"]["schemas"].as_object().unwrap().len(), "a schema is never used");
}

fn collect_refs(value: &Value, refs: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            refs.extend(
                fields.get("$ref").and_then(Value::as_str).and_then(|text| Some(text.rsplit_once('/')?.1.to_owned())),
            );
            fields.values().for_each(|value| collect_refs(value, refs));
        }
        Value::Array(items) => items.iter().for_each(|value| collect_refs(value, refs)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
