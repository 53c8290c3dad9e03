//! The registry's flags.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use muster_client::api::quantity::Span;

/// The service through which the nodes of a Muster cluster find each other.
///
/// Nodes register here and renew a lease; a node that starts is told where the others are, and the first nodes of a
/// new cluster are told which of them founds it. The registry holds no data of the clusters: when it is gone they
/// run on, and nodes restart from what they remember.
///
/// Every flag can also be set in the environment (MUSTER_HTTP for --http) or in a TOML file (http = "..."). A flag
/// beats the environment, and the environment beats the file. RUST_LOG sets the log level, info by default.
#[derive(Parser, Debug, Clone, PartialEq, Eq)]
#[command(name = "muster-registry", version, max_term_width = 100)]
pub struct Flags {
    /// Where to listen, as IP:PORT.
    ///
    /// The default listens on every IPv4 interface; the IPv6 wildcard listens on every IPv6 interface and, on Linux, on the IPv4 ones
    /// too. Port 0 picks a free port and keeps it in the data directory for the next start.
    #[arg(long, value_name = "ADDR", env = "MUSTER_HTTP", default_value = "0.0.0.0:8080")]
    pub http: SocketAddr,

    /// The directory for what must not be forgotten: the nodes, and who founded which cluster.
    ///
    /// It is created if there is none, and one registry at a time may use it. Losing it is no disaster while nodes
    /// run, since the registry learns anew from them what is there.
    #[arg(long, value_name = "DIR", env = "MUSTER_DATA_DIR", default_value = "./muster-registry")]
    pub data_dir: PathBuf,

    /// How long a node that is not heard from is remembered; nodes renew at a third of it, or sooner where there are few.
    ///
    /// Between 300ms and 24h. A longer lease means fewer requests; a shorter one means that newcomers are not sent to the
    /// dead, and that the founding passes on sooner when the node it was offered to dies.
    #[arg(long, value_name = "DURATION", env = "MUSTER_LEASE", default_value = "5s", value_parser = lease)]
    pub lease: Duration,

    /// A TOML file with any of these flags.
    #[arg(long, value_name = "FILE", env = "MUSTER_CONFIG")]
    pub config: Option<PathBuf>,
}

/// 300 ms: below it a renewal every 100 ms would be late by ordinary scheduling. 24 h: beyond it nothing is ever forgotten.
fn lease(text: &str) -> Result<Duration, String> {
    let Span(lease) = text.parse::<Span>().map_err(|error| error.to_string())?;
    if (Duration::from_millis(300)..=Duration::from_secs(24 * 3600)).contains(&lease) {
        Ok(lease)
    } else {
        Err("a lease is between 300ms and 24h".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(args: &[&str]) -> Result<Flags, clap::Error> {
        muster_client::flags::try_parse(std::iter::once("muster-registry").chain(args.iter().copied()).map(Into::into))
    }

    #[test]
    fn the_flags_are_consistent_and_the_defaults_the_documented_ones() {
        Flags::command().debug_assert();
        let flags = parse(&[]).unwrap();
        assert_eq!(flags.http, "0.0.0.0:8080".parse().unwrap());
        assert_eq!(flags.data_dir, PathBuf::from("./muster-registry"));
        assert_eq!(flags.lease, Duration::from_secs(5));
    }

    #[test]
    fn what_cannot_work_is_refused() {
        for args in [["--lease", "299ms"], ["--lease", "25h"], ["--lease", "5"], ["--http", "8080"], ["--http", "h:1"]]
        {
            assert_eq!(parse(&args).unwrap_err().exit_code(), 2, "{args:?}");
        }
    }

    #[test]
    fn the_reference_names_every_flag_and_no_other() {
        let text = include_str!("../../docs/reference.md");
        let part = text.split("\n## ").find(|part| part.starts_with("muster-registry\n")).unwrap();
        let rows = part.lines().filter_map(|line| line.strip_prefix("| `--")?.split(['`', ' ']).next());
        let named: Vec<&str> = rows.collect();
        let command = Flags::command();
        let known: Vec<&str> = command.get_arguments().filter_map(|arg| arg.get_long()).collect();
        assert_eq!(named, known);
    }
}
