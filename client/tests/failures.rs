//! What the library does when nodes fail in ways that a real cluster cannot be made to at will: hang, break off, refuse.
//!
//! Against an in-process stand-in for that reason, and only where the failure itself is the subject.
#![cfg(feature = "http")]
#![allow(clippy::unwrap_used, reason = "a test may unwrap: its panic is its verdict")]

mod stand_in;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use muster_client::api::{ErrorCode, Outcome};
use muster_client::http::{Builder, Retry};
use muster_client::{Client, Error};
use stand_in::{Action, StandIn, answer, error, id, nobody, put, value};

/// A client with short time-outs that learns of no nodes but those that it is given.
fn builder() -> Builder {
    Client::builder().timeout(Duration::from_secs(5)).attempt_timeout(Duration::from_millis(200)).discovery(false)
}

fn client<const N: usize>(nodes: [&StandIn; N]) -> Client {
    builder().endpoints(nodes.map(|node| node.address.as_str())).build().unwrap()
}

/// Behaves as `first` says for the first `/kv` request, and as `then` says for the others.
fn first(first: Action, then: Action) -> impl Fn(&stand_in::Request) -> Action + Send + Sync {
    let count = AtomicUsize::new(0);
    move |_| if count.fetch_add(1, Ordering::SeqCst) == 0 { first.clone() } else { then.clone() }
}

#[tokio::test]
async fn a_node_that_hangs_is_left_for_one_that_answers() {
    let hung = StandIn::start(|_| Action::Hang).await;
    let well = StandIn::start(|_| value("v", 3)).await;
    let client = client([&hung, &well]);
    for _ in 0..5 {
        assert_eq!(client.get("k").await.unwrap().unwrap().value, "v");
    }
    assert!(hung.kv().len() <= 1, "it is asked once at most, and then left alone");
}

#[tokio::test]
async fn what_never_came_to_a_connection_was_not_applied() {
    // Who connects to a listener with a full queue hears nothing, as from a node that is cut off.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let deaf = socket.listen(1).unwrap();
    let address = deaf.local_addr().unwrap();
    let mut queue = Vec::new();
    let connect = || tokio::time::timeout(Duration::from_millis(200), tokio::net::TcpStream::connect(address));
    while let Ok(connected) = connect().await {
        queue.push(connected.unwrap());
        assert!(queue.len() < 100, "the queue has an end");
    }
    let client = builder().timeout(Duration::from_millis(300)).endpoint(address.to_string()).build().unwrap();
    let failed = client.put("k", "v").await.unwrap_err();
    assert_eq!(failed.outcome(), Outcome::NotApplied, "{failed}");
    // One that has connected may have it.
    let hung = StandIn::start(|_| Action::Hang).await;
    let client = builder().timeout(Duration::from_millis(300)).endpoint(hung.address.as_str()).build().unwrap();
    assert_eq!(client.put("k", "v").await.unwrap_err().outcome(), Outcome::Unknown);
}

/// A client that gives a node five seconds, and asks another beside it after 50 ms.
fn hedging<const N: usize>(nodes: [&StandIn; N]) -> Client {
    let builder = builder().attempt_timeout(Duration::from_secs(5)).hedge_after(Duration::from_millis(50));
    builder.endpoints(nodes.map(|node| node.address.as_str())).build().unwrap()
}

#[tokio::test]
async fn beside_a_leader_that_falls_silent_another_gets_the_write_under_the_same_key() {
    let silent = StandIn::start(|_| Action::Hang).await;
    let hint = format!(r#","leader":"{}""#, silent.address);
    let well = StandIn::start(first(error(503, "not_leader", r#""not_applied""#, &hint), put(7))).await;
    let client = hedging([&silent, &well]);
    let started = Instant::now();
    assert_eq!(client.put("k", "v").await.unwrap().revision, 7);
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    let key = |request: &stand_in::Request| request.header("idempotency-key").map(str::to_owned);
    let keys: Vec<_> = silent.kv().iter().chain(&well.kv()).map(key).collect();
    assert!(keys[0].is_some() && keys.iter().all(|key| *key == keys[0]), "{keys:?}");
    client.put("k", "v").await.unwrap();
    assert_eq!(silent.kv().len(), 1, "it is left alone now");
}

#[tokio::test]
async fn reads_do_not_wait_for_the_silent_either() {
    let silent = StandIn::start(|_| Action::Hang).await;
    let well = StandIn::start(|_| value("v", 3)).await;
    // Whichever is asked first.
    for _ in 0..8 {
        let started = Instant::now();
        let client = hedging([&silent, &well]);
        assert_eq!(client.get("k").linearizable().await.unwrap().unwrap().value, "v");
        assert_eq!(client.get("k").await.unwrap().unwrap().value, "v");
        assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    }
}

#[tokio::test]
async fn who_was_slow_is_heard_when_the_other_is_silent() {
    let silent = StandIn::start(|_| Action::Hang).await;
    let late = StandIn::start(|_| Action::Late(Duration::from_millis(300), Box::new(put(4)))).await;
    for round in 1..=8 {
        assert_eq!(hedging([&silent, &late]).put("k", "v").await.unwrap().revision, 4);
        assert_eq!(late.kv().len(), round, "first or second, it is asked once, and its answer waited for");
    }
}

#[tokio::test]
async fn a_refusal_settles_nothing_while_another_node_may_still_do_it() {
    let silent = StandIn::start(|_| Action::Hang).await;
    let full = StandIn::start(|_| error(413, "too_large", r#""not_applied""#, "")).await;
    let mut both = 0;
    for _ in 0..16 {
        let before = silent.kv().len();
        let failed = hedging([&silent, &full]).put("k", "v").await.unwrap_err();
        let asked = silent.kv().len() > before;
        both += usize::from(asked);
        assert_eq!(failed.code(), Some(ErrorCode::TooLarge));
        assert_eq!(failed.outcome(), if asked { Outcome::Unknown } else { Outcome::NotApplied });
    }
    assert!(both > 0, "the silent one was never asked first");
}

#[tokio::test]
async fn what_has_no_key_is_asked_of_one_node_only() {
    let one = StandIn::start(|_| Action::Hang).await;
    let other = StandIn::start(|_| Action::Hang).await;
    let client = builder()
        .timeout(Duration::from_millis(300))
        .hedge_after(Duration::from_millis(20))
        .endpoints([one.address.as_str(), other.address.as_str()])
        .build()
        .unwrap();
    let failed = client.leave(uuid::Uuid::from_u128(3)).await.unwrap_err();
    assert_eq!((failed.outcome(), one.all().len() + other.all().len()), (Outcome::Unknown, 1));
}

#[tokio::test]
async fn however_many_are_silent_few_are_asked() {
    let mut silent = Vec::new();
    for _ in 0..5 {
        silent.push(StandIn::start(|_| Action::Hang).await);
    }
    let asked = || silent.iter().map(|node| node.kv().len()).sum::<usize>();
    let client = builder()
        .attempt_timeout(Duration::from_secs(5))
        .hedge_after(Duration::from_millis(10))
        .endpoints(silent.iter().map(|node| node.address.as_str()))
        .build()
        .unwrap();
    let failed = client.put("k", "v").timeout(Duration::from_millis(400)).await.unwrap_err();
    assert_eq!((failed.outcome(), asked()), (Outcome::Unknown, 3));
    for _ in 0..20 {
        client.put("k", "v").timeout(Duration::from_millis(80)).await.unwrap_err();
    }
    assert!(asked() <= 21 + 10, "ten hedges, then none that no answer has paid for: {}", asked());
}

#[tokio::test]
async fn a_write_that_got_no_answer_is_repeated_under_the_same_key() {
    let rude = StandIn::start(first(Action::BreakOff, put(7))).await;
    let client = client([&rude]);
    assert_eq!(client.put("k", "v").await.unwrap().revision, 7);
    let sent = rude.kv();
    assert_eq!(sent.len(), 2);
    assert!(sent[0].header("idempotency-key").is_some());
    assert_eq!(sent[0].header("idempotency-key"), sent[1].header("idempotency-key"));
    client.put("k", "v").await.unwrap();
    assert_ne!(rude.kv()[2].header("idempotency-key"), sent[0].header("idempotency-key"), "another write, another key");
}

#[tokio::test]
async fn once_a_write_may_have_happened_a_refusal_proves_nothing() {
    let refusal = error(503, "no_leader", r#""not_applied""#, "");
    let node = StandIn::start(first(Action::BreakOff, refusal)).await;
    // Time enough for a second attempt on a busy machine.
    let failed = client([&node]).put("k", "v").timeout(Duration::from_secs(1)).await.unwrap_err();
    assert_eq!((failed.outcome(), failed.code()), (Outcome::Unknown, Some(ErrorCode::NoLeader)));
    assert_eq!(failed.retry(), Retry::AfterReading);
    assert!(node.kv().len() > 1);
}

#[tokio::test]
async fn a_write_that_was_only_ever_refused_did_not_happen() {
    let node = StandIn::start(|_| error(503, "no_leader", r#""not_applied""#, "")).await;
    let failed = client([&node]).put("k", "v").timeout(Duration::from_millis(300)).await.unwrap_err();
    assert_eq!((failed.outcome(), failed.code()), (Outcome::NotApplied, Some(ErrorCode::NoLeader)));
}

#[tokio::test]
async fn an_unknown_outcome_is_cleared_up_by_asking_again() {
    let node = StandIn::start(first(error(504, "timeout", r#""unknown""#, ""), put(9))).await;
    assert_eq!(client([&node]).put("k", "v").await.unwrap().revision, 9);
}

#[tokio::test]
async fn a_hint_leads_to_the_leader_and_is_remembered() {
    let leader = StandIn::start(|_| put(4)).await;
    let hint = format!(r#","leader":"{}""#, leader.address);
    let follower = StandIn::start(move |_| error(503, "not_leader", r#""not_applied""#, &hint)).await;
    let client = client([&follower]);
    for _ in 0..3 {
        client.put("k", "v").await.unwrap();
    }
    assert_eq!((follower.kv().len(), leader.kv().len()), (1, 3));
}

#[tokio::test]
async fn two_nodes_that_take_each_other_for_the_leader_do_not_spin_us() {
    let (one, two) = (
        std::sync::Arc::new(std::sync::OnceLock::<String>::new()),
        std::sync::Arc::new(std::sync::OnceLock::<String>::new()),
    );
    let pointing = |to: std::sync::Arc<std::sync::OnceLock<String>>| {
        move |_: &stand_in::Request| {
            let hint = format!(r#","leader":"{}""#, to.get().map_or("", String::as_str));
            error(503, "not_leader", r#""not_applied""#, &hint)
        }
    };
    let a = StandIn::start(pointing(two.clone())).await;
    let b = StandIn::start(pointing(one.clone())).await;
    one.set(a.address.clone()).unwrap();
    two.set(b.address.clone()).unwrap();
    let failed = client([&a, &b]).put("k", "v").timeout(Duration::from_millis(500)).await.unwrap_err();
    assert_eq!(failed.code(), Some(ErrorCode::NotLeader));
    assert!(a.kv().len() + b.kv().len() < 60, "{} and {} requests in half a second", a.kv().len(), b.kv().len());
}

#[tokio::test]
async fn where_nobody_listens_is_said_at_once_and_nothing_happened() {
    let client = builder().endpoints([nobody().await, nobody().await]).build().unwrap();
    let started = Instant::now();
    let failed = client.put("k", "v").await.unwrap_err();
    let Error::NoAnswer { outcome, tried } = failed else { panic!("{failed:?}") };
    assert_eq!((outcome, tried.len()), (Outcome::NotApplied, 2));
    assert!(started.elapsed() < Duration::from_secs(4), "long before the deadline of 5 s");
}

#[tokio::test]
async fn a_cluster_that_was_there_is_waited_for() {
    let node = StandIn::start(|_| put(1)).await;
    let client = client([&node]);
    client.put("k", "v").await.unwrap();
    drop(node);
    let started = Instant::now();
    client.put("k", "v").timeout(Duration::from_millis(400)).await.unwrap_err();
    assert!(started.elapsed() > Duration::from_millis(150), "it tried again");
}

#[tokio::test]
async fn reads_ask_for_what_this_client_has_seen() {
    let node = StandIn::start(|request| if request.method == "PUT" { put(7) } else { value("v", 8) }).await;
    let client = client([&node]);
    let queries = || node.kv().iter().map(|request| request.target.clone()).collect::<Vec<_>>();
    client.get("k").linearizable().await.unwrap();
    assert!(!queries()[0].contains("min_revision"), "{:?}", queries());
    client.put("k", "v").await.unwrap();
    client.clone().get("k").await.unwrap();
    assert!(queries()[2].contains("min_revision=8"), "{:?}", queries());
    assert_eq!(client.revision(), 8);
}

/// The answer to a put whose condition does not hold, of a key at `current`.
fn refused(current: u64) -> Action {
    let body = r#"{"error":{"code":"condition_failed","message":"no","outcome":"not_applied"}}"#;
    Action::Answer(412, vec![("Muster-Node", id(1)), ("ETag", format!("\"{current}\""))], body.to_owned())
}

#[tokio::test]
async fn a_condition_that_fails_tells_the_current_revision() {
    let node = StandIn::start(|_| refused(5)).await;
    let failed = client([&node]).put("k", "v").if_revision(4).await.unwrap_err();
    assert_eq!(failed, Error::ConditionFailed { current: Some(5) });
    assert_eq!(node.kv()[0].header("if-match"), Some("\"4\""));
}

#[tokio::test]
async fn who_was_told_of_a_newer_write_reads_nothing_older() {
    let node = StandIn::start(|request| if request.method == "PUT" { refused(57) } else { value("v", 57) }).await;
    let client = client([&node]);
    client.put("k", "v").if_revision(4).await.unwrap_err();
    assert_eq!(client.revision(), 57);
    client.get("k").await.unwrap();
    let read = node.kv()[1].target.clone();
    assert!(read.contains("min_revision=57"), "{read}");
}

#[tokio::test]
async fn what_has_no_key_is_not_repeated() {
    let node = StandIn::start(|_| Action::BreakOff).await;
    let failed = client([&node]).leave(uuid::Uuid::from_u128(3)).await.unwrap_err();
    assert_eq!((failed.outcome(), node.all().len()), (Outcome::Unknown, 1));
}

#[tokio::test]
async fn an_overloaded_node_is_given_the_time_that_it_asks_for() {
    let busy = || {
        let body = r#"{"error":{"code":"overloaded","message":"busy","outcome":"not_applied"}}"#;
        Action::Answer(429, vec![("Muster-Node", id(1)), ("Retry-After", "60".to_owned())], body.to_owned())
    };
    let node = StandIn::start(first(busy(), put(1))).await;
    let started = Instant::now();
    client([&node]).put("k", "v").await.unwrap();
    let waited = started.elapsed();
    assert!(
        waited >= Duration::from_millis(200) && waited < Duration::from_secs(4),
        "up to an attempt's time: {waited:?}"
    );
}

#[tokio::test]
async fn what_is_no_node_is_called_so() {
    let web = StandIn::start(|_| Action::Answer(404, Vec::new(), "<html>".to_owned())).await;
    let failed = client([&web]).get("k").timeout(Duration::from_millis(300)).await.unwrap_err();
    assert!(matches!(failed, Error::Garbled { .. }), "{failed:?}");
}

#[tokio::test]
async fn a_registry_is_enough_to_start() {
    let node = StandIn::start(|_| value("v", 1)).await;
    let port = node.address.rsplit_once(':').unwrap().1.to_owned();
    let registry = StandIn::start(move |request| {
        assert_eq!(request.target, "/nodes?cluster=prod");
        let node = id(1);
        let body = format!(
            r#"{{"nodes":[{{"id":"{node}","name":"n1","cluster":"prod","http":"0.0.0.0:{port}","peer":"x:1","cluster_id":null,"observed_ip":"127.0.0.1","age_ms":5}}]}}"#
        );
        Action::Answer(200, Vec::new(), body)
    })
    .await;
    let silent = nobody().await;
    let client = builder().registries([silent.as_str(), registry.address.as_str()]).cluster("prod").build().unwrap();
    assert_eq!(client.get("k").await.unwrap().unwrap().value, "v");
}

#[tokio::test]
async fn a_registry_without_nodes_is_named_in_the_error() {
    let registry = StandIn::start(|_| Action::Answer(200, Vec::new(), r#"{"nodes":[]}"#.to_owned())).await;
    let failed = builder().registry(&registry.address).build().unwrap().get("k").await.unwrap_err();
    assert!(failed.to_string().contains("knows no node of the cluster `muster`"), "{failed}");
}

#[tokio::test]
async fn the_members_that_a_node_lists_become_known_and_the_leader_is_followed() {
    let leader = StandIn::start(|_| answer(200, 2, r#"{"key":"k","revision":1,"created":false}"#)).await;
    let address = leader.address.clone();
    let follower = StandIn::start(move |request| {
        let members = |id: String, http: &str| {
            format!(r#"{{"id":"{id}","name":"n","http":"{http}","peer":"","state":"alive","incarnation":1,"role":null,"priority":0,"last_seen_ms":null}}"#)
        };
        let body = match request.path() {
            "/cluster/members" => {
                format!(r#"{{"cluster_id":null,"local":"{}","leader":"{}","members":[{}]}}"#, id(1), id(2), members(id(2), &address))
            }
            _ => r#"{"key":"k","revision":1,"created":false}"#.to_owned(),
        };
        Action::Answer(200, vec![("Muster-Node", id(1)), ("Muster-Leader", id(2))], body)
    })
    .await;
    let client = builder().discovery(true).endpoint(&follower.address).build().unwrap();
    let deadline = Instant::now() + Duration::from_secs(5);
    while leader.kv().is_empty() {
        assert!(Instant::now() < deadline, "writes never went to the leader");
        client.put("k", "v").await.unwrap();
        tokio::task::yield_now().await;
    }
    let before = follower.kv().len();
    client.put("k", "v").await.unwrap();
    assert_eq!(follower.kv().len(), before);
}

#[tokio::test]
async fn a_listing_goes_on_page_by_page() {
    let node = StandIn::start(|request| {
        let item = |key: &str| format!(r#"{{"key":"{key}","value":"dg==","create_revision":1,"modify_revision":2}}"#);
        let body = match request.target.contains("start_after=b%2F1") {
            false => format!(r#"{{"revision":5,"items":[{},{}],"next":"b/1"}}"#, item("a"), item("b/1")),
            true => format!(r#"{{"revision":6,"items":[{}],"next":null}}"#, item("c")),
        };
        answer(200, 1, &body)
    })
    .await;
    let mut list = client([&node]).list("");
    let mut keys = Vec::new();
    while let Some(entry) = list.next().await.unwrap() {
        assert_eq!(entry.value, "v");
        keys.push(entry.key);
    }
    assert_eq!(keys, ["a", "b/1", "c"]);
    assert!(node.kv()[1].target.contains("min_revision=5"), "a later page is never from an earlier state");
}
