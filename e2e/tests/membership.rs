//! The group grows, heals and shrinks only as it should.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic is the verdict of a test")]

use std::collections::BTreeSet;
use std::time::Duration;

use muster_client::api::ErrorCode;
use muster_client::api::cluster::{Config, MemberState, Role};
use muster_e2e::cluster::SOON;
use muster_e2e::folder::copy;
use muster_e2e::{Cluster, Plan, eventually, until};
use serde_json::json;
use uuid::Uuid;

/// 40 s: as [`SOON`], behind a replacement that waits for some seconds first.
const LATER: Duration = Duration::from_secs(40);

/// The voters as a node has them.
async fn voters(cluster: &Cluster, node: usize) -> BTreeSet<Uuid> {
    let status = cluster.nodes[node].status(&cluster.http).await;
    status.map(|status| status.voters.iter().map(|voter| voter.id).collect()).unwrap_or_default()
}

async fn voters_become(cluster: &Cluster, node: usize, wanted: &BTreeSet<Uuid>) {
    let names: Vec<_> = wanted.iter().map(|id| id.to_string()[..8].to_owned()).collect();
    let mut last = BTreeSet::new();
    let reached = until(LATER, async || {
        last = voters(cluster, node).await;
        (last == *wanted).then_some(())
    });
    assert!(reached.await.is_some(), "the voters did not become {names:?}; they are {last:?}");
}

async fn ids(cluster: &Cluster) -> Vec<Uuid> {
    let mut ids = Vec::new();
    for node in &cluster.nodes {
        ids.push(node.id(&cluster.http).await);
    }
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn voters_grow_to_three_and_five_and_the_sixth_only_learns() {
    let mut cluster = Plan::new(1).start().await;
    assert_eq!(cluster.status(0).await.failures_tolerated, 0);
    cluster.http.put(cluster.nodes[0].url("/kv/first"), "1").ok().await;
    for (size, tolerated) in [(3, 1), (5, 2)] {
        while cluster.nodes.len() < size {
            let node = cluster.add(&[]);
            cluster.nodes[node].spawn();
        }
        cluster.ready_all().await;
        cluster.settled().await;
        let all: BTreeSet<_> = ids(&cluster).await.into_iter().collect();
        voters_become(&cluster, 0, &all).await;
        let leader = cluster.leader().await;
        assert_eq!(cluster.status(leader).await.failures_tolerated, tolerated);
    }
    let sixth = cluster.add(&[]);
    cluster.nodes[sixth].start().await;
    let id = cluster.nodes[sixth].id(&cluster.http).await;
    cluster.settled().await;
    let leader = cluster.leader().await;
    eventually("the sixth learns", SOON, async || {
        let status = cluster.nodes[leader].status(&cluster.http).await?;
        status.learners.iter().any(|learner| learner.id == id).then_some(())
    })
    .await;
    assert_eq!(voters(&cluster, leader).await.len(), 5);
    assert_eq!(cluster.status(sixth).await.role, Some(Role::Learner));
    eventually("the sixth serves reads", SOON, async || {
        let answer = cluster.http.get(cluster.nodes[sixth].url("/kv/first")).send().await.ok()?;
        (answer.text() == "1").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_left_stays_away() {
    let mut cluster = Cluster::start(4).await;
    let all = ids(&cluster).await;
    let leader = cluster.leader().await;
    let leaver = (leader + 1) % 4;
    let asked = (leader + 2) % 4;
    cluster
        .http
        .post(cluster.nodes[asked].url(&format!("/cluster/members/{}/leave", all[leaver])), &json!({}))
        .expect(200)
        .await;
    let rest: BTreeSet<_> = all.iter().copied().filter(|id| *id != all[leaver]).collect();
    voters_become(&cluster, asked, &rest).await;
    eventually("gossip knows that it left", SOON, async || {
        let members = cluster.nodes[asked].members(&cluster.http).await?;
        let gone = members.members.iter().find(|member| member.id == all[leaver]);
        gone.is_none_or(|member| member.state == MemberState::Left).then_some(())
    })
    .await;
    // A restart policy starts it again, twice.
    for _ in 0..2 {
        if cluster.nodes[leaver].is_running() {
            cluster.nodes[leaver].kill();
        }
        cluster.nodes[leaver].spawn();
        let back = until(Duration::from_secs(3), async || {
            let members = cluster.nodes[asked].members(&cluster.http).await?;
            let state = members.members.iter().find(|member| member.id == all[leaver])?.state;
            matches!(state, MemberState::Alive | MemberState::Suspect).then_some(state)
        });
        assert_eq!(back.await, None, "{}", cluster.nodes[leaver].process.run_log());
        assert_eq!(voters(&cluster, asked).await, rest);
    }
    assert!(cluster.nodes[leaver].process.has_logged("taken out"), "it says why it stays away");
    let unknown =
        cluster.http.post(cluster.nodes[asked].url(&format!("/cluster/members/{}/leave", Uuid::new_v4())), &json!({}));
    unknown.expect(404).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leader_can_be_asked_to_leave() {
    let mut cluster = Cluster::start(3).await;
    let all = ids(&cluster).await;
    let leader = cluster.leader().await;
    let other = (leader + 1) % 3;
    cluster
        .http
        .post(cluster.nodes[other].url(&format!("/cluster/members/{}/leave", all[leader])), &json!({}))
        .expect(200)
        .await;
    let rest: BTreeSet<_> = all.iter().copied().filter(|id| *id != all[leader]).collect();
    voters_become(&cluster, other, &rest).await;
    cluster.http.put(cluster.nodes[other].url("/kv/after"), "x").ok().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_dead_are_removed_and_never_the_majority() {
    let mut cluster = Cluster::start(3).await;
    let all = ids(&cluster).await;
    let leader = cluster.leader().await;
    let (dead, next) = ((leader + 1) % 3, (leader + 2) % 3);
    let remove = |node: usize| {
        cluster.http.post(cluster.nodes[leader].url(&format!("/cluster/members/{}/remove", all[node])), &json!({}))
    };
    let alive = remove(dead).expect(409).await;
    assert_eq!(alive.error().code, ErrorCode::Conflict, "{}", alive.text());
    cluster.nodes[dead].kill();
    let url = cluster.nodes[leader].url(&format!("/cluster/members/{}/remove", all[dead]));
    // Until the cluster has noticed the death, the answer is 409.
    eventually("the dead node is removed", SOON, async || {
        let answer = cluster.http.post(&url, &json!({})).send().await.unwrap();
        assert!(matches!(answer.status, 200 | 409), "{} {}", answer.status, answer.text());
        (answer.status == 200).then_some(())
    })
    .await;
    voters_become(&cluster, leader, &BTreeSet::from([all[leader], all[next]])).await;
    // Of the two voters left one dies: removing it would leave the decision to one of two.
    cluster.nodes[next].kill();
    let url = cluster.nodes[leader].url(&format!("/cluster/members/{}/remove?timeout=1s", all[next]));
    for _ in 0..3 {
        let refused = cluster.http.post(&url, &json!({})).send().await.unwrap();
        assert!(matches!(refused.status, 400 | 409 | 503), "{} {}", refused.status, refused.text());
    }
    assert_eq!(voters(&cluster, leader).await.len(), 2);
    // It comes back, and all is well.
    cluster.nodes[next].start().await;
    cluster.usable().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_learner_takes_the_place_of_a_dead_voter() {
    let mut cluster = Plan::new(3).args(&["--voters", "3", "--replace-after", "2s"]).start().await;
    let learner = cluster.add(&[]);
    cluster.nodes[learner].start().await;
    let all = ids(&cluster).await;
    let leader = cluster.leader().await;
    eventually("the fourth learns", SOON, async || {
        let status = cluster.nodes[leader].status(&cluster.http).await?;
        status.learners.iter().any(|replica| replica.id == all[learner]).then_some(())
    })
    .await;
    assert_eq!(voters(&cluster, leader).await, all[..3].iter().copied().collect());
    let dead = (leader + 1) % 3;
    cluster.nodes[dead].kill();
    let healed: BTreeSet<_> = all.iter().copied().filter(|id| *id != all[dead]).collect();
    voters_become(&cluster, leader, &healed).await;
    let survivors: Vec<usize> = (0..4).filter(|&node| node != dead).collect();
    cluster.leader_among(&survivors).await;
    cluster.http.put(cluster.nodes[learner].url("/kv/after"), "x").ok().await;
    // The dead one returns: a follower without a vote, since its seat is taken.
    cluster.nodes[dead].start().await;
    eventually("the returned node learns", SOON, async || {
        let status = cluster.nodes[dead].status(&cluster.http).await?;
        (status.role == Some(Role::Learner)).then_some(())
    })
    .await;
    assert_eq!(voters(&cluster, leader).await, healed);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_learner_at_hand_a_dead_voter_keeps_its_seat() {
    let mut cluster = Plan::new(3).args(&["--replace-after", "1s"]).start().await;
    let all: BTreeSet<_> = ids(&cluster).await.into_iter().collect();
    let leader = cluster.leader().await;
    let dead = (leader + 1) % 3;
    cluster.nodes[dead].kill();
    eventually("the death is known", SOON, async || {
        let members = cluster.nodes[leader].members(&cluster.http).await?;
        members.members.iter().any(|member| member.state == MemberState::Failed).then_some(())
    })
    .await;
    let shrunk = until(Duration::from_secs(4), async || (voters(&cluster, leader).await != all).then_some(()));
    assert!(shrunk.await.is_none(), "a quorum never shrinks by accident");
    cluster.nodes[dead].start().await;
    cluster.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_volume_is_gone_comes_back_as_a_new_one() {
    let mut cluster = Plan::new(3).args(&["--replace-after", "2s"]).start().await;
    cluster.http.put(cluster.nodes[0].url("/kv/kept"), "yes").ok().await;
    let before = ids(&cluster).await;
    let leader = cluster.leader().await;
    let lost = (leader + 1) % 3;
    cluster.nodes[lost].kill();
    cluster.nodes[lost].wipe();
    cluster.nodes[lost].start().await;
    let fresh = cluster.nodes[lost].id(&cluster.http).await;
    assert_ne!(fresh, before[lost]);
    let healed: BTreeSet<_> = before.iter().copied().filter(|id| *id != before[lost]).chain([fresh]).collect();
    voters_become(&cluster, leader, &healed).await;
    assert_eq!(cluster.copy_of(lost, "kept").await["kept"], b"yes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_set_back_to_an_old_disk_does_not_vote_as_if_nothing_had_happened() {
    let mut cluster = Plan::new(3).args(&["--replace-after", "2s"]).start().await;
    let leader = cluster.leader().await;
    let old = (leader + 1) % 3;
    let before = cluster.nodes[old].id(&cluster.http).await;
    assert!(cluster.nodes[old].stop().await.success());
    let backup = cluster.folder("backup");
    copy(cluster.nodes[old].dir(), &backup).unwrap();
    cluster.nodes[old].start().await;
    cluster.settled().await;
    for n in 0..50 {
        cluster.http.put(cluster.nodes[leader].url(&format!("/kv/later/{n}")), "x").ok().await;
    }
    cluster.nodes[old].kill();
    cluster.nodes[old].wipe();
    copy(&backup, cluster.nodes[old].dir()).unwrap();
    cluster.nodes[old].start().await;
    // It says so, and comes back under a new identity.
    let fresh = eventually("the node that was set back has a new identity", LATER, async || {
        // It starts anew, and with it its ports may be others.
        cluster.nodes[old].ready().await;
        let members = cluster.nodes[old].members(&cluster.http).await?;
        (members.local != before).then_some(members.local)
    })
    .await;
    let all: BTreeSet<_> = [leader, (leader + 2) % 3].into_iter().collect();
    let mut healed = BTreeSet::from([fresh]);
    for node in all {
        healed.insert(cluster.nodes[node].id(&cluster.http).await);
    }
    voters_become(&cluster, leader, &healed).await;
    eventually("it has caught up", SOON, async || (cluster.copy_of(old, "later/").await.len() == 50).then_some(()))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_configuration_is_replicated() {
    let cluster = Plan::new(3).args(&["--voters", "3", "--replace-after", "1m"]).start().await;
    let config = async |node: usize| -> Config {
        cluster.http.get(cluster.nodes[node].url("/cluster/config")).ok().await.json()
    };
    assert_eq!(config(1).await, Config { voters: 3, replace_after: "1m".to_owned() });
    let put = |node: usize, name: &str, value: &str| {
        let body = json!({"value": value}).to_string();
        let call = cluster.http.put(cluster.nodes[node].url(&format!("/cluster/config/{name}")), body);
        call.header("content-type", "application/json")
    };
    put(1, "voters", "5").expect(200).await;
    put(2, "replace_after", "90s").expect(200).await;
    for node in 0..3 {
        eventually("every node has the new configuration", SOON, async || {
            let config = config(node).await;
            (config.voters == 5 && config.replace_after == "90s").then_some(())
        })
        .await;
    }
    for (name, value) in
        [("voters", "0"), ("voters", "many"), ("voters", "-1"), ("replace_after", "5"), ("replace_after", "")]
    {
        let refused = put(0, name, value).expect(400).await;
        assert_eq!(refused.error().code, ErrorCode::BadRequest, "{name}={value}");
    }
    put(0, "colour", "blue").expect(404).await;
}
