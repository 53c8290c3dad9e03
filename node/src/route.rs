//! Which of this machine's addresses others may be told.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// Whether `ip` belongs to one of this machine's interfaces: only then can a socket be bound to it. Nothing is sent.
pub(crate) fn is_own(ip: IpAddr) -> bool {
    UdpSocket::bind(SocketAddr::new(ip, 0)).is_ok()
}

/// The address that this machine would send from to `to`, as the routing table has it. Nothing is sent.
pub(crate) fn towards(to: SocketAddr) -> Option<IpAddr> {
    let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).ok()?;
    socket.connect(to).ok()?;
    socket.local_addr().ok().map(|address| address.ip()).filter(|ip| !ip.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_ours_and_a_documentation_address_is_not() {
        let loopback: IpAddr = "127.0.0.1".parse().unwrap();
        assert!(is_own(loopback));
        assert!(!is_own("192.0.2.1".parse().unwrap()));
        assert_eq!(towards("127.0.0.1:9".parse().unwrap()), Some(loopback));
    }
}
