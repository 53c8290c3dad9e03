//! The one place that reads the servers' `ready` line.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// What a server says once it serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ready {
    /// Where clients are served.
    pub http: SocketAddr,
    /// Where peers are; a registry has none.
    pub peer: Option<SocketAddr>,
}

/// Reads a log line such as `[2026-11-20T22:00:00Z INFO  muster_node::startup] ready http=127.0.0.1:8050 peer=127.0.0.1:8051`;
/// `None` for every other line.
pub fn parse(line: &str) -> Option<Ready> {
    let message = line.split_once("] ").map_or(line, |(_, message)| message);
    let rest = message.strip_prefix("ready")?;
    if rest.starts_with(|c: char| c.is_alphanumeric()) {
        return None;
    }
    let named = |name: &str| {
        let mut words = rest.split([' ', ',']).filter_map(|word| word.strip_prefix(name));
        words.find_map(|word| word.trim_matches(['=', ':']).parse::<SocketAddr>().ok())
    };
    let mut any = rest.split([' ', ',', '=', ';']).filter_map(|word| word.parse::<SocketAddr>().ok());
    let http = named("http=").or_else(|| any.next())?;
    Some(Ready { http: reachable(http), peer: named("peer=").or_else(|| any.find(|at| *at != http)).map(reachable) })
}

/// A server that listens everywhere is reached at loopback.
fn reachable(at: SocketAddr) -> SocketAddr {
    match at.ip() {
        ip if !ip.is_unspecified() => at,
        IpAddr::V4(_) | IpAddr::V6(_) => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), at.port()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_both_servers_are_read_and_no_others() {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        let registry =
            "[2026-11-20T22:00:00Z INFO  muster_registry::startup] ready http=0.0.0.0:8080 data-dir=/x lease=5000ms";
        assert_eq!(parse(registry), Some(Ready { http: at("127.0.0.1:8080"), peer: None }));
        let node =
            "[2026-11-20T22:00:00Z INFO  muster_node::startup] ready http=127.0.0.2:8050 peer=127.0.0.2:8051 id=x";
        assert_eq!(parse(node), Some(Ready { http: at("127.0.0.2:8050"), peer: Some(at("127.0.0.2:8051")) }));
        let words = "[x INFO m] ready: n1 (id) serves clients on 127.0.0.1:8050, peers on 127.0.0.1:8051";
        assert_eq!(parse(words), Some(Ready { http: at("127.0.0.1:8050"), peer: Some(at("127.0.0.1:8051")) }));
        assert_eq!(parse("[x INFO m] readying 127.0.0.1:1"), None);
        assert_eq!(parse("[x INFO m] not ready http=127.0.0.1:1"), None);
    }
}
