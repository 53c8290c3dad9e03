//! The client port but for `/kv`, and how the process starts and ends.

mod support;

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use muster_client::api::cluster::{Config, Leader, Members, Role, State, Status};
use muster_client::api::health::Health;
use support::{Node, command, wait};

#[test]
fn every_answer_names_the_node_and_unknown_paths_and_methods_are_json() {
    let node = Node::start(&[]);
    let id = node.get("/livez").header("muster-node").unwrap().to_owned();
    for (method, target, status, code) in [
        ("GET", "/nothing", 404, "not_found"),
        ("GET", "/KV/k", 404, "not_found"),
        ("GET", "//", 404, "not_found"),
        ("GET", "/livez/", 404, "not_found"),
        ("OPTIONS", "*", 404, "not_found"),
        ("PATCH", "/kv/k", 405, "method_not_allowed"),
        ("POST", "/kv", 405, "method_not_allowed"),
        ("DELETE", "/cluster/members", 405, "method_not_allowed"),
        ("GET", "/cluster/leader/transfer", 405, "method_not_allowed"),
        ("POST", "/", 405, "method_not_allowed"),
    ] {
        let answer = node.call(method, target, &[]);
        assert_eq!(answer.error(), (status, code.to_owned()), "{method} {target}");
        assert_eq!(answer.header("muster-node"), Some(id.as_str()));
        assert_eq!(answer.header("allow").is_some(), status == 405, "{method} {target}");
    }
    assert_eq!(node.call("PATCH", "/kv/k", &[]).header("allow"), Some("GET, HEAD, PUT, POST, DELETE"));
    assert_eq!(node.call("BREW", "/kv", &[]).header("allow"), Some("GET, HEAD, DELETE"));
}

#[test]
fn a_node_alone_is_a_cluster_of_one() {
    let node = Node::start(&["--name", "n1 \"<ö>"]);
    let members: Members = serde_json::from_slice(&node.get("/cluster/members").body).unwrap();
    assert_eq!(members.members.len(), 1);
    let member = &members.members[0];
    assert_eq!((member.id, member.name.as_str(), member.role), (members.local, "n1 \"<ö>", Some(Role::Leader)));
    assert_eq!(member.http, node.address.to_string());
    let leader: Leader = serde_json::from_slice(&node.get("/cluster/leader").body).unwrap();
    assert_eq!(Some(leader.id), members.leader);
    let state: State = serde_json::from_slice(&node.get("/cluster/state").body).unwrap();
    assert!(state.add_set.keys().next().unwrap().starts_with(&format!("{}=", member.id)));
    node.put("/kv/k", "v");
    let status: Status = serde_json::from_slice(&node.get("/cluster/status").body).unwrap();
    assert_eq!((status.id, status.revision, status.failures_tolerated), (member.id, 1, 0));
    assert_eq!(status.voters.len(), 1);
}

#[test]
fn the_configuration_is_read_and_set() {
    let node = Node::start(&["--voters", "3"]);
    let config = |body: &[u8]| serde_json::from_slice::<Config>(body).unwrap();
    assert_eq!(config(&node.get("/cluster/config").body), Config { voters: 3, replace_after: "5m".to_owned() });
    let set = node.put("/cluster/config/voters", r#"{"value":"7"}"#);
    assert_eq!((set.status, config(&set.body).voters), (200, 7));
    assert_eq!(node.put("/cluster/config/replace_after", r#"{"value":"90s"}"#).status, 200);
    assert_eq!(config(&node.get("/cluster/config").body), Config { voters: 7, replace_after: "90s".to_owned() });
    for (name, body, status) in [
        ("voters", r#"{"value":"0"}"#, 400),
        ("voters", r#"{"value":7}"#, 400),
        ("voters", r#"{"value":"7","extra":1}"#, 400),
        ("voters", "{}", 400),
        ("voters", "[]", 400),
        ("voters", "{", 400),
        ("replace_after", r#"{"value":"soon"}"#, 400),
        ("replace_after", r#"{"value":"0s"}"#, 400),
        ("colour", r#"{"value":"red"}"#, 404),
    ] {
        let answer = node.put(&format!("/cluster/config/{name}"), body);
        assert_eq!(answer.error().0, status, "{name} {body}: {}", answer.text());
        assert_eq!(answer.json()["error"]["outcome"], "not_applied");
    }
    let large = format!(r#"{{"value":"{}"}}"#, "7".repeat(5000));
    assert_eq!(node.put("/cluster/config/voters", &large).status, 413);
}

#[test]
fn members_and_leadership_are_changed_with_care() {
    let node = Node::start(&[]);
    let members: Members = serde_json::from_slice(&node.get("/cluster/members").body).unwrap();
    let (own, stranger) = (members.local, uuid::Uuid::new_v4());
    for (target, body, status) in [
        (format!("/cluster/members/{own}/leave"), "", 409),
        (format!("/cluster/members/{own}/remove"), "{}", 409),
        (format!("/cluster/members/{stranger}/leave"), "{}", 404),
        (format!("/cluster/members/{stranger}/remove"), "{}", 404),
        ("/cluster/members/n1/remove".to_owned(), "{}", 400),
        (format!("/cluster/members/{own}/forget"), "{}", 404),
        ("/cluster/leader/transfer".to_owned(), "{}", 409),
        ("/cluster/leader/transfer".to_owned(), r#"{"too":"x"}"#, 400),
        ("/cluster/leader/transfer".to_owned(), r#"{"to":"n1"}"#, 400),
    ] {
        let answer = node.send("POST", &target, &[], body.as_bytes());
        assert_eq!(answer.error().0, status, "{target} {body}: {}", answer.text());
    }
    let to_itself = node.send("POST", "/cluster/leader/transfer", &[], format!(r#"{{"to":"{own}"}}"#).as_bytes());
    assert_eq!(to_itself.status, 200);
}

#[test]
fn health_says_what_it_checked() {
    let node = Node::start(&[]);
    for target in ["/livez", "/readyz"] {
        let answer = node.get(target);
        let health: Health = serde_json::from_slice(&answer.body).unwrap();
        assert!(answer.status == 200 && health.ok && !health.checks.is_empty(), "{target}: {answer:?}");
    }
}

#[test]
fn metrics_count_what_was_asked() {
    let node = Node::start(&[]);
    node.put("/kv/secret-key", "12345");
    node.get("/kv/secret-key");
    node.get("/kv/absent");
    node.get("/nowhere");
    let answer = node.get("/metrics");
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let text = answer.text();
    for line in [
        r#"muster_http_requests_total{route="/kv/{key}",method="PUT",status="2xx"} 1"#,
        r#"muster_http_requests_total{route="/kv/{key}",method="GET",status="2xx"} 1"#,
        r#"muster_http_requests_total{route="/kv/{key}",method="GET",status="4xx"} 1"#,
        r#"muster_http_requests_total{route="other",method="GET",status="4xx"} 1"#,
        r#"muster_http_request_seconds_count{route="/kv/{key}"} 3"#,
        r#"muster_http_request_seconds_bucket{route="/kv/{key}",le="+Inf"} 3"#,
        "muster_http_in_flight 1",
        "muster_http_received_bytes_total 5",
    ] {
        assert!(text.lines().any(|known| known == line), "{line} is missing in\n{text}");
    }
    assert!(!text.contains("secret-key"), "no label may come from a caller");
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (_, value) = line.rsplit_once(' ').unwrap();
        assert!(value.parse::<f64>().is_ok(), "{line}");
    }
}

#[test]
fn the_description_and_the_dashboard_are_served() {
    let node = Node::start(&[]);
    let description = node.get("/openapi.json").json();
    assert_eq!(description["openapi"], "3.1.0");
    assert_eq!(description["info"]["version"], env!("CARGO_PKG_VERSION"));
    let page = node.get("/");
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    let nonce = policy.split("script-src 'nonce-").nth(1).unwrap().split('\'').next().unwrap();
    assert!(page.text().contains(&format!("<script nonce=\"{nonce}\">")));
    assert_ne!(node.get("/").header("content-security-policy"), Some(policy), "a nonce is used once");
}

#[test]
fn both_signals_stop_it_in_good_order_with_an_idle_connection_open() {
    for signal in ["-TERM", "-INT"] {
        let mut node = Node::start(&[]);
        let mut idle = node.connect();
        idle.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut some = [0; 64];
        assert!(idle.read(&mut some).unwrap() > 0);
        let since = std::time::Instant::now();
        assert_eq!(node.stop(signal).code(), Some(0), "{signal}");
        assert!(since.elapsed() < std::time::Duration::from_secs(5), "{signal} took {:?}", since.elapsed());
    }
}

#[test]
fn a_port_in_use_and_a_bad_flag_end_it_with_a_line_that_helps() {
    let node = Node::start(&[]);
    let data = tempfile::tempdir().unwrap();
    let run = |more: &[&str]| {
        let mut process = command(&data).args(more).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        process.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        (wait(&mut process).code(), said)
    };
    // `--http 127.0.0.1:0` stands first and a flag stands once, so the arguments behind it are taken over.
    let plain = command(&data);
    let output = Command::new(plain.get_program())
        .args(plain.get_args().skip(2))
        .args(["--http", &node.address.to_string()])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&node.address.to_string()) && said.contains("--http"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    let (code, said) = run(&["--voters", "none"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("--voters"), "{said}");
}
