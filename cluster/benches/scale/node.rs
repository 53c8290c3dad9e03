//! A real process among a thousand members on real sockets: what the membership takes of its memory and of a core.
//!
//! The others are production cores as well (`peers`). The process that is measured is this program again, with one member and the
//! production driver.

use std::io;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use muster_cluster::runtime::{Cluster, Options as Member, StampStore};
use muster_cluster::swim::{Config, Stamp};
use tokio::net::{TcpListener, UdpSocket};
use tokio::runtime::Builder;
use tokio::task::LocalSet;
use tokio::time::sleep;
use uuid::Uuid;

use crate::options::Options;
use crate::peers::Peers;
use crate::report::{Section, one, two};

const MEMBERS: usize = 1_000;

const MEMORY: f64 = 20.0;

/// Names the seed of the one process that is measured.
const SEED: &str = "MUSTER_SCALE_SEED";

/// What the measured process had of a core, over this long.
const WATCHED: Duration = Duration::from_secs(60);

/// From when all know of all until watching begins.
const QUIET: Duration = Duration::from_secs(30);

/// Until all know of all, at most.
const PATIENCE: Duration = Duration::from_secs(60);

/// Clock ticks of `/proc`, on every Linux that Rust knows.
const TICKS: f64 = 100.0;

/// Nothing here starts twice.
struct NoDisk;

impl StampStore for NoDisk {
    fn load(&mut self) -> io::Result<Stamp> {
        Ok(Stamp::ZERO)
    }

    fn store(&mut self, _: Stamp) -> io::Result<()> {
        Ok(())
    }
}

/// The seed, in the process that is measured.
pub(crate) fn asked_for() -> Option<String> {
    std::env::var(SEED).ok()
}

async fn start(address: SocketAddr, seeds: Vec<String>) -> Cluster {
    let (udp, tcp) = (UdpSocket::bind(address).await.expect("free"), TcpListener::bind(address).await.expect("free"));
    let mut member = Member::new(Config::lan("scale"), Uuid::new_v4(), address, NoDisk);
    member.seeds = seeds;
    member.metadata = "thirty-two bytes of description!".into();
    Cluster::start(member, udp, tcp).await.expect("it starts").0
}

/// The process that is measured: one member, until it is ended.
pub(crate) fn live(seed: String) {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("threads");
    runtime.block_on(async {
        let cluster = start(SocketAddr::from(([127, 0, 0, 1], 17_000)), vec![seed]).await;
        // As a program does that looks at the view now and then.
        loop {
            sleep(Duration::from_secs(1)).await;
            println!("{}", cluster.view().members.len());
        }
    });
}

/// Ended when it is dropped.
struct Measured(Child);

impl Measured {
    fn start(seed: SocketAddr) -> Self {
        let program = std::env::current_exe().expect("this program has a file");
        let child = Command::new(program).env(SEED, seed.to_string()).stdout(Stdio::piped()).spawn();
        Self(child.expect("it starts"))
    }

    fn read(&self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.0.id())).expect("it runs")
    }

    /// In MiB.
    fn resident(&self) -> f64 {
        let status = self.read("status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux says so");
        line.trim().trim_end_matches(" kB").parse::<f64>().expect("a number") / 1_024.0
    }

    /// In seconds.
    fn processor(&self) -> f64 {
        let stat = self.read("stat");
        let behind = stat.rsplit(')').next().expect("a name in brackets");
        // User and system, the 14th and 15th field.
        let ticks = behind.split_whitespace().skip(11).take(2).map(|field| field.parse::<f64>().expect("a number"));
        ticks.sum::<f64>() / TICKS
    }
}

impl Measured {
    /// Ends it; how many members it saw last.
    fn end(mut self) -> usize {
        let _ = self.0.kill();
        let mut said = String::new();
        let output = self.0.stdout.take().expect("it is piped");
        io::Read::read_to_string(&mut { output }, &mut said).expect("it says numbers");
        said.lines().last().and_then(|line| line.parse().ok()).unwrap_or_default()
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What was seen of one process.
struct Seen {
    resident: f64,
    share: f64,
    datagrams: f64,
    /// How many members the one sees that sees fewest.
    least: usize,
}

async fn watch(others: &Peers, watched: Duration) -> Seen {
    let measured = Measured::start(others.address(0));
    let begin = Instant::now();
    while others.least_seen() <= others.len() {
        assert!(begin.elapsed() < PATIENCE, "they do not all see it: some see {}", others.least_seen());
        sleep(Duration::from_millis(500)).await;
    }
    // News go on for a while after all have them.
    sleep(QUIET).await;
    let (before, sent) = (measured.processor(), others.sent());
    sleep(watched).await;
    let datagrams = (others.sent() - sent) as f64 / watched.as_secs_f64() / others.len() as f64;
    let share = (measured.processor() - before) / watched.as_secs_f64();
    let resident = measured.resident();
    Seen { resident, share, datagrams, least: others.least_seen().min(measured.end()) }
}

pub(crate) fn measure(options: &Options) -> Section {
    let members = if options.quick { 100 } else { MEMBERS };
    let watched = if options.quick { WATCHED / 6 } else { WATCHED };
    let mut section = Section::new("A real process among 1,000 members");
    section.note(
        "Preset `lan`, UDP and TCP on loopback. One process is measured: one member, its driver, one worker thread, the view that a program reads, and \
         nothing else. All others are production cores in a second process, each with sockets of its own, on one thread. Memory is what the kernel says is \
         resident, the processor's share that of user and system over a minute in which nothing happens, begun half a minute after all see all.",
    );
    let runtime = Builder::new_current_thread().enable_all().build().expect("a thread");
    let [few, many] = [3, members].map(|members| {
        LocalSet::new().block_on(&runtime, async {
            let others = Peers::start(members - 1).await;
            watch(&others, watched).await
        })
    });
    let row = |members: usize, seen: &Seen| {
        let share = format!("{:.2} %", seen.share * 100.0);
        vec![members.to_string(), one(seen.resident), share, two(seen.datagrams), seen.least.to_string()]
    };
    section.table(
        &[
            "members",
            "resident, MiB",
            "of a core",
            "datagrams that each other member sent a second",
            "live in every view",
        ],
        &[row(3, &few), row(members, &many)],
    );
    let memory = many.resident - few.resident;
    section.goal(memory < MEMORY, format!("under 20 MiB for membership: {} MiB more than among 3", two(memory)));
    section.goal(many.share < 0.01, format!("under 1 % of a core: {:.2} %", many.share * 100.0));
    section
}
