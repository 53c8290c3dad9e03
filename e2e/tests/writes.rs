//! Writes through any node, reads from any other, and everything that the client port promises about them.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic is the verdict of a test")]

use std::time::Duration;

use muster_client::api::kv::{DeleteAnswer, Page, PrefixDeleteAnswer, PutAnswer};
use muster_client::api::{ErrorCode, Outcome, header};
use muster_e2e::cluster::SOON;
use muster_e2e::http::{Answer, raw};
use muster_e2e::{Cluster, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_through_any_node_is_read_from_any_other() {
    let cluster = Cluster::start(3).await;
    let mut last = 0;
    for writer in 0..3 {
        for reader in 0..3 {
            let key = format!("/kv/from/{writer}/to/{reader}");
            let written = cluster.http.put(cluster.nodes[writer].url(&key), key.as_bytes()).expect(201).await;
            assert!(written.revision() > last, "revisions grow");
            last = written.revision();
            let url = cluster.nodes[reader].url(&key);
            let own = cluster.http.get(&url).query("min_revision", last).expect(200).await;
            assert_eq!(own.text(), key);
            assert!(own.revision() >= last);
            let linear = cluster.http.get(&url).query("consistency", "linearizable").expect(200).await;
            assert_eq!(linear.text(), key);
        }
    }
    // Linearizable without a hint, right behind the write, again and again: never the older value.
    for n in 0..50 {
        let (writer, reader) = (n % 3, (n + 1) % 3);
        cluster.http.put(cluster.nodes[writer].url("/kv/again"), n.to_string()).ok().await;
        let read = cluster.http.get(cluster.nodes[reader].url("/kv/again")).query("consistency", "linearizable");
        assert_eq!(read.ok().await.text(), n.to_string());
    }
    // The client library does it by itself.
    let client = cluster.client();
    for n in 0..30 {
        client.put("mine", n.to_string()).await.unwrap();
        let other = client.at(cluster.endpoint(n % 3)).unwrap();
        assert_eq!(other.get("mine").await.unwrap().unwrap().value, n.to_string());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_carry_what_the_contract_says() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let follower = (leader + 1) % 3;
    let leader_id = cluster.nodes[leader].id(&cluster.http).await.to_string();
    let follower_id = cluster.nodes[follower].id(&cluster.http).await.to_string();
    let url = cluster.nodes[follower].url("/kv/doc");
    let first = cluster.http.put(&url, "<b>1</b>").header("content-type", "text/html; charset=utf-8").expect(201).await;
    let created: PutAnswer = first.json();
    assert_eq!((created.key.as_str(), created.created), ("doc", true));
    assert_eq!(first.needs(header::NODE), follower_id);
    let second =
        cluster.http.put(&url, "<b>2</b>").header("content-type", "text/html; charset=utf-8").expect(200).await;
    let updated: PutAnswer = second.json();
    assert!(!updated.created);
    assert_eq!(updated.revision, created.revision + 1, "one revision for each operation");

    let read = cluster.http.get(&url).query("min_revision", updated.revision).expect(200).await;
    assert_eq!(read.text(), "<b>2</b>");
    assert_eq!(read.needs("content-type"), "text/html; charset=utf-8");
    assert_eq!(read.needs("x-content-type-options"), "nosniff");
    assert_eq!(read.needs("content-security-policy"), "sandbox");
    assert_eq!(read.needs("etag"), format!("\"{}\"", updated.revision));
    assert_eq!(read.needs(header::CREATE_REVISION), created.revision.to_string());
    assert_eq!(read.needs(header::NODE), follower_id);
    assert_eq!(read.needs(header::LEADER), leader_id);
    assert!(read.needs(header::REVISION).parse::<u64>().unwrap() >= updated.revision);
    staleness(&read);

    let tag = read.needs("etag").to_owned();
    let same = cluster.http.get(&url).header("if-none-match", &tag).expect(304).await;
    assert!(same.body.is_empty());
    let head = cluster.http.head(&url).expect(200).await;
    assert!(head.body.is_empty());
    assert_eq!(head.needs("content-length"), "8");
    let absent = cluster.http.get(cluster.nodes[follower].url("/kv/absent")).expect(404).await;
    assert_eq!(absent.error().code, ErrorCode::NotFound);
    assert_eq!(absent.needs(header::LEADER), leader_id);
    assert!(absent.revision() >= updated.revision);
    staleness(&absent);

    let gone: DeleteAnswer = cluster.http.delete(&url).expect(200).await.json();
    assert!(gone.existed);
    let again: DeleteAnswer = cluster.http.delete(&url).expect(200).await.json();
    assert!(!again.existed);
    cluster.http.get(&url).query("consistency", "linearizable").expect(404).await;
    let reborn: PutAnswer = cluster.http.put(&url, "3").expect(201).await.json();
    let read = cluster.http.get(&url).query("min_revision", reborn.revision).expect(200).await;
    assert_eq!(read.needs(header::CREATE_REVISION), reborn.revision.to_string(), "a new life has a new birthday");
}

/// The bound of an answer in milliseconds, `None` for `unknown`.
fn staleness(answer: &Answer) -> Option<u64> {
    match answer.needs(header::STALENESS_MS) {
        header::UNKNOWN => None,
        bound => Some(bound.parse().expect("a number of milliseconds or `unknown`")),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn staleness_is_proved_or_unknown() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let follower = (leader + 1) % 3;
    cluster.http.put(cluster.nodes[leader].url("/kv/k"), "v").ok().await;
    let url = cluster.nodes[follower].url("/kv/k");
    let fresh = cluster.http.get(&url).query("max_staleness", "2s").ok().await;
    assert!(staleness(&fresh).is_some_and(|bound| bound <= 2_000), "{:?}", staleness(&fresh));
    // Whoever asks keeps the proof fresh.
    eventually("a follower asked again and again has a recent proof", SOON, async || {
        let read = cluster.http.get(&url).ok().await;
        staleness(&read).filter(|&bound| bound < 1_000)
    })
    .await;
    // Cut off from a majority, it cannot prove anything new: local reads go on, and their bound grows or is unknown.
    let other = 3 - leader - follower;
    cluster.nodes[leader].kill();
    cluster.nodes[other].kill();
    let local = cluster.http.get(&url).ok().await;
    assert_eq!(local.text(), "v");
    eventually("the bound grows past a second", SOON, async || {
        let read = cluster.http.get(&url).ok().await;
        staleness(&read).is_none_or(|bound| bound > 1_000).then_some(())
    })
    .await;
    let refused = cluster.http.get(&url).query("max_staleness", "500ms").query("timeout", "300ms").expect(503).await;
    assert!(matches!(refused.error().code, ErrorCode::TooStale | ErrorCode::NoLeader), "{}", refused.text());
    let refused =
        cluster.http.get(&url).query("consistency", "linearizable").query("timeout", "300ms").expect(503).await;
    assert!(matches!(refused.error().code, ErrorCode::NoLeader | ErrorCode::TooStale), "{}", refused.text());
    let refused = cluster.http.get(&url).query("min_revision", 1_000_000).query("timeout", "300ms").expect(503).await;
    assert_eq!(refused.error().code, ErrorCode::TooStale);
}

#[tokio::test(flavor = "multi_thread")]
async fn conditions_decide_which_write_counts() {
    let cluster = Cluster::start(3).await;
    let url = |node: usize| cluster.nodes[node].url("/kv/contended");
    let first = cluster.http.put(url(0), "a").header("if-none-match", "*").expect(201).await.revision();
    let refused = cluster.http.put(url(1), "b").header("if-none-match", "*").expect(412).await;
    assert_eq!(refused.needs("etag"), format!("\"{first}\""));
    assert_eq!(refused.error().code, ErrorCode::ConditionFailed);
    assert_eq!(refused.error().outcome, Some(Outcome::NotApplied));
    let second = cluster.http.put(url(2), "c").header("if-match", format!("\"{first}\"")).expect(200).await.revision();
    cluster.http.put(url(1), "d").header("if-match", format!("\"{first}\"")).expect(412).await;
    cluster.http.delete(url(1)).header("if-match", format!("\"{first}\"")).expect(412).await;
    let absent = cluster.http.put(cluster.nodes[0].url("/kv/none"), "x").header("if-match", "*").expect(412).await;
    assert_eq!(absent.header("etag"), None, "an absent key has no tag");
    cluster.http.delete(url(0)).header("if-match", format!("\"{second}\"")).expect(200).await;

    // Many try to create one key at once, through all nodes: one does.
    let tries = (0..30).map(|n| {
        let call = cluster.http.put(cluster.nodes[n % 3].url("/kv/race"), n.to_string()).header("if-none-match", "*");
        tokio::spawn(call.send())
    });
    let mut won = Vec::new();
    for (n, one) in tries.collect::<Vec<_>>().into_iter().enumerate() {
        let answer = one.await.unwrap().expect("an answer");
        match answer.status {
            201 => won.push(n),
            412 => {}
            other => panic!("{other} {}", answer.text()),
        }
    }
    assert_eq!(won.len(), 1, "{won:?}");
    let read = cluster.http.get(cluster.nodes[0].url("/kv/race?consistency=linearizable")).ok().await;
    assert_eq!(read.text(), won[0].to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_counter_kept_by_compare_and_set_counts_every_increment() {
    const EACH: usize = 25;
    let cluster = Cluster::start(3).await;
    let zero = cluster.http.put(cluster.nodes[0].url("/kv/counter"), "0").ok().await.revision();
    let count = |node: usize| {
        let (http, url) = (cluster.http.clone(), cluster.nodes[node].url("/kv/counter"));
        async move {
            let mut done = 0;
            while done < EACH {
                let read = http.get(&url).query("min_revision", zero).ok().await;
                let next = read.text().parse::<u64>().unwrap() + 1;
                let written =
                    http.put(&url, next.to_string()).header("if-match", read.needs("etag")).send().await.unwrap();
                match written.status {
                    200 => done += 1,
                    412 => {}
                    other => panic!("{other} {}", written.text()),
                }
            }
        }
    };
    let tasks: Vec<_> = (0..3).map(|node| tokio::spawn(count(node))).collect();
    for task in tasks {
        tokio::time::timeout(Duration::from_secs(60), task).await.expect("the counter is done in time").unwrap();
    }
    let read = cluster.http.get(cluster.nodes[1].url("/kv/counter?consistency=linearizable")).ok().await;
    assert_eq!(read.text(), (3 * EACH).to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_is_retried_on_another_node_applies_once() {
    let mut cluster = Cluster::start(3).await;
    let put = |node: usize, body: &str| {
        cluster.http.put(cluster.nodes[node].url("/kv/once"), body).header(header::IDEMPOTENCY_KEY, "order-17")
    };
    let first = put(0, "a").expect(201).await;
    for node in [1, 2, 0] {
        let again = put(node, "a").ok().await;
        assert_eq!(again.status, 201, "the answer of the first");
        assert_eq!(again.json::<PutAnswer>(), first.json::<PutAnswer>());
    }
    let mismatch = put(1, "b").expect(409).await;
    assert_eq!(mismatch.error().code, ErrorCode::IdempotencyMismatch);
    assert_eq!(mismatch.error().outcome, Some(Outcome::NotApplied));
    let read = cluster.http.get(cluster.nodes[2].url("/kv/once?consistency=linearizable")).ok().await;
    assert_eq!(read.text(), "a");
    assert_eq!(read.needs("etag"), format!("\"{}\"", first.revision()), "it was applied once");

    let gone =
        cluster.http.delete(cluster.nodes[1].url("/kv/once")).header(header::IDEMPOTENCY_KEY, "cancel-17").ok().await;
    assert!(gone.json::<DeleteAnswer>().existed);
    // A retry after a change of the leader finds the same answer.
    let leader = cluster.leader().await;
    cluster.nodes[leader].kill();
    let left = cluster.running();
    cluster.leader_among(&left).await;
    let again =
        cluster.http.delete(cluster.nodes[left[0]].url("/kv/once")).header(header::IDEMPOTENCY_KEY, "cancel-17");
    assert_eq!(again.ok().await.json::<DeleteAnswer>(), gone.json::<DeleteAnswer>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prefix_is_listed_and_deleted_over_pages() {
    let cluster = Cluster::start(3).await;
    let client = cluster.client();
    for n in 0..250 {
        client.put(format!("p/{n:03}"), format!("{n}")).await.unwrap();
    }
    client.put("q", "outside").await.unwrap();
    let page = async |query: &str| -> Page {
        cluster.http.get(cluster.nodes[1].url(&format!("/kv?consistency=linearizable&{query}"))).ok().await.json()
    };
    let first = page("prefix=p/").await;
    assert_eq!(first.items.len(), 100, "100 by default");
    assert_eq!(first.next.as_deref(), Some("p/099"));
    let mut keys: Vec<String> = first.items.iter().map(|item| item.key.clone()).collect();
    let mut next = first.next;
    while let Some(after) = next {
        let more = page(&format!("prefix=p/&limit=70&start_after={after}")).await;
        assert!(more.items.len() <= 70);
        keys.extend(more.items.into_iter().map(|item| item.key));
        next = more.next;
    }
    assert_eq!(keys, (0..250).map(|n| format!("p/{n:03}")).collect::<Vec<_>>(), "in byte order, each once");
    let bare = page("prefix=p/&limit=1&keys_only=true").await;
    assert_eq!((bare.items.len(), &bare.items[0].value), (1, &None));
    assert!(bare.items[0].modify_revision > 0);
    assert!(page("prefix=nothing").await.items.is_empty());

    cluster.http.delete(cluster.nodes[0].url("/kv")).expect(400).await;
    cluster.http.delete(cluster.nodes[0].url("/kv?prefix=")).expect(400).await;
    assert_eq!(page("prefix=p/&limit=1000").await.items.len(), 250, "a refusal deletes nothing");
    let gone: PrefixDeleteAnswer = cluster.http.delete(cluster.nodes[2].url("/kv?prefix=p/")).ok().await.json();
    assert_eq!(gone.deleted, 250);
    assert!(page("prefix=p/").await.items.is_empty());
    assert_eq!(page("prefix=q").await.items.len(), 1, "and nothing else");
    cluster.http.delete(cluster.nodes[2].url("/kv?prefix=&all=true")).ok().await;
    assert!(page("").await.items.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_taken_as_they_are_and_bad_requests_refused_with_their_reason() {
    let mut cluster = Cluster::start(1).await;
    cluster.leader().await;
    let at = cluster.nodes[0].http();
    let put = |path: &str, value: &str| {
        let length = value.len();
        raw(
            at,
            format!("PUT {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{value}")
                .as_bytes(),
        )
    };
    let get = |path: &str| raw(at, format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes());
    let odd =
        ["/kv/a//b", "/kv/a/../b", "/kv/a/./b", "/kv//", "/kv/...", "/kv/a+b", "/kv/%C3%A4", "/kv/%25", "/kv/%3F%23"];
    for (n, path) in odd.iter().enumerate() {
        let answer = put(path, &format!("odd {n}"));
        assert!(answer.starts_with("HTTP/1.1 201"), "{path}: {answer}");
    }
    for (n, path) in odd.iter().enumerate() {
        let answer = get(path);
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with(&format!("odd {n}")), "{path}: {answer}");
    }
    assert!(get("/kv/a%2Fb").starts_with("HTTP/1.1 404"), "a/b is not a//b");
    assert!(get("/kv/a%2F%2Fb").ends_with("odd 0"), "%2F is a slash");

    let long = format!("/kv/{}", "k".repeat(1025));
    let refusals = [
        ("GET", "/kv/", 400, "bad_request"),
        ("GET", "/kv/.", 400, "bad_request"),
        ("GET", "/kv/%2e%2e", 400, "bad_request"),
        ("GET", "/kv/%ff", 400, "bad_request"),
        ("GET", "/kv/%2", 400, "bad_request"),
        ("GET", long.as_str(), 413, "too_large"),
        ("GET", "/kv/k?consistency=perfect", 400, "bad_request"),
        ("GET", "/kv/k?max_staleness=5", 400, "bad_request"),
        ("GET", "/kv/k?min_revision=-1", 400, "bad_request"),
        ("GET", "/kv/k?timeout=soon", 400, "bad_request"),
        ("GET", "/kv?limit=0", 400, "bad_request"),
        ("GET", "/kv?limit=1001", 400, "bad_request"),
        ("GET", "/kv?keys_only=maybe", 400, "bad_request"),
        ("GET", "/nothing/here", 404, "not_found"),
        ("PATCH", "/kv/k", 405, "method_not_allowed"),
        ("DELETE", "/livez", 405, "method_not_allowed"),
        ("PUT", "/cluster/config/colour", 404, "not_found"),
    ];
    for (method, path, status, code) in refusals {
        let body = if method == "PUT" { r#"{"value":"1"}"# } else { "" };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let answer = raw(at, request.as_bytes());
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{method} {path}: {answer}");
        assert!(answer.contains(&format!("\"code\":\"{code}\"")), "{method} {path}: {answer}");
        assert!(status != 405 || answer.to_lowercase().contains("\nallow: "), "{method} {path}: {answer}");
    }
    let url = cluster.nodes[0].url("/kv/k");
    for (name, value) in [("if-match", "5"), ("if-none-match", "\"5"), ("idempotency-key", "")] {
        let refused = cluster.http.put(&url, "x").header(name, value).expect(400).await;
        assert_eq!(refused.error().outcome, Some(Outcome::NotApplied), "{name}");
    }
    cluster.http.put(&url, "x").header("idempotency-key", "k".repeat(129)).expect(400).await;
    let large = cluster.http.put(&url, vec![b'x'; (1 << 20) + 1]).expect(413).await;
    assert_eq!(large.error().code, ErrorCode::TooLarge);
    cluster.http.put(cluster.nodes[0].url("/kv/large"), vec![b'x'; 1 << 20]).expect(201).await;
    assert_eq!(cluster.http.get(cluster.nodes[0].url("/kv/large")).ok().await.body.len(), 1 << 20);
    for garbage in [&b"\x16\x03\x01\x02\x00\x01\x00"[..], b"GET\r\n\r\n", b"\0\0\0\0\0\0\0\0\r\n\r\n"] {
        raw(at, garbage);
    }
    assert!(cluster.nodes[0].is_running(), "no packet stops a node");
    cluster.http.get(&url).expect(404).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_at_the_peer_port_harms_nobody() {
    let mut cluster = Cluster::start(3).await;
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    // The same bytes in every run: a small generator will do.
    let mut seed = 0x9e37_79b9_u32;
    let mut noise = |length: usize| -> Vec<u8> {
        let next = |seed: &mut u32| {
            *seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (*seed >> 24) as u8
        };
        (0..length).map(|_| next(&mut seed)).collect()
    };
    for length in [0, 1, 7, 8, 64, 512, 1_400, 8_000] {
        for n in 0..3 {
            let peer = cluster.nodes[n].peer();
            let _ = socket.send_to(&noise(length), peer);
            // A stream that is not ended by the server costs a second.
            if [7, 512].contains(&length) {
                raw(peer, &noise(length));
            }
        }
    }
    for node in &mut cluster.nodes {
        assert!(node.is_running(), "{}", node.process.run_log());
        assert!(!node.process.has_logged("panicked"), "{}", node.process.run_log());
    }
    cluster.usable().await;
    cluster.settled().await;
}
