//! The leader is there but out of reach, or asleep: nobody acknowledges or tells what is not so.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic is the verdict of a test")]

use std::time::Duration;

use muster_e2e::cli::muster_on;
use muster_e2e::cluster::SOON;
use muster_e2e::figures::figure;
use muster_e2e::netns::{Net, Way};
use muster_e2e::skip::needs;
use muster_e2e::{Cluster, Load, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_cut_off_refuses_and_the_majority_goes_on() {
    let Some(net) = needs("root and network namespaces", Net::new(3)) else { return };
    let mut cluster = net.cluster().await;
    for (machine, node) in cluster.nodes.iter().enumerate() {
        let members = node.members(&cluster.http).await.unwrap();
        let own = members.members.iter().find(|member| member.id == members.local).unwrap();
        let at = net.address(machine);
        assert_eq!((own.http.clone(), own.peer.clone()), (format!("{at}:8050"), format!("{at}:8051")), "as observed");
    }
    let leader = cluster.leader().await;
    let others: Vec<usize> = (0..3).filter(|&node| node != leader).collect();
    cluster.http.put(cluster.nodes[leader].url("/kv/before"), "1").ok().await;

    // Who is to stay, and who is to be cut off with writes in flight.
    let stay: Vec<String> = others.iter().map(|&node| cluster.endpoint(node)).collect();
    let load = Load::plain(&cluster.http, &stay, "load", 3);
    let doomed = Load::plain(&cluster.http, &[cluster.endpoint(leader)], "doomed", 3);
    load.more_acks(30, SOON).await;
    doomed.more_acks(30, SOON).await;
    net.cut(leader);
    let cut = std::time::Instant::now();
    let successor = cluster.leader_among(&others).await;
    assert_ne!(successor, leader);
    figure("leader cut off, the others agree on a new one", &format!("{} ms", cut.elapsed().as_millis()));
    load.more_acks(30, SOON).await;
    let history = load.so_far();
    let next = history.next_ack_after(cut).expect("the majority goes on");
    figure("leader cut off, next write of plain HTTP", &format!("{} ms", next.as_millis()));

    // On the wrong side: refused, with the reason, and never acknowledged.
    let alone = net.namespace(leader);
    let endpoint = ["--endpoint", "http://127.0.0.1:8050", "--timeout", "4s"];
    let refused = muster_on(&alone, &[&endpoint[..], &["put", "minority", "x"]].concat()).await;
    assert!(matches!(refused.status, Some(5 | 6)), "{refused:?}");
    assert!(!refused.err.trim().is_empty());
    // Also when the time is over just as the client tries to reach one of those who are cut off: nothing went there.
    let refused = muster_on(&alone, &[&endpoint[..], &["put", "minority", "x"]].concat()).await.exits(5);
    assert!(refused.err.contains("majority") || refused.err.contains("lead"), "the reason: {}", refused.err);
    let stale = muster_on(&alone, &[&endpoint[..], &["get", "before"]].concat()).await.exits(0);
    assert_eq!(stale.line(), "1", "local reads go on");
    muster_on(&alone, &[&endpoint[..], &["get", "before", "--linearizable"]].concat()).await.exits(5);
    cluster.http.put(cluster.nodes[others[0]].url("/kv/before"), "2").ok().await;

    net.heal(leader);
    let settled = cluster.settled().await;
    figure("leader cut off, who leads after the cable is back", if settled == leader { "the old" } else { "the new" });
    load.more_acks(30, SOON).await;
    // The writers stop before the data is read: what they still write meanwhile would look lost.
    let (history, doomed) = (load.stop().await, doomed.stop().await);
    let read = cluster.http.get(cluster.nodes[leader].url("/kv/before?consistency=linearizable")).ok().await;
    assert_eq!(read.text(), "2");
    let there = cluster.everything(settled, "").await;
    history.check(&there);
    doomed.check(&there);
    figure("leader cut off, writes through it", &doomed.counts());
    assert!(!there.contains_key("minority"), "what was refused is not there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_slept_neither_acknowledges_nor_tells_what_is_no_longer_so() {
    let mut cluster = Cluster::start(3).await;
    for round in 0..3 {
        let leader = cluster.leader().await;
        let others: Vec<usize> = (0..3).filter(|&node| node != leader).collect();
        let key = format!("/kv/round/{round}");
        let old = cluster.http.put(cluster.nodes[leader].url(&key), "old").ok().await;
        cluster.nodes[leader].process.pause();
        cluster.leader_among(&others).await;
        cluster.http.put(cluster.nodes[others[0]].url(&key), "new").ok().await;

        // Asked while it sleeps; it finds the questions when it wakes, still thinking that it leads.
        let sleeper = |path: &str| cluster.nodes[leader].url(path);
        let mut reads = Vec::new();
        let mut writes = Vec::new();
        let mut swaps = Vec::new();
        for n in 0..20 {
            let read = cluster.http.get(sleeper(&key)).query("consistency", "linearizable");
            reads.push(tokio::spawn(read.send()));
            let write = cluster.http.put(sleeper(&format!("/kv/awake/{round}/{n}")), "x");
            writes.push(tokio::spawn(write.send()));
            let swap = cluster.http.put(sleeper(&key), "swapped").header("if-match", format!("\"{}\"", old.revision()));
            swaps.push(tokio::spawn(swap.send()));
        }
        // The questions have to be in its sockets when it wakes: they are when the kernel has taken the connections.
        eventually("the sleeper's sockets hold the questions", SOON, async || {
            (established(cluster.nodes[leader].http().port()) >= 60).then_some(())
        })
        .await;
        cluster.nodes[leader].process.resume();

        for read in reads {
            let answer = read.await.unwrap().expect("an answer");
            if answer.is_ok() {
                assert_eq!(answer.text(), "new", "a linearizable read told what was no longer so");
            } else {
                assert_eq!(answer.status, 503, "{}", answer.text());
            }
        }
        for swap in swaps {
            let answer = swap.await.unwrap().expect("an answer");
            assert!(!answer.is_ok(), "a condition on an old revision held: {}", answer.text());
        }
        let mut acked = Vec::new();
        for (n, write) in writes.into_iter().enumerate() {
            if write.await.unwrap().expect("an answer").is_ok() {
                acked.push(format!("awake/{round}/{n}"));
            }
        }
        let settled = cluster.settled().await;
        let there = cluster.everything(settled, "awake/").await;
        for key in &acked {
            assert!(there.contains_key(key), "{key} was acknowledged by a node that had slept, and is lost");
        }
        figure("a leader that slept, writes acked after it woke", &format!("{} of 20", acked.len()));
    }
}

/// TCP connections to a local port that stand, as the kernel counts them.
fn established(port: u16) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("the kernel's table of connections");
    let local = format!(":{port:04X}");
    let stands = |line: &&str| {
        let mut words = line.split_whitespace().skip(1);
        words.next().is_some_and(|at| at.ends_with(&local)) && words.nth(1) == Some("01")
    };
    table.lines().filter(stands).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_slept_catches_up_and_deposes_nobody() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let term = cluster.status(leader).await.term;
    let sleeper = (leader + 1) % 3;
    let awake = (leader + 2) % 3;
    cluster.nodes[sleeper].process.pause();
    let load = Load::plain(&cluster.http, &[cluster.endpoint(leader), cluster.endpoint(awake)], "load", 4);
    // Long enough for everyone to have given it up, several times the election time-out.
    let http = cluster.http.clone();
    let id = eventually("gossip gives the sleeper up", SOON, async || {
        let members = cluster.nodes[leader].members(&http).await?;
        let name = cluster.nodes[sleeper].name();
        let member = members.members.iter().find(|member| member.name == name)?;
        (member.state == muster_client::api::cluster::MemberState::Failed).then_some(member.id)
    })
    .await;
    load.more_acks(100, SOON).await;
    cluster.nodes[sleeper].process.resume();
    assert_eq!(cluster.settled().await, leader, "a returning node deposes nobody");
    assert_eq!(cluster.status(leader).await.term, term);
    assert_eq!(cluster.nodes[sleeper].id(&cluster.http).await, id);
    let history = load.stop().await;
    let failed: Vec<_> = history.not_acked().collect();
    assert!(failed.is_empty(), "{failed:#?}");
    eventually("the sleeper holds everything", Duration::from_secs(20), async || {
        (cluster.copy_of(sleeper, "load").await.len() >= history.acked().count()).then_some(())
    })
    .await;
}

/// Cuts one direction of the leader's or of a follower's cable: the others go on, what the machine acknowledged stays, and all is
/// one again afterwards.
async fn one_way(way: Way, of_leader: bool) {
    let net = Net::new(3).and_then(|net| net.cut_one_way(0, way).map(|()| net));
    let Some(net) = needs("root, network namespaces and nft", net) else { return };
    net.mend(0);
    let mut cluster = net.cluster().await;
    let leader = cluster.leader().await;
    let cut_off = if of_leader { leader } else { (leader + 1) % 3 };
    let others: Vec<usize> = (0..3).filter(|&node| node != cut_off).collect();
    let term = cluster.status(leader).await.term;
    let stay: Vec<String> = others.iter().map(|&node| cluster.endpoint(node)).collect();
    let load = Load::plain(&cluster.http, &stay, "load", 3);
    let doomed = Load::plain(&cluster.http, &[cluster.endpoint(cut_off)], "doomed", 3);
    load.more_acks(30, SOON).await;
    doomed.more_acks(30, SOON).await;

    net.cut_one_way(cut_off, way).expect("it could be cut before");
    let since = std::time::Instant::now();
    if of_leader {
        let successor = cluster.leader_among(&others).await;
        assert_ne!(successor, leader);
    }
    load.more_acks(100, SOON).await;
    let gap = load.so_far().next_ack_after(since).expect("the others go on");
    let who = if of_leader { "leader" } else { "follower" };
    figure(&format!("{who} cut one way ({way:?}), next write of plain HTTP"), &format!("{} ms", gap.as_millis()));
    if !of_leader {
        assert_eq!(cluster.leader_among(&others).await, leader, "who cannot hear or be heard deposes nobody");
        assert_eq!(cluster.status(leader).await.term, term);
    }
    // Asked on its own machine, over its own loopback: it acknowledges nothing that a majority does not hold.
    let alone = net.namespace(cut_off);
    let endpoint = ["--endpoint", "http://127.0.0.1:8050", "--timeout", "3s"];
    let refused = muster_on(&alone, &[&endpoint[..], &["put", "one-way", "x"]].concat()).await;
    // 1 when more waits there for the leader than the node takes: nothing was written then.
    assert!(matches!(refused.status, Some(1 | 5 | 6)), "{refused:?}");
    assert!(refused.status != Some(1) || refused.err.contains("nothing was written"), "{refused:?}");

    net.mend(cut_off);
    let settled = cluster.settled().await;
    load.more_acks(30, SOON).await;
    let (history, doomed) = (load.stop().await, doomed.stop().await);
    let there = cluster.everything(settled, "").await;
    history.check(&there);
    doomed.check(&there);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_not_heard_is_replaced() {
    one_way(Way::Out, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_does_not_hear_is_replaced() {
    one_way(Way::In, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_is_not_heard_deposes_nobody() {
    one_way(Way::Out, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_does_not_hear_deposes_nobody() {
    one_way(Way::In, false).await;
}
