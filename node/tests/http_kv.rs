//! `/kv` over a real socket: each sentence of its description.

mod support;

use std::io::Write;

use support::{Node, read};

#[test]
fn a_reader_that_asks_gets_a_proof_of_how_fresh_the_answer_is() {
    let node = Node::start(&[]);
    node.put("/kv/k", "v");
    let proved = || {
        let staleness = node.get("/kv/k").header("muster-staleness-ms").map(str::to_owned);
        staleness.and_then(|staleness| staleness.parse::<u64>().ok())
    };
    support::until("a proof", || proved().is_some());
    let linearizable = node.get("/kv/k?consistency=linearizable");
    assert!(linearizable.header("muster-staleness-ms").unwrap().parse::<u64>().is_ok());
}

#[test]
fn a_value_comes_back_as_it_was_put_with_its_revisions() {
    let node = Node::start(&[]);
    let put = node.send("PUT", "/kv/greeting", &[("Content-Type", "text/html")], b"<b>hello</b>\0\xff");
    assert_eq!((put.status, put.header("etag")), (201, Some("\"1\"")));
    assert_eq!(put.text(), r#"{"key":"greeting","revision":1,"created":true}"#);
    node.put("/kv/other", "x");
    let again = node.send("POST", "/kv/greeting", &[("Content-Type", "text/html")], b"<b>hello</b>\0\xff");
    assert_eq!((again.status, again.text()), (200, r#"{"key":"greeting","revision":3,"created":false}"#));

    let got = node.get("/kv/greeting");
    assert_eq!((got.status, got.body.as_slice()), (200, &b"<b>hello</b>\0\xff"[..]));
    assert_eq!(got.header("content-type"), Some("text/html"));
    assert_eq!(got.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(got.header("content-security-policy"), Some("sandbox"));
    assert_eq!(got.header("etag"), Some("\"3\""));
    assert_eq!(got.header("muster-create-revision"), Some("1"));
    assert_eq!(got.header("muster-revision"), Some("3"));
    let staleness = got.header("muster-staleness-ms").unwrap();
    assert!(staleness == "unknown" || staleness.parse::<u64>().is_ok(), "{staleness}");
    assert_eq!(got.header("muster-leader"), got.header("muster-node"));

    let head = node.call("HEAD", "/kv/greeting", &[]);
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!((head.header("content-length"), head.header("etag")), (Some("14"), Some("\"3\"")));
    let plain = node.get("/kv/other");
    assert_eq!(plain.header("content-type"), Some("application/octet-stream"));
}

#[test]
fn an_absent_key_is_404_with_the_same_headers() {
    let node = Node::start(&[]);
    let got = node.get("/kv/nothing");
    assert_eq!(got.error(), (404, "not_found".to_owned()));
    for header in ["muster-node", "muster-revision", "muster-staleness-ms", "muster-leader"] {
        assert!(got.header(header).is_some(), "{header}: {got:?}");
    }
    assert_eq!(got.json()["error"]["outcome"], serde_json::Value::Null);
    assert_eq!(node.call("HEAD", "/kv/nothing", &[]).status, 404);
}

#[test]
fn keys_are_taken_from_the_path_as_it_came() {
    let node = Node::start(&[]);
    for (at, target) in
        ["a//b", "a/../b", "a/./b", "a%2Fb", "/", "a+b", "...", "%C3%A4", "a%20b", "a/"].iter().enumerate()
    {
        let put = node.put(&format!("/kv/{target}"), &at.to_string());
        assert_eq!(put.status, 201, "{target}: {put:?}");
    }
    for (target, body) in
        [("a/b", "3"), ("a%2F%2Fb", "0"), ("%61/%2E%2E/b", "1"), ("a%2Bb", "5"), ("%c3%a4", "7"), ("%2f", "4")]
    {
        assert_eq!(node.get(&format!("/kv/{target}")).text(), body, "{target}");
    }
    assert_eq!(node.get("/kv/b").status, 404);
    let listed = node.get("/kv?keys_only=true").json();
    let keys: Vec<_> = listed["items"].as_array().unwrap().iter().map(|item| item["key"].as_str().unwrap()).collect();
    assert_eq!(keys, ["...", "/", "a b", "a+b", "a/", "a/../b", "a/./b", "a//b", "a/b", "ä"]);
}

#[test]
fn what_is_no_key_is_refused_and_nothing_written() {
    let node = Node::start(&[]);
    for target in ["", ".", "..", "%2e", "%ff", "a%2", "%zz", "%"] {
        for method in ["GET", "PUT", "DELETE"] {
            let refused = node.call(method, &format!("/kv/{target}"), &[]);
            assert_eq!(refused.error(), (400, "bad_request".to_owned()), "{method} {target}");
            let outcome = &refused.json()["error"]["outcome"];
            assert_eq!(outcome.as_str(), if method == "GET" { None } else { Some("not_applied") }, "{method} {target}");
        }
    }
    let longest = "k".repeat(1024);
    assert_eq!(node.put(&format!("/kv/{longest}"), "x").status, 201);
    assert_eq!(node.put(&format!("/kv/{longest}k"), "x").error(), (413, "too_large".to_owned()));
    assert_eq!(node.get("/kv").json()["revision"], 1);
}

#[test]
fn conditions_guard_writes() {
    let node = Node::start(&[]);
    let put = |headers: &[(&str, &str)]| node.send("PUT", "/kv/k", headers, b"v");
    let absent = put(&[("If-Match", "*")]);
    assert_eq!(absent.error(), (412, "condition_failed".to_owned()));
    assert_eq!((absent.header("etag"), absent.json()["error"]["outcome"].as_str()), (None, Some("not_applied")));
    assert_eq!(put(&[("If-None-Match", "*")]).status, 201);
    let there = put(&[("If-None-Match", "*")]);
    assert_eq!((there.status, there.header("etag")), (412, Some("\"1\"")));
    assert_eq!(put(&[("If-Match", "\"7\", \"1\"")]).status, 200);
    assert_eq!(put(&[("If-Match", "W/\"2\"")]).status, 412);
    assert_eq!(put(&[("If-Match", "\"1\"")]).header("etag"), Some("\"2\""));
    assert_eq!(put(&[("If-Match", "\"other\"")]).status, 412);
    assert_eq!(put(&[("If-None-Match", "\"2\"")]).status, 412);
    assert_eq!(put(&[("If-None-Match", "\"1\"")]).status, 200);
    for bad in [
        &[("If-Match", "3")][..],
        &[("If-Match", "")],
        &[("If-Match", "\"3")],
        &[("If-Match", "*"), ("If-None-Match", "*")],
    ] {
        assert_eq!(put(bad).error(), (400, "bad_request".to_owned()), "{bad:?}");
    }
    assert_eq!(node.call("DELETE", "/kv/k", &[("If-Match", "\"1\"")]).status, 412);
    let deleted = node.call("DELETE", "/kv/k", &[("If-Match", "\"3\"")]);
    assert_eq!((deleted.status, deleted.text()), (200, r#"{"key":"k","revision":4,"existed":true}"#));
    assert_eq!(node.call("DELETE", "/kv/k", &[]).text(), r#"{"key":"k","revision":5,"existed":false}"#);
}

#[test]
fn a_known_value_is_not_sent_again() {
    let node = Node::start(&[]);
    node.put("/kv/k", "v");
    for tags in ["\"1\"", "W/\"1\"", "*", "\"9\", \"1\""] {
        let got = node.call("GET", "/kv/k", &[("If-None-Match", tags)]);
        assert_eq!((got.status, got.body.len(), got.header("etag")), (304, 0, Some("\"1\"")), "{tags}");
        assert!(got.header("muster-revision").is_some());
    }
    assert_eq!(node.call("GET", "/kv/k", &[("If-None-Match", "\"2\"")]).status, 200);
    assert_eq!(node.call("GET", "/kv/k", &[("If-Match", "\"2\"")]).status, 412);
    assert_eq!(node.call("GET", "/kv/k", &[("If-None-Match", "nonsense")]).status, 400);
    // Before the read: what is malformed does not wait for a revision that never comes.
    for name in ["If-Match", "If-None-Match"] {
        let never = "/kv/k?min_revision=99999&timeout=100ms";
        assert_eq!(node.call("GET", never, &[(name, "nonsense")]).status, 400, "{name}");
        assert_eq!(node.call("GET", never, &[(name, "\"1\"")]).status, 503, "{name}");
    }
}

#[test]
fn idempotency_keys_are_short_visible_text() {
    let node = Node::start(&[]);
    let put = |key: &str| node.send("PUT", "/kv/k", &[("Idempotency-Key", key)], b"v").status;
    assert_eq!(put(&"x".repeat(128)), 201);
    assert_eq!(put("order 17"), 200);
    assert_eq!(put(&"x".repeat(129)), 400);
    assert_eq!(put(""), 400);
    assert_eq!(put("ä"), 400);
    let twice = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")];
    assert_eq!(node.send("PUT", "/kv/k", &twice, b"v").status, 400);
}

#[test]
fn pages_follow_one_another_in_byte_order() {
    let node = Node::start(&[]);
    for key in ["p/c", "p/a", "q", "p/b+x"] {
        node.put(&format!("/kv/{key}"), key);
    }
    let first = node.get("/kv?prefix=p/&limit=2").json();
    assert_eq!(first["next"], "p/b+x");
    assert_eq!(
        first["items"][0],
        serde_json::json!({"key":"p/a","value":"cC9h","create_revision":2,"modify_revision":2})
    );
    let second = node.get("/kv?prefix=p%2F&limit=2&start_after=p/b%2Bx").json();
    assert_eq!((second["items"].as_array().unwrap().len(), &second["next"]), (1, &serde_json::Value::Null));
    let spaced = node.get("/kv?prefix=p/b+x").json();
    assert_eq!(spaced["items"], serde_json::json!([]), "a + in a query is a space");
    let keys = node.get("/kv?keys_only=true&limit=1");
    assert_eq!(keys.json()["items"][0].get("value"), None);
    assert!(keys.header("muster-revision").is_some() && keys.header("muster-staleness-ms").is_some());
    assert_eq!(node.call("HEAD", "/kv", &[]).status, 200);
}

#[test]
fn a_prefix_is_deleted_only_when_that_is_meant() {
    let node = Node::start(&[]);
    for key in ["p/a", "p/b", "q"] {
        node.put(&format!("/kv/{key}"), "v");
    }
    for refused in ["/kv", "/kv?prefix=", "/kv?all=false", "/kv?prefix=p/&all=yes", "/kv?prefx=p/"] {
        let answer = node.call("DELETE", refused, &[]);
        assert_eq!(answer.error(), (400, "bad_request".to_owned()), "{refused}");
        assert_eq!(answer.json()["error"]["outcome"], "not_applied");
    }
    assert_eq!(node.call("DELETE", "/kv?prefix=p/", &[("If-Match", "*")]).status, 400);
    assert_eq!(node.call("DELETE", "/kv?prefix=p/", &[]).text(), r#"{"revision":4,"deleted":2}"#);
    assert_eq!(node.call("DELETE", "/kv?all=true", &[]).text(), r#"{"revision":5,"deleted":1}"#);
}

#[test]
fn queries_are_read_strictly() {
    let node = Node::start(&[]);
    node.put("/kv/k", "v");
    for (target, word) in [
        ("/kv/k?consistancy=local", "consistancy"),
        ("/kv/k?consistency=strong", "linearizable"),
        ("/kv/k?consistency=local&consistency=local", "twice"),
        ("/kv/k?min_revision=-1", "min_revision"),
        ("/kv/k?max_staleness=5", "max_staleness"),
        ("/kv/k?timeout=2m", "1m"),
        ("/kv/k?timeout=%zz", "%25"),
        ("/kv?limit=0", "limit"),
        ("/kv?limit=1001", "limit"),
        ("/kv?limit=ten", "limit"),
        ("/kv?keys_only=1", "keys_only"),
        ("/kv?prefix=%ff", "UTF-8"),
        ("/livez?x", "`x`"),
        ("/cluster/members?verbose=1", "verbose"),
    ] {
        let answer = node.get(target);
        assert_eq!(answer.error(), (400, "bad_request".to_owned()), "{target}");
        assert!(answer.text().contains(word), "{target}: {}", answer.text());
    }
    assert_eq!(node.call("PUT", "/kv/k?min_revision=1", &[]).status, 400, "a write knows no read modes");
    for target in
        ["/kv/k?consistency=linearizable", "/kv/k?max_staleness=0s", "/kv/k?min_revision=1&timeout=1m", "/kv/k?&"]
    {
        assert_eq!(node.get(target).status, 200, "{target}");
    }
}

#[test]
fn a_value_over_the_limit_is_refused_and_the_answer_arrives() {
    let node = Node::start(&["--max-value-size", "64KiB"]);
    let fits = vec![b'x'; 64 << 10];
    assert_eq!(node.send("PUT", "/kv/k", &[], &fits).status, 201);
    assert_eq!(node.get("/kv/k").body, fits);
    // One byte more; and far more than socket buffers hold, so that the answer meets a sender in full flow.
    for size in [(64 << 10) + 1, 8 << 20] {
        let refused = node.send("PUT", "/kv/k", &[], &vec![b'y'; size]);
        assert_eq!(refused.error(), (413, "too_large".to_owned()));
        assert_eq!(refused.json()["error"]["outcome"], "not_applied");
    }
    let mut stream = node.connect();
    stream
        .write_all(b"PUT /kv/k HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n")
        .unwrap();
    for _ in 0..5 {
        stream.write_all(b"4000\r\n").unwrap();
        stream.write_all(&[b'z'; 0x4000]).unwrap();
        stream.write_all(b"\r\n").unwrap();
    }
    stream.write_all(b"0\r\n\r\n").unwrap();
    assert_eq!(read(&mut stream).status, 413);
    assert_eq!(node.get("/kv/k").body, fits);
}

#[test]
fn a_body_in_pieces_is_put_together() {
    let node = Node::start(&[]);
    let mut stream = node.connect();
    stream.write_all(b"PUT /kv/k HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\nConnection: close\r\n\r\nab").unwrap();
    stream.flush().unwrap();
    stream.write_all(b"cd").unwrap();
    stream.write_all(b"ef").unwrap();
    assert_eq!(read(&mut stream).status, 201);
    assert_eq!(node.get("/kv/k").text(), "abcdef");
    let empty = node.call("PUT", "/kv/empty", &[]);
    assert_eq!(empty.status, 201);
    assert_eq!(node.get("/kv/empty").body, b"");
    let long_type = "x".repeat(300);
    assert_eq!(node.send("PUT", "/kv/k", &[("Content-Type", &long_type)], b"v").status, 400);
}
