//! A member and nothing else: for the measurements of gossip with real processes. It writes what it sees to its standard output, a line each:
//! microseconds since 1970, what, whom (by number), the stamp of the life that it is about.
#![expect(clippy::print_stdout, reason = "its lines are its purpose")]

use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Parser;
use muster_cluster::runtime::{Cluster, KeyFile, Options, RequestError, StampFile};
use muster_cluster::swim::{Event, MAX_BROADCAST, Member, wire};
use muster_e2e::gossip::Settings;
use tokio::net::{TcpListener, UdpSocket};
use uuid::Uuid;

/// A member that tells what it sees.
#[derive(Debug, Parser)]
struct Flags {
    /// Where it listens and is reached.
    #[arg(long)]
    bind: SocketAddr,
    /// Its number, from 0.
    #[arg(long)]
    number: u128,
    /// Where the others are.
    #[arg(long)]
    join: Vec<SocketAddr>,
    /// Where its stamp is kept.
    #[arg(long)]
    stamp: PathBuf,
    /// Without Lifeguard.
    #[arg(long)]
    plain: bool,
    /// A file with the keys that it seals with.
    #[arg(long)]
    keys_file: Option<PathBuf>,
    /// Says things of every length, fifty a second, and has the longest metadata.
    #[arg(long)]
    shouts: bool,
}

/// Broadcasts of every length up to the longest, in an order in which long and short ones meet.
async fn shout(cluster: Cluster) -> Result<(), RequestError> {
    let mut pace = tokio::time::interval(Duration::from_millis(20));
    for n in 0.. {
        pace.tick().await;
        cluster.broadcast(vec![b'x'; n * 97 % MAX_BROADCAST + 1]).await?;
    }
    Ok(())
}

fn tell(what: &str, member: Option<&Member>) {
    let micros = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
    let (whom, life) = member.map_or((0, 0), |member| (member.id.as_u128() - 1, member.incarnation.to_bits()));
    println!("{micros} {what} {whom} {life}");
}

// One thread: an agent of a real program has no more for this.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let flags = Flags::parse();
    let settings = if flags.plain { Settings::Plain } else { Settings::Lifeguard };
    let id = Uuid::from_u128(flags.number + 1);
    let mut options = Options::new(settings.config(), id, flags.bind, StampFile::new(flags.stamp));
    options.seeds = flags.join.iter().map(ToString::to_string).collect();
    if let Some(path) = flags.keys_file {
        options.keys = KeyFile::new(path).read()?;
    }
    if flags.shouts {
        options.metadata = vec![b'm'; wire::MAX_METADATA].into();
    }
    let (udp, tcp) = (UdpSocket::bind(flags.bind).await?, TcpListener::bind(flags.bind).await?);
    let (cluster, _) = Cluster::start(options, udp, tcp).await?;
    tell("ready", None);
    let mut events = cluster.events();
    if flags.shouts {
        tokio::spawn(shout(cluster.clone()));
    }
    loop {
        match events.recv().await? {
            Event::Joined(member) => tell("joined", Some(&member)),
            Event::Suspected(member) => tell("suspected", Some(&member)),
            Event::Refuted(member) => tell("refuted", Some(&member)),
            Event::Failed(member) => tell("failed", Some(&member)),
            Event::Broadcast { .. } => tell("heard", None),
            _ => {}
        }
    }
}
