//! What a person may choose.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::cell::Cell;

/// Compare Muster with etcd and a bare actix handler under the same HTTP load.
#[derive(Debug, Parser)]
#[command(name = "versus")]
pub(crate) struct Options {
    /// Rounds; each measures every cell once on every system [default: 7, quick: 1]
    #[arg(long, env = "VERSUS_ROUNDS")]
    rounds: Option<usize>,

    /// Seconds that one measurement counts [default: 3, quick: 1]
    #[arg(long, env = "VERSUS_SECONDS")]
    seconds: Option<f64>,

    /// One short round, to see that everything works; its figures mean little
    #[arg(long)]
    pub(crate) quick: bool,

    /// What to measure
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Cell::ALL, env = "VERSUS_CELLS")]
    pub(crate) cells: Vec<Cell>,

    /// Whom to measure
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Who::Muster, Who::Etcd, Who::Bare])]
    pub(crate) systems: Vec<Who>,

    /// Which members the connections go to (`write-1-leader` always goes to the leader)
    #[arg(long, value_enum, default_value_t = Route::Spread, env = "VERSUS_ROUTE")]
    pub(crate) route: Route,

    /// The etcd program, 3.5 or later [default: on PATH]
    #[arg(long, env = "ETCD", value_name = "FILE")]
    pub(crate) etcd: Option<PathBuf>,

    /// Where the SVG files and the table go [default: docs/benchmarks; quick: nowhere]
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,

    /// Be the bare handler (the benchmark starts itself so)
    #[arg(long, hide = true, value_name = "ADDR")]
    pub(crate) serve_bare: Option<SocketAddr>,

    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

/// Who is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Who {
    /// Three nodes of Muster and their registry.
    Muster,
    /// Three members of etcd.
    Etcd,
    /// An actix handler that answers a constant.
    Bare,
}

/// Which members the connections go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Route {
    /// All of them evenly, as behind a load balancer.
    Spread,
    /// The leader only.
    Leader,
}

impl Options {
    /// Seven: a median with three on either side.
    pub(crate) fn rounds(&self) -> usize {
        self.rounds.unwrap_or(if self.quick { 1 } else { 7 }).max(1)
    }

    /// How long one measurement counts. 3 s are thirty of a hundredth, the grain of processor time, for the least busy server.
    pub(crate) fn measured(&self) -> Duration {
        let seconds = self.seconds.unwrap_or(if self.quick { 1.0 } else { 3.0 });
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::from_secs(3)).max(Duration::from_millis(100))
    }

    /// How long a measurement runs before it counts: a third of it.
    pub(crate) fn warm_up(&self) -> Duration {
        self.measured() / 3
    }

    /// The folder for pictures.
    pub(crate) fn out(&self) -> Option<PathBuf> {
        let published = || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/benchmarks"));
        self.out.clone().or_else(|| (!self.quick).then(published))
    }
}
