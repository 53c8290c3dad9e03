//! Single values of flags: read, checked, and refused in words that say what to write instead.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

use muster_client::api::quantity::Size;

/// 16 MiB: a value travels in one log entry, and an entry must fit one frame between peers.
pub const LARGEST_VALUE: u64 = 16 << 20;
/// 64: fits a column on a screen and the DNS's longest label.
pub const LONGEST_NAME: usize = 64;

/// An address to bind; a name is resolved now, since it must be this machine's.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    let found = text.to_socket_addrs().map_err(|error| format!("{error}; write host:port, such as 127.0.0.1:8050"))?;
    found.into_iter().next().ok_or_else(|| "the name has no address; write host:port".to_owned())
}

/// A peer's address. Not resolved: names are resolved afresh whenever they are used.
pub(super) fn host_port(text: &str) -> Result<String, String> {
    let parts = text.rsplit_once(':');
    match parts.map(|(host, port)| (host, port.parse::<u16>())) {
        Some((host, Ok(1..))) if is_host(host) => Ok(text.to_owned()),
        _ => Err("write host:port, such as 10.0.0.7:8051 or [::1]:8051".to_owned()),
    }
}

/// A registry, without the slash behind it.
pub(super) fn url(text: &str) -> Result<String, String> {
    if text.starts_with("https://") {
        return Err("registries are spoken to by http only; write http://host:port".to_owned());
    }
    match text.strip_prefix("http://").map(|rest| rest.trim_end_matches('/')) {
        Some(host) if !host.is_empty() && !host.contains(['/', '?', '#', '@', ' ']) => {
            Ok(text.trim_end_matches('/').to_owned())
        }
        _ => Err("write http://host:port, such as http://127.0.0.1:8080".to_owned()),
    }
}

/// A host to be reached under.
pub(super) fn host(text: &str) -> Result<String, String> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    match bare.parse::<IpAddr>() {
        Ok(ip) if ip.is_unspecified() || ip.is_multicast() => {
            Err("that is no address that others can reach".to_owned())
        }
        Ok(_) => Ok(bare.to_owned()),
        Err(_) if is_host(text) && !text.contains(':') => Ok(text.to_owned()),
        Err(_) => Err("write a host name or an address, without a port".to_owned()),
    }
}

fn is_host(text: &str) -> bool {
    !text.is_empty() && !text.chars().any(|c| c.is_whitespace() || c.is_control() || "/?#@".contains(c))
}

/// A name of a node or a cluster.
pub(super) fn name(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > LONGEST_NAME {
        return Err(format!("a name has 1 to {LONGEST_NAME} bytes, this has {}", text.len()));
    }
    if text.chars().any(char::is_control) {
        return Err("a name is printable text, without line breaks or other control characters".to_owned());
    }
    Ok(text.to_owned())
}

/// A size of a value.
pub(super) fn value_size(text: &str) -> Result<Size, String> {
    let size: Size = text.parse().map_err(|error| format!("{error}"))?;
    match size.0 {
        1..=LARGEST_VALUE => Ok(size),
        _ => Err(format!("must be between 1B and {}", Size(LARGEST_VALUE))),
    }
}

/// A size of something on disk or in memory that is of no use when tiny.
pub(super) fn mebibyte(text: &str) -> Result<Size, String> {
    let size: Size = text.parse().map_err(|error| format!("{error}"))?;
    if size.0 < 1 << 20 { Err("must be at least 1MiB".to_owned()) } else { Ok(size) }
}

/// The kernel's word for this host, made fit to be a name.
pub(super) fn host_name() -> String {
    let told = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let mut fit: String = told.trim().chars().filter(|c| !c.is_control()).collect();
    while fit.len() > LONGEST_NAME {
        fit.pop();
    }
    if fit.is_empty() { "node".to_owned() } else { fit }
}
