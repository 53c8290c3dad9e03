//! What a user may set: flags over `MUSTER_*` over a TOML file (see [`muster_client::flags`]).
//!
//! Each value is checked where it is read (`value`); here stand the flags, and what must hold between them.

mod value;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};
use muster_client::api::quantity::{Size, Span};
use muster_client::flags::count;

use crate::recovery::Recover;
use crate::replication::settings;

pub use value::{LARGEST_VALUE, LONGEST_NAME};

/// The Muster server: keeps a copy of the data, replicates it with its peers, and serves it over HTTP.
///
/// Every flag can also be set in the environment (MUSTER_ and the flag in capitals) or in a TOML file (--config); a flag
/// beats the environment, which beats the file. RUST_LOG sets the log level.
#[derive(Parser, Debug, Clone)]
#[command(name = "muster-node", version)]
pub struct Flags {
    /// A registry to find peers through, such as http://127.0.0.1:8080; give it again for each further one. `-ra` is the
    /// same. None by default: a registry is a help, not a need.
    #[arg(short = 'r', long, env = "MUSTER_REGISTRY_ADDRESS", value_name = "URL", value_delimiter = ',',
          value_parser = value::url)]
    pub registry_address: Vec<String>,

    /// A peer's peer port, to start without a registry; may be given again. None by default: with neither this nor a
    /// registry, and no cluster in the data dir, the node founds a cluster of its own.
    #[arg(long, env = "MUSTER_JOIN", value_name = "HOST:PORT", value_delimiter = ',', value_parser = value::host_port)]
    pub join: Vec<String>,

    /// The cluster's name; clusters of another name are never joined. `muster` by default, since most have one.
    #[arg(long, env = "MUSTER_CLUSTER", value_name = "NAME", default_value = "muster", value_parser = value::name)]
    pub cluster: String,

    /// What people call this node: 1 to 64 bytes of printable text. The host's name by default, since that is how people
    /// tell machines apart; the identity is a UUID kept in the data dir.
    #[arg(long, env = "MUSTER_NAME", default_value_t = value::host_name(), value_parser = value::name)]
    pub name: String,

    /// Where clients connect. All addresses by default, so that containers and other hosts reach it; port 0 picks a free
    /// port and keeps it in the data dir.
    #[arg(long, env = "MUSTER_HTTP", value_name = "ADDR", default_value = "0.0.0.0:8050", value_parser = value::address)]
    pub http: SocketAddr,

    /// Where peers connect: gossip on UDP, streams on TCP. The port above the clients' by default; port 0 as with --http.
    #[arg(long, env = "MUSTER_PEER", value_name = "ADDR", default_value = "0.0.0.0:8051", value_parser = value::address)]
    pub peer: SocketAddr,

    /// The host that others reach this node under. By default the address that the registry saw it come from, or the
    /// one it is bound to: right everywhere but behind proxies and gateways.
    #[arg(long, env = "MUSTER_ADVERTISE", value_name = "HOST", value_parser = value::host)]
    pub advertise: Option<String>,

    /// The cluster's keys, one to a line (`muster keys generate` makes one); with them, peers prove to be members and all
    /// between them is sealed. None by default: a first try needs none, on a network of its own. The node rewrites the
    /// file when `muster keys` changes the ring. See docs/security.md.
    #[arg(long, env = "MUSTER_KEYS_FILE", value_name = "FILE")]
    pub keys_file: Option<PathBuf>,

    /// Where the data, the identity and the known peers are kept; one node for each. Under the current directory by
    /// default, so that a first try needs no rights and leaves nothing elsewhere.
    #[arg(long, env = "MUSTER_DATA_DIR", value_name = "DIR", default_value = "./muster-data", global = true)]
    pub data_dir: PathBuf,

    /// Among equally fresh logs the highest (priority, id) leads. 0 by default: all alike.
    #[arg(long, env = "MUSTER_PRIORITY", value_name = "N", default_value_t = 0, allow_negative_numbers = true)]
    pub priority: i32,

    /// How many members vote; the others follow. 5 by default: two may fail, and more voters make every write wait for
    /// more disks. Only seeds the replicated configuration of a new cluster; change it later with `muster config`.
    #[arg(long, env = "MUSTER_VOTERS", value_name = "N", default_value = "5", value_parser = count::<NonZeroU32>)]
    pub voters: NonZeroU32,

    /// How long a voter is dead before a learner takes its place, at least 1s. 5m by default: longer than a reboot or an
    /// upgrade, so that those move no data. Only seeds the replicated configuration, like --voters.
    #[arg(long, env = "MUSTER_REPLACE_AFTER", value_name = "DURATION", default_value = "5m",
          value_parser = settings::parse_replace_after)]
    pub replace_after: Span,

    /// Found the cluster only when so many nodes have registered. 1 by default: a first node is of use at once.
    #[arg(long, env = "MUSTER_BOOTSTRAP_EXPECT", value_name = "N", default_value = "1",
          value_parser = count::<NonZeroU32>)]
    pub bootstrap_expect: NonZeroU32,

    /// How often the leader tells the others that it is there. 50ms by default: six chances within the election timeout
    /// at a cost of 20 small packets a second for each peer.
    #[arg(long, env = "MUSTER_HEARTBEAT", value_name = "DURATION", default_value = "50ms")]
    pub heartbeat: Span,

    /// How long a leader is silent before the others look for a new one; at least three heartbeats. 300ms by default:
    /// half a second from a leader's death to the next write, and far above a local network's round trip. Raise both
    /// between sites.
    #[arg(long, env = "MUSTER_ELECTION_TIMEOUT", value_name = "DURATION", default_value = "300ms")]
    pub election_timeout: Span,

    /// Largest value that may be put, up to 16MiB. 1MiB by default: a value is held in memory several times on its way
    /// through the cluster, and larger things belong in a file store.
    #[arg(long, env = "MUSTER_MAX_VALUE_SIZE", value_name = "SIZE", default_value = "1MiB",
          value_parser = value::value_size)]
    pub max_value_size: Size,

    /// Cache of the state engine, at least 1MiB. 64MiB by default: the working set of a small cluster, on a small machine.
    #[arg(long, env = "MUSTER_CACHE_SIZE", value_name = "SIZE", default_value = "64MiB", value_parser = value::mebibyte)]
    pub cache_size: Size,

    /// How much log is written before a snapshot is due, at least 1MiB and one value. 64MiB by default: replaying that
    /// much after a crash takes about a second.
    #[arg(long, env = "MUSTER_SNAPSHOT_EVERY", value_name = "SIZE", default_value = "64MiB",
          value_parser = value::mebibyte)]
    pub snapshot_every: Size,

    /// How much log behind the last snapshot is kept for slow followers, at least 1MiB. 64MiB by default: a follower that
    /// was away for a minute of brisk writing catches up from the log instead of a whole snapshot.
    #[arg(long, env = "MUSTER_LOG_KEEP", value_name = "SIZE", default_value = "64MiB", value_parser = value::mebibyte)]
    pub log_keep: Size,

    /// A TOML file with any of these flags by their long names.
    #[arg(long, env = "MUSTER_CONFIG", value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,

    /// What to do instead of serving.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What there is to do with a data dir beside serving it.
#[derive(Subcommand, Debug, Clone)]
pub enum Command {
    /// Goes on from one disk when those of a majority of the voters are gone for good. Writes may be lost: look first
    ///
    /// For the data dir of a node that is stopped. Without --confirm nothing is changed: it shows what the disk holds, so
    /// that survivors can be compared, and what would be lost. With it the node becomes the only voter of a new cluster
    /// that keeps all the data of this disk; old disks have no part in that one. Read docs/recovery.md.
    Recover(Recover),
}

/// Parses this process's flags; exits with status 2 when they make no sense.
pub fn parse() -> Flags {
    try_parse(std::env::args_os()).unwrap_or_else(|error| error.exit())
}

/// [`parse`] over given arguments, returning the error.
pub fn try_parse(args: impl IntoIterator<Item = OsString>) -> Result<Flags, clap::Error> {
    let flags: Flags = muster_client::flags::try_parse(args.into_iter().map(spell_out))?;
    match flags.contradiction() {
        None => Ok(flags),
        Some(why) => Err(Flags::command().error(ErrorKind::ValueValidation, why)),
    }
}

/// `-ra` and `-ra=URL`, as the first documents wrote them, would be read as `-r a` and `-r a=URL`.
fn spell_out(arg: OsString) -> OsString {
    match arg.to_str() {
        Some("-ra") => "--registry-address".into(),
        Some(text) => match text.strip_prefix("-ra=") {
            Some(url) => format!("--registry-address={url}").into(),
            None => arg,
        },
        None => arg,
    }
}

impl Flags {
    /// What cannot work together, and why.
    fn contradiction(&self) -> Option<String> {
        let Self { heartbeat, election_timeout, max_value_size, snapshot_every, http, peer, .. } = self;
        if heartbeat.0.is_zero() {
            return Some("--heartbeat 0s would send without a pause; 50ms is usual".to_owned());
        }
        if election_timeout.0 < heartbeat.0.saturating_mul(3) {
            return Some(format!(
                "--election-timeout {election_timeout} is less than three times --heartbeat {heartbeat}: one or two lost \
                 packets would depose a healthy leader; raise the one or lower the other"
            ));
        }
        if snapshot_every < max_value_size {
            return Some(format!(
                "--snapshot-every {snapshot_every} is less than --max-value-size {max_value_size}: every write could ask \
                 for a snapshot; raise the one or lower the other"
            ));
        }
        let same_host = http.ip() == peer.ip() || http.ip().is_unspecified() || peer.ip().is_unspecified();
        if http.port() != 0 && http.port() == peer.port() && same_host {
            return Some(format!(
                "--http {http} and --peer {peer} are the same TCP port; choose another for one of them"
            ));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(args: &[&str]) -> Result<Flags, String> {
        let args = std::iter::once(&"muster-node").chain(args).map(OsString::from);
        try_parse(args).map_err(|error| error.to_string())
    }

    #[test]
    fn the_defaults_are_the_documented_ones() {
        let flags = run(&[]).unwrap();
        assert_eq!(flags.http, "0.0.0.0:8050".parse().unwrap());
        assert_eq!(flags.peer, "0.0.0.0:8051".parse().unwrap());
        assert_eq!(flags.cluster, "muster");
        assert_eq!(flags.data_dir, PathBuf::from("./muster-data"));
        assert_eq!((flags.voters.get(), flags.bootstrap_expect.get(), flags.priority), (5, 1, 0));
        assert_eq!(flags.replace_after.to_string(), "5m");
        assert_eq!((flags.heartbeat.to_string(), flags.election_timeout.to_string()), ("50ms".into(), "300ms".into()));
        assert_eq!((flags.max_value_size.0, flags.cache_size.0), (1 << 20, 64 << 20));
        assert!(!flags.name.is_empty() && flags.registry_address.is_empty() && flags.join.is_empty());
    }

    #[test]
    fn the_registry_may_be_written_in_every_documented_way() {
        for args in [&["-ra", "http://a:1"][..], &["-ra=http://a:1"], &["-r", "http://a:1"], &["-r=http://a:1"]] {
            assert_eq!(run(args).unwrap().registry_address, ["http://a:1"], "{args:?}");
        }
        let two = run(&["--registry-address", "http://a:1", "-ra", "http://b:2/"]).unwrap();
        assert_eq!(two.registry_address, ["http://a:1", "http://b:2"]);
    }

    #[test]
    fn what_cannot_work_is_refused_with_its_reason() {
        let cases: &[(&[&str], &str)] = &[
            (&["--max-value-size", "17MiB"], "16MiB"),
            (&["--max-value-size", "0"], "16MiB"),
            (&["--max-value-size", "1MB"], "not a size"),
            (&["--cache-size", "1KiB"], "at least 1MiB"),
            (&["-r", "https://a:1"], "http only"),
            (&["-r", "a:1"], "http://host:port"),
            (&["--name", ""], "1 to 64 bytes"),
            (&["--name", &"n".repeat(65)], "1 to 64 bytes"),
            (&["--name", "a\nb"], "printable"),
            (&["--cluster", ""], "1 to 64 bytes"),
            (&["--http", "8050"], "host:port"),
            (&["--http", "127.0.0.1:8051", "--peer", "0.0.0.0:8051"], "same TCP port"),
            (&["--join", "somewhere"], "host:port"),
            (&["--join", "a:0"], "host:port"),
            (&["-ra", "registry:8080"], "http://"),
            (&["-ra", "ftp://registry"], "http://"),
            (&["-ra", "http://"], "http://"),
            (&["--advertise", "0.0.0.0"], "others can reach"),
            (&["--advertise", "host:80"], "without a port"),
            (&["--voters", "0"], "a whole number from 1"),
            (&["--replace-after", "0s"], "at least 1s"),
            (&["--replace-after", "999ms"], "at least 1s"),
            (&["--bootstrap-expect", "0"], "a whole number from 1"),
            (&["--priority", "x"], "--priority"),
            (&["--heartbeat", "0s"], "without a pause"),
            (&["--heartbeat", "5"], "not a duration"),
            (&["--election-timeout", "149ms"], "depose a healthy leader"),
            (&["--max-value-size", "16MiB", "--snapshot-every", "8MiB"], "raise the one"),
        ];
        for (args, why) in cases {
            let refused = run(args).unwrap_err();
            assert!(refused.contains(why), "{args:?}: {refused}");
        }
    }

    #[test]
    fn what_is_unusual_but_can_work_is_taken() {
        for args in [
            &["--heartbeat", "50ms", "--election-timeout", "150ms"][..],
            &["--http", "[::1]:0", "--peer", "[::1]:0"],
            &["--http", "localhost:8050"],
            &["--priority", "-3"],
            &["--join", "[::1]:8051", "--join", "n2.example:8051"],
            &["--advertise", "fe80::1"],
            &["--replace-after", "1s"],
        ] {
            run(args).unwrap_or_else(|error| panic!("{args:?}: {error}"));
        }
    }

    #[test]
    fn every_help_says_what_the_default_is_good_for() {
        let command = Flags::command();
        for arg in command.get_arguments().filter(|arg| !["config", "help", "version"].contains(&arg.get_id().as_str()))
        {
            let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.to_lowercase().contains("by default"), "{}: {help}", arg.get_id());
            assert!(arg.get_env().is_some(), "{} cannot come from the environment", arg.get_id());
        }
    }

    #[test]
    fn the_help_of_a_recovery_is_as_it_was_reviewed() {
        let mut command = Flags::command().term_width(100);
        command.build();
        let recover = command.find_subcommand_mut("recover").unwrap();
        let help = recover.render_long_help().to_string();
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/help/recover.txt");
        if std::env::var_os("UPDATE").is_some() {
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(&file, &help).unwrap();
        }
        let reviewed = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(help == reviewed, "differs from {}; UPDATE=1 rewrites it:\n{help}", file.display());
    }

    #[test]
    fn a_recovery_takes_the_data_dir_on_either_side_and_its_word_from_the_command_line_alone() {
        for args in [&["--data-dir", "/d", "recover"][..], &["recover", "--data-dir", "/d"]] {
            let flags = run(args).unwrap();
            assert_eq!(flags.data_dir, PathBuf::from("/d"), "{args:?}");
            assert!(matches!(flags.command, Some(Command::Recover(Recover { confirm: None, .. }))), "{args:?}");
        }
        assert!(run(&["recover", "--confirm", "yes"]).unwrap_err().contains("--confirm"));
        let command = Flags::command();
        let recover = command.find_subcommand("recover").unwrap();
        for name in ["confirm", "even_if_reached"] {
            let arg = recover.get_arguments().find(|arg| arg.get_id() == name).unwrap();
            assert!(arg.get_env().is_none(), "{name} is left lying about in an environment");
        }
    }

    #[test]
    fn the_reference_names_every_flag_and_no_other() {
        let text = include_str!("../../../docs/reference.md");
        let part = text.split("\n## ").find(|part| part.starts_with("muster-node\n")).unwrap();
        let rows = part.lines().filter_map(|line| line.strip_prefix("| `--")?.split(['`', ' ']).next());
        let named: Vec<&str> = rows.collect();
        let command = Flags::command();
        let known: Vec<&str> = command.get_arguments().filter_map(|arg| arg.get_long()).collect();
        assert_eq!(named, known);
    }
}
