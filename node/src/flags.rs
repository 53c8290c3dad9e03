//! What a user may set: flags over `MUSTER_*` over a TOML file (see [`muster_client::flags`]).

use std::ffi::OsString;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use clap::Parser;
use muster_client::api::quantity::Size;

/// The Muster server: keeps a copy of the data and serves it over HTTP.
#[derive(Parser, Debug, Clone)]
#[command(name = "muster-node", version)]
pub struct Flags {
    /// Address and port for clients; port 0 picks a free one. 8050 as the default keeps clear of the registry's 8080 and
    /// the peer port 8051.
    #[arg(long, env = "MUSTER_HTTP", value_name = "ADDR", default_value = "0.0.0.0:8050", value_parser = address)]
    pub http: SocketAddr,

    /// What people call this node: 1 to 64 bytes of printable text. The host's name by default, since that is how people
    /// tell machines apart.
    #[arg(long, env = "MUSTER_NAME", default_value_t = host_name(), value_parser = name)]
    pub name: String,

    /// Largest value that may be put, up to 16MiB. 1MiB by default: every value is held in memory a few times on its way
    /// through the cluster, and larger things belong in a file store.
    #[arg(long, env = "MUSTER_MAX_VALUE_SIZE", value_name = "SIZE", default_value = "1MiB", value_parser = value_size)]
    pub max_value_size: Size,

    /// A TOML file with any of these flags by their long names.
    #[arg(long, env = "MUSTER_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// 16 MiB: a value travels in one log entry, and an entry must fit one frame between peers.
pub const LARGEST_VALUE: u64 = 16 << 20;
/// 64: fits a column on a screen and the DNS's longest label.
pub const LONGEST_NAME: usize = 64;

/// Parses this process's flags; exits with status 2 when they make no sense.
pub fn parse() -> Flags {
    try_parse(std::env::args_os()).unwrap_or_else(|error| error.exit())
}

/// [`parse`] over given arguments, returning the error.
pub fn try_parse(args: impl IntoIterator<Item = OsString>) -> Result<Flags, clap::Error> {
    muster_client::flags::try_parse(args)
}

fn address(text: &str) -> Result<SocketAddr, String> {
    let found = text.to_socket_addrs().map_err(|error| format!("{error}; write host:port, such as 127.0.0.1:8050"))?;
    found.into_iter().next().ok_or_else(|| "the name has no address".to_owned())
}

fn name(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > LONGEST_NAME {
        return Err(format!("a name has 1 to {LONGEST_NAME} bytes, this has {}", text.len()));
    }
    if text.chars().any(char::is_control) {
        return Err("a name is printable text, without line breaks or other control characters".to_owned());
    }
    Ok(text.to_owned())
}

fn value_size(text: &str) -> Result<Size, String> {
    let size: Size = text.parse().map_err(|error| format!("{error}"))?;
    match size.0 {
        1..=LARGEST_VALUE => Ok(size),
        _ => Err(format!("must be between 1B and {}", Size(LARGEST_VALUE))),
    }
}

/// The kernel's word for this host, made fit to be a name.
fn host_name() -> String {
    let told = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let mut fit: String = told.trim().chars().filter(|c| !c.is_control()).collect();
    while fit.len() > LONGEST_NAME {
        fit.pop();
    }
    if fit.is_empty() { "node".to_owned() } else { fit }
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
        assert_eq!(flags.max_value_size, Size(1 << 20));
        assert!(!flags.name.is_empty());
    }

    #[test]
    fn what_cannot_work_is_refused_with_its_reason() {
        assert!(run(&["--max-value-size", "17MiB"]).unwrap_err().contains("16MiB"));
        assert!(run(&["--max-value-size", "0"]).unwrap_err().contains("16MiB"));
        assert!(run(&["--max-value-size", "1MB"]).unwrap_err().contains("not a size"));
        assert!(run(&["--name", ""]).unwrap_err().contains("1 to 64 bytes"));
        assert!(run(&["--name", &"n".repeat(65)]).unwrap_err().contains("1 to 64 bytes"));
        assert!(run(&["--name", "a\nb"]).unwrap_err().contains("printable"));
        assert!(run(&["--http", "8050"]).unwrap_err().contains("host:port"));
    }
}
