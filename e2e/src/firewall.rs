//! What a machine lets through: rules of `nft` that drop and count, so that it can be shown that something was in the way.

use std::net::{Ipv4Addr, SocketAddrV4};

use crate::netns::Net;

const TABLE: &str = "torture";

/// What of the traffic from or to some addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Everything.
    All,
    /// Datagrams: gossip.
    Datagrams,
    /// Streams: replication.
    Streams,
}

impl Kind {
    fn rule(self) -> &'static str {
        match self {
            Self::All => "",
            Self::Datagrams => "meta l4proto udp",
            Self::Streams => "meta l4proto tcp",
        }
    }
}

/// Lets a machine no longer hear others, or some of what they say. Nobody is told.
///
/// # Errors
/// When the machine has no `nft` or a kernel without it.
pub fn deafen(net: &Net, machine: usize, to: &[usize], kind: Kind) -> Result<(), String> {
    add(net, machine, "input", &format!("ip saddr {} {} counter drop", set(net, to), kind.rule()))
}

/// Lets a machine no longer be heard by others, or some of what it says. Nobody is told.
///
/// # Errors
/// As with [`deafen`].
pub fn silence(net: &Net, machine: usize, to: &[usize], kind: Kind) -> Result<(), String> {
    add(net, machine, "output", &format!("ip daddr {} {} counter drop", set(net, to), kind.rule()))
}

/// Loses so many of a hundred packets that a machine hears from others.
///
/// # Errors
/// As with [`deafen`].
pub fn lose(net: &Net, machine: usize, to: &[usize], percent: u8) -> Result<(), String> {
    let rule = format!("ip saddr {} numgen random mod 100 < {percent} counter drop", set(net, to));
    add(net, machine, "input", &rule)
}

/// Delivers every packet that a machine hears twice.
///
/// # Errors
/// As with [`deafen`].
pub fn double(net: &Net, machine: usize) -> Result<(), String> {
    // On the way out: a packet that is doubled on its way in would come by here again, and again.
    let rules = format!(
        "add table netdev {TABLE}; add chain netdev {TABLE} out {{ type filter hook egress device eth0 priority 0; }}; \
         add rule netdev {TABLE} out meta mark != 7 meta mark set 7 counter dup to eth0"
    );
    net.nft(machine, &rules).map(drop)
}

/// Loses everything of the streams that stand now between a machine and the others, and tells neither end; new streams come through. As when
/// a firewall between them was started anew. How many they are.
///
/// # Errors
/// As with [`deafen`], or when the machine has no `ss`.
pub fn forget(net: &Net, machine: usize) -> Result<usize, String> {
    let streams = net.streams(machine)?;
    let end =
        |(own, other): &(SocketAddrV4, SocketAddrV4)| format!("{} . {} . {}", other.ip(), other.port(), own.port());
    let ends = streams.iter().map(end).collect::<Vec<_>>().join(", ");
    if !streams.is_empty() {
        add(net, machine, "input", &format!("ip saddr . tcp sport . tcp dport {{ {ends} }} counter drop"))?;
        add(net, machine, "output", &format!("ip daddr . tcp dport . tcp sport {{ {ends} }} counter drop"))?;
    }
    Ok(streams.len())
}

fn add(net: &Net, machine: usize, hook: &str, rule: &str) -> Result<(), String> {
    let rules = format!(
        "add table inet {TABLE}; add chain inet {TABLE} {hook} {{ type filter hook {hook} priority 0; }}; \
         add rule inet {TABLE} {hook} {rule}"
    );
    net.nft(machine, &rules).map(drop)
}

fn set(net: &Net, machines: &[usize]) -> String {
    let addresses: Vec<String> = machines.iter().map(|&machine| net.address(machine)).map(text).collect();
    format!("{{ {} }}", addresses.join(", "))
}

fn text(address: Ipv4Addr) -> String {
    address.to_string()
}

/// Counts the packets that a machine hears by how they came, under these names: each is a condition of `nft`.
///
/// # Errors
/// As with [`deafen`].
pub fn watch(net: &Net, machine: usize, kinds: &[(&str, &str)]) -> Result<(), String> {
    let mut rules = format!(
        "add table netdev {TABLE}; \
         add chain netdev {TABLE} watch {{ type filter hook ingress device eth0 priority 0; }}; "
    );
    for (name, condition) in kinds {
        rules += &format!(
            "add counter netdev {TABLE} {name}; add rule netdev {TABLE} watch {condition} counter name {name}; "
        );
    }
    net.nft(machine, &rules).map(drop)
}

/// How many packets of a kind that is watched a machine has heard.
///
/// # Errors
/// When there is no such kind.
pub fn heard(net: &Net, machine: usize, name: &str) -> Result<u64, String> {
    let told = net.nft(machine, &format!("list counter netdev {TABLE} {name}"))?;
    let mut words = told.split_whitespace().skip_while(|word| *word != "packets");
    words.nth(1).and_then(|count| count.parse().ok()).ok_or(told)
}

/// How many packets the rules of a machine caught so far.
pub fn caught(net: &Net, machine: usize) -> u64 {
    let listed = net.nft(machine, "list ruleset").unwrap_or_default();
    let mut words = listed.split_whitespace();
    let mut sum = 0;
    while let Some(word) = words.next() {
        if word == "packets" {
            sum += words.next().and_then(|count| count.parse::<u64>().ok()).unwrap_or(0);
        }
    }
    sum
}

/// Removes all rules of a machine.
pub fn open(net: &Net, machine: usize) {
    for family in ["inet", "netdev"] {
        // There may be none of the kind.
        let _ = net.nft(machine, &format!("delete table {family} {TABLE}"));
    }
}
