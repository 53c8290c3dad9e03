//! A worker of which one is elected: the leader does the work, the others wait for their turn. There is no store.
//!
//! In two or three terminals, from a clean checkout:
//!
//! ```sh
//! cargo run -p muster-cluster --example elected_worker -- 127.0.0.1:7101 1
//! cargo run -p muster-cluster --example elected_worker -- 127.0.0.1:7102 2 127.0.0.1:7101
//! cargo run -p muster-cluster --example elected_worker -- 127.0.0.1:7103 3 127.0.0.1:7101
//! ```
//!
//! Among those who ask at the same time the highest priority wins; who comes later leaves a leader that is well in peace, whatever its
//! priority. Kill the one that works and watch the highest of the others take over, in the next term.
//!
//! **This is no mutual exclusion.** In plain mode the election gives a *leader hint with a term*: while the network is cut in two, there is
//! a leader on each side, and for a moment after a leader stalls there may be an old one and a new one. When the sides meet, the leader
//! of the higher term stays. So give such a leader work that may be done twice, or let the receiver of the work refuse terms below the
//! highest that it has seen (a fencing token), which is why the term is shown. Who must never act twice needs a majority vote: see
//! `Mode::Voted`.

#![expect(clippy::print_stdout, reason = "a program for a terminal")]

use std::collections::BTreeSet;
use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use muster_cluster::election::{self, Election, Freshness, Message, Mode, Output};
use muster_cluster::runtime::{Cluster, Options, StampFile, View};
use muster_cluster::swim::{Config, Event};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{MissedTickBehavior, interval, sleep};
use uuid::Uuid;

/// Who may lead: those that take part in the membership now.
fn electorate(view: &View) -> BTreeSet<Uuid> {
    view.live().map(|member| member.id).collect()
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(at), Some(priority)) = (args.next(), args.next()) else {
        return Err("usage: elected_worker IP:PORT PRIORITY [SEED ...]".into());
    };
    let (at, priority): (SocketAddr, i32) = (at.parse()?, priority.parse()?);

    // The membership says who is there, and carries the election's messages.
    let id = Uuid::new_v4();
    // A new id at every start, so its stamp need not outlive it; a file of the process all the same, for two starts never share one.
    let stamps = StampFile::new(std::env::temp_dir().join(format!("muster-worker-{id}")));
    let mut options = Options::new(Config::local("workers"), id, at, stamps);
    options.seeds = args.collect();
    let (udp, tcp) = (UdpSocket::bind(at).await?, TcpListener::bind(at).await?);
    let (cluster, _) = Cluster::start(options, udp, tcp).await?;
    println!("{id} with priority {priority} at {at}");

    // The election decides among them. Its core has no clock and no socket either: this loop is its driver.
    let waits = election::Config::standard(Mode::Plain, id.as_u64_pair().1);
    let mut election = Election::new(id, waits)?;
    let (mut views, mut events) = (cluster.members(), cluster.events());
    let rank = election::Input::Rank { freshness: Freshness::default(), priority };
    election.handle(cluster.now(), rank);
    election.handle(cluster.now(), election::Input::Electorate(electorate(&views.borrow_and_update())));
    election.handle(cluster.now(), election::Input::Start);
    let mut work = interval(Duration::from_secs(1));
    work.set_missed_tick_behavior(MissedTickBehavior::Delay);

    loop {
        while let Some(output) = election.poll() {
            match output {
                // A message that is lost is sent again by the core; a member that has gone needs none.
                Output::Send { to, message } => drop(cluster.send_to(to, message.encode()).await),
                Output::LeaderChanged { leader: Some(leader), term } if leader == id => {
                    println!("term {term}: we lead");
                }
                Output::LeaderChanged { leader: Some(leader), term } => println!("term {term}: {leader} leads"),
                Output::LeaderChanged { leader: None, term } => println!("nobody leads since term {term}"),
                // These are for a vote of the program's own (`Mode::Voted`).
                Output::Campaign | Output::DropLease { .. } | Output::Transfer { .. } | Output::TransferRefused(_) => {}
            }
        }
        let far = cluster.now() + Duration::from_secs(60);
        let wait = election.next_deadline().unwrap_or(far).saturating_since(cluster.now());
        let input = tokio::select! {
            changed = views.changed() => match changed {
                Ok(()) => election::Input::Electorate(electorate(&views.borrow_and_update())),
                Err(_) => return Ok(()),
            },
            event = events.recv() => match event {
                Ok(Event::Message { from, payload }) => match Message::decode(&payload) {
                    Ok(message) => election::Input::Message { from, message },
                    Err(why) => {
                        println!("{from} sent what is no word of an election: {why}");
                        continue;
                    }
                },
                Ok(Event::Suspected(member)) => election::Input::LeaderSuspected { leader: member.id },
                Ok(_) | Err(RecvError::Lagged(_)) => continue,
                Err(RecvError::Closed) => return Ok(()),
            },
            _ = work.tick() => {
                if let Some((leader, term)) = election.leader().filter(|(leader, _)| *leader == id) {
                    do_the_work(leader, term);
                }
                continue;
            }
            // A deadline that has passed is served in the next turn of the loop, not in this one.
            () = sleep(wait.max(Duration::from_micros(1))) => election::Input::Tick,
        };
        election.handle(cluster.now(), input);
    }
}

/// The work: here a line. Where it matters, hand the term on, so that the receiver can refuse a leader of the past.
fn do_the_work(leader: Uuid, term: u64) {
    println!("term {term}: {leader} works");
}
