//! `muster up`: a registry and some nodes on this machine, as child processes, to try things with.

mod layout;
mod process;
mod ready;

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

use crate::failure::{Failure, Status};
use crate::output::{self, Format};
use layout::{Layout, Place};
use process::{Child, Ended};

/// 3: the smallest cluster that goes on writing when a node fails.
const NODES: u8 = 3;
/// 15 nodes: more teach nothing on one machine.
const MOST_NODES: u8 = 15;
/// 10 s for a node to stop: it answers what is in flight and syncs its disk.
const STOP: Duration = Duration::from_secs(10);

/// Start a registry and some nodes on this machine, and stop them on ctrl-C
///
/// For trying things. The programs `muster-registry` and `muster-node` are taken from beside this one, or from PATH. They
/// listen on 127.0.0.1 only. Data and logs stay in DIR: the next `up` goes on with them.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  muster up
  muster up --nodes 5 --dir /tmp/five
  muster up --base-port 0 --registry-port 0     any free ports

Node n1 has the client port 8050 and the peer port 8051, n2 8052 and 8053, and so on.
A node that dies is reported, not restarted: kill one and see what the others do.")]
pub(crate) struct Up {
    /// How many nodes [default: as many as DIR holds, or 3, the fewest that go on when one fails]
    #[arg(long, value_name = "N", env = "MUSTER_NODES", value_parser = clap::value_parser!(u8).range(1..=MOST_NODES as i64))]
    nodes: Option<u8>,

    /// Where data and logs are kept
    #[arg(long, value_name = "DIR", env = "MUSTER_DIR", default_value = "muster-up")]
    dir: PathBuf,

    /// Client port of the first node, the others follow; a node's own default. 0 picks free ports anew at each start
    #[arg(long, value_name = "PORT", env = "MUSTER_BASE_PORT", default_value_t = 8050)]
    base_port: u16,

    /// Port of the registry; its own default. 0 picks a free one
    #[arg(long, value_name = "PORT", env = "MUSTER_REGISTRY_PORT", default_value_t = 8080)]
    registry_port: u16,
}

impl Up {
    pub(crate) async fn run(self, cluster: &str, format: Format) -> Result<(), Failure> {
        let held = layout::nodes_in(&self.dir);
        let nodes = self.nodes.unwrap_or(if held == 0 { NODES } else { held });
        if nodes < held {
            let dir = self.dir.display();
            let what = format!("{dir} holds {held} nodes; {nodes} of them could lack a majority");
            return Err(Failure::new(
                Status::Usage,
                format!("{what}\nStart all with --nodes {held}, or use another --dir."),
            ));
        }
        // Listening for signals before there is anything to stop: none may slip through.
        let mut stop = Stop::new()?;
        let layout = Layout::plan(&self.dir, nodes, self.base_port, self.registry_port, cluster)?;
        let mut children = Vec::new();
        let started = start(&layout, &mut children, &mut stop, format).await;
        let result = match started {
            Ok(true) => watch(&layout, &mut children, &mut stop).await,
            Ok(false) => Ok(()),
            Err(failure) => Err(failure),
        };
        if result.is_ok() {
            say(&format!("stopping; the data stays in {}", layout.dir.display()));
        }
        wind_down(children, &mut stop).await;
        result
    }
}

/// Ctrl-C or SIGTERM.
struct Stop {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Stop {
    fn new() -> io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Starts everyone and waits until all are ready; `false` when told to stop before.
async fn start(layout: &Layout, children: &mut Vec<Child>, stop: &mut Stop, format: Format) -> Result<bool, Failure> {
    for place in layout.places() {
        children.push(Child::start(place)?);
    }
    let show = format == Format::Table && io::stderr().is_terminal();
    let ready = tokio::select! {
        ready = ready::wait(layout, children, show) => ready?,
        () = stop.wait() => return Ok(false),
    };
    introduce(layout, children, ready, format)?;
    Ok(true)
}

/// Says where everyone is, and what to type next.
fn introduce(layout: &Layout, children: &[Child], took: Duration, format: Format) -> Result<(), Failure> {
    let processes: Vec<_> = layout.places().zip(children).collect();
    match format {
        Format::Json => {
            let shown: Vec<_> = processes.iter().map(|(place, child)| Shown::of(place, child)).collect();
            output::json(&serde_json::json!({ "processes": shown, "ready_ms": took.as_millis() as u64 }))?;
        }
        Format::Plain => processes.into_iter().try_for_each(|(place, child)| output::plain(row(place, child)))?,
        Format::Table => {
            let rows: Vec<_> =
                processes.iter().map(|(place, child)| row(place, child).map(output::Cell::from)).collect();
            output::table(["NAME", "ADDRESS", "PEER PORT", "PROCESS", "LOG"], &rows, true)?;
            output::line(&format!("\nReady after {:.1} s. {}", took.as_secs_f64(), what_next(layout)))?;
        }
    }
    Ok(())
}

/// A process, for programs.
#[derive(Serialize)]
struct Shown<'a> {
    name: &'a str,
    http: String,
    peer_port: Option<u16>,
    pid: u32,
    log: &'a Path,
}

impl<'a> Shown<'a> {
    fn of(place: &'a Place, child: &Child) -> Self {
        Self { name: &place.name, http: place.url(), peer_port: place.peer, pid: child.pid, log: &place.log }
    }
}

fn row(place: &Place, child: &Child) -> [String; 5] {
    let peer = place.peer.map_or("-".to_owned(), |port| port.to_string());
    [place.name.clone(), place.url(), peer, child.pid.to_string(), place.log.display().to_string()]
}

fn what_next(layout: &Layout) -> String {
    let endpoint = layout.nodes[0].url();
    let flag = if endpoint == "http://127.0.0.1:8050" { String::new() } else { format!(" --endpoint {endpoint}") };
    let other = layout.nodes.get(1).unwrap_or(&layout.nodes[0]).url();
    format!(
        "In another terminal, try:\n\n  muster put greeting hello{flag}\n  curl {other}/kv/greeting\n  muster status{flag}\n  \
         muster leader{flag}\n\nand kill the leader to see what happens. Ctrl-C stops all; the data stays in {}.",
        layout.dir.display()
    )
}

/// Reports whoever ends, until told to stop or nobody is left.
async fn watch(layout: &Layout, children: &mut [Child], stop: &mut Stop) -> Result<(), Failure> {
    loop {
        let ended = tokio::select! {
            ended = process::any_ended(children) => ended,
            () = stop.wait() => return Ok(()),
        };
        match ended {
            Some(Ended { name, how }) => {
                let place = layout.places().find(|place| place.name == name);
                let again = place.map(Place::command_line).unwrap_or_default();
                let log = place.map(|place| place.log.display().to_string()).unwrap_or_default();
                say(&format!("{name} ended ({how}); the others go on. Its log: {log}\n  to start it again: {again}"));
            }
            None => return Err(Failure::new(Status::Failed, "all processes have ended; see their logs")),
        }
    }
}

/// Nodes first and together, then the registry, so that nobody misses it.
async fn wind_down(mut children: Vec<Child>, stop: &mut Stop) {
    let nodes = children.split_off(1.min(children.len()));
    for group in [nodes, children] {
        group.iter().for_each(Child::terminate);
        let impatient = async {
            tokio::select! {
                () = tokio::time::sleep(STOP) => {}
                () = stop.wait() => {}
            }
        };
        process::all_ended(group, impatient).await;
    }
}

/// On standard error: what a script reads from standard output is complete with the introduction.
pub(super) fn say(text: &str) {
    // Nobody is left to tell when standard error is closed.
    let _ = writeln!(io::stderr(), "muster: {text}");
}
