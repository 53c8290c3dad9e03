//! Addresses as nodes state them: `host:port`, where the host may be a name, and unspecified until it is completed.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a node can be reached under: an address, or a name that is resolved afresh by whoever connects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// An address.
    Ip(IpAddr),
    /// A name, in lower or upper case as it was stated.
    Name(String),
}

/// A host and a port that is not 0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Address {
    /// Where.
    pub host: Host,
    /// At which port.
    pub port: u16,
}

/// Why a text is no [`Host`] or no [`Address`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Not a host.
    #[error("`{0}` is not a host; write an IP address or a host name, without a port")]
    Host(String),
    /// Not a host and a port.
    #[error("`{0}` is not an address; write host:port with a port from 1 to 65535, and an IPv6 address in brackets")]
    Address(String),
}

impl Host {
    /// Whether it stands for "whatever address I have".
    pub fn is_unspecified(&self) -> bool {
        matches!(self, Self::Ip(ip) if ip.is_unspecified())
    }
}

impl Address {
    /// Puts `host` in the place of an unspecified one.
    pub fn completed(self, host: &Host) -> Self {
        if self.host.is_unspecified() { Self { host: host.clone(), port: self.port } } else { self }
    }
}

/// A name by the rules of host names, with `_` let through because people and container engines use it.
fn is_host_name(text: &str) -> bool {
    let text = text.strip_suffix('.').unwrap_or(text);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    // All digits and dots is a mistyped IPv4 address, never a name.
    text.len() <= 253 && text.split('.').all(label) && !text.bytes().all(|b| b.is_ascii_digit() || b == b'.')
}

impl FromStr for Host {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        match bare {
            Some(inner) => inner.parse::<Ipv6Addr>().ok().map(|ip| Self::Ip(ip.into())),
            None => match text.parse::<IpAddr>() {
                Ok(ip) => Some(Self::Ip(ip)),
                Err(_) => is_host_name(text).then(|| Self::Name(text.to_owned())),
            },
        }
        .ok_or_else(|| AddressError::Host(text.to_owned()))
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let parts = || {
            let (host, port) = text.rsplit_once(':')?;
            // Without the brackets nobody can tell where an IPv6 address ends and its port begins.
            if host.contains(':') && !host.starts_with('[') {
                return None;
            }
            let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
            let port = if digits { port.parse::<u16>().ok().filter(|port| *port != 0)? } else { return None };
            Some(Self { host: host.parse().ok()?, port })
        };
        parts().ok_or_else(|| AddressError::Address(text.to_owned()))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => ip.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]:{}", self.port),
            Host::Ip(_) | Host::Name(_) => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.to_string()
    }
}

impl TryFrom<String> for Address {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, AddressError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_what_is_read() {
        for text in ["10.0.0.1:8050", "[::1]:8051", "n1:80", "n_1.example.org:65535", "[2001:db8::7]:1"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for text in [
            "", ":", ":80", "h", "h:", "h:0", "h:65536", "h:+80", "::1:80", "[::1]", "[h]:80", "a b:80", "-h:80",
            "1.2.3:80", "a..b:80", "h:80/x",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
        for text in ["", "h:80", "[::1", "300.1.1.1", "a/b"] {
            assert!(text.parse::<Host>().is_err(), "{text}");
        }
    }

    #[test]
    fn only_an_unspecified_host_is_completed() {
        let seen: Host = "172.17.0.3".parse().unwrap();
        let complete = |text: &str| text.parse::<Address>().unwrap().completed(&seen).to_string();
        assert_eq!(complete("0.0.0.0:8050"), "172.17.0.3:8050");
        assert_eq!(complete("[::]:8050"), "172.17.0.3:8050");
        assert_eq!(complete("10.0.0.1:8050"), "10.0.0.1:8050");
    }
}
