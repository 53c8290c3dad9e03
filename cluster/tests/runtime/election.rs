//! The membership and the election put together by a program: plain bully over the membership's messages.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use muster_cluster::{
    election::{Config, Election, Input, Message, Mode, Output},
    runtime::{Cluster, View},
    swim::Event,
};
use tokio::{
    select,
    sync::{broadcast::error::RecvError, watch},
    time::sleep,
};
use uuid::Uuid;

use crate::fixture::{DEADLINE, Node, start_all, within};

/// Elects among the live members; says who leads.
async fn elect(cluster: Cluster, leader: watch::Sender<Option<Uuid>>) {
    let id = cluster.id();
    let mut election = Election::new(id, Config::standard(Mode::Plain, id.as_u64_pair().1)).expect("standard waits");
    let (mut views, mut events) = (cluster.members(), cluster.events());
    let electorate = |view: &Arc<View>| -> BTreeSet<Uuid> { view.live().map(|member| member.id).collect() };
    election.handle(cluster.now(), Input::Electorate(electorate(&views.borrow_and_update())));
    election.handle(cluster.now(), Input::Start);
    loop {
        while let Some(output) = election.poll() {
            match output {
                // Lost messages are the election's business; a member that has gone is none of ours.
                Output::Send { to, message } => drop(cluster.send_to(to, message.encode()).await),
                Output::LeaderChanged { leader: now, .. } => drop(leader.send_replace(now)),
                Output::Campaign | Output::DropLease { .. } | Output::Transfer { .. } | Output::TransferRefused(_) => {}
            }
        }
        let wait = election.next_deadline().map_or(DEADLINE, |at| at.saturating_since(cluster.now()));
        let input = select! {
            changed = views.changed() => match changed {
                Ok(()) => Input::Electorate(electorate(&views.borrow_and_update())),
                Err(_) => return,
            },
            event = events.recv() => match event {
                Ok(Event::Message { from, payload }) => match Message::decode(&payload) {
                    Ok(message) => Input::Message { from, message },
                    Err(_) => continue,
                },
                Ok(Event::Suspected(member)) => Input::LeaderSuspected { leader: member.id },
                Ok(_) | Err(RecvError::Lagged(_)) => continue,
                Err(RecvError::Closed) => return,
            },
            () = sleep(wait.max(Duration::from_micros(1))) => Input::Tick,
        };
        election.handle(cluster.now(), input);
    }
}

async fn all_follow(leaders: &mut [watch::Receiver<Option<Uuid>>], expected: Uuid) {
    for leader in leaders {
        within("one leader", leader.wait_for(|leader| *leader == Some(expected))).await.expect("it goes on");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_members_elect_the_highest_and_the_next_when_it_is_gone() {
    let mut nodes = start_all(3).await;
    let run = |node: &Node| {
        let (sender, receiver) = watch::channel(None);
        tokio::spawn(elect(node.cluster.clone(), sender));
        receiver
    };
    let mut leaders: Vec<_> = nodes.iter().map(run).collect();
    all_follow(&mut leaders, nodes[2].id()).await;

    let gone = nodes.pop().expect("three were started");
    gone.cluster.stop().await;
    leaders.pop();
    all_follow(&mut leaders, nodes[1].id()).await;
}
