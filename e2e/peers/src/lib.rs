//! Members of other libraries that tell what they see as `gossip_agent` of `muster-e2e` does, so that all are measured by the same eye:
//! a line each to the standard output, microseconds since 1970, what, whom (by number), and a life (none here, 0).

#![expect(clippy::print_stdout, reason = "its lines are its purpose")]

use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Parser;

/// The protocol period of all libraries that are compared: the preset `lan` of ours, five times as fast.
pub const PERIOD: Duration = Duration::from_millis(200);

/// What the bench says to each member, whatever its library.
#[derive(Debug, Parser)]
pub struct Flags {
    /// Where it listens and is reached.
    #[arg(long)]
    pub bind: SocketAddr,
    /// Its number, from 0.
    #[arg(long)]
    pub number: usize,
    /// Where the others are.
    #[arg(long)]
    pub join: Vec<SocketAddr>,
    /// Where its stamp would be kept; these libraries have none.
    #[arg(long)]
    pub stamp: Option<String>,
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Writes a line.
pub fn tell(what: &str, whom: &str) {
    println!("{} {what} {whom} 0", now().as_micros());
}

/// Something that is higher at every start.
pub fn generation() -> u64 {
    u64::try_from(now().as_millis()).unwrap_or(u64::MAX)
}
