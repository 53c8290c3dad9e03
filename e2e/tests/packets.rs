//! Packets on a real wire: the longest that members send, sealed, go through an Ethernet of 1,500 bytes in one piece.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic is the verdict of a test")]

use std::fs;
use std::net::IpAddr;
use std::time::Duration;

use muster_cluster::swim::wire::PACKET_BUDGET;
use muster_e2e::cli::muster;
use muster_e2e::figures::figure;
use muster_e2e::netns::Net;
use muster_e2e::skip::needs;
use muster_e2e::{Process, eventually, firewall};
use tempfile::TempDir;

/// Far above what it takes.
const SOON: Duration = Duration::from_secs(30);

const PORT: u16 = 7_000;

/// What a UDP header says of the packets that fill the budget to the last 16 bytes: their length and its own.
const FULL: std::ops::RangeInclusive<usize> = PACKET_BUDGET + 8 - 16..=PACKET_BUDGET + 8;

/// Three members that share a key and shout, on machines of one switch. Dropped, all of it is gone.
struct Shouting {
    net: Net,
    members: Vec<Process>,
    _folder: TempDir,
}

/// None where this machine does not let us.
async fn shouting(address: impl Fn(&Net, usize) -> Result<IpAddr, String>) -> Option<Shouting> {
    let net = needs("root and network namespaces", Net::new(3))?;
    let folder = TempDir::new().unwrap();
    let path = |name: String| folder.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("keys".into()), muster(&["keys", "generate"]).await.exits(0).line()).unwrap();
    let port = format!("{PORT}");
    let (full, least) = (FULL.end().to_string(), FULL.start().to_string());
    let sealed = format!("udp dport {port} @th,88,8 & 1 == 1");
    let kinds = [
        ("datagrams", format!("udp dport {port}")),
        ("sealed", sealed),
        ("long", format!("udp dport {port} udp length >= {least}")),
        ("too_long", format!("udp dport {port} udp length > {full}")),
        ("not_whole", "ip frag-off & 0x3fff != 0".to_owned()),
        ("not_whole_v6", "exthdr frag exists".to_owned()),
        ("may_be_cut", format!("udp dport {port} ip frag-off & 0x4000 == 0")),
    ];
    let kinds: Vec<_> = kinds.iter().map(|(name, condition)| (*name, condition.as_str())).collect();
    let addresses: Vec<IpAddr> = (0..3).map(|machine| address(&net, machine).unwrap()).collect();
    let mut members = Vec::new();
    for (machine, address) in addresses.iter().enumerate() {
        firewall::watch(&net, machine, &kinds).unwrap();
        let at = |address: &IpAddr| std::net::SocketAddr::from((*address, PORT)).to_string();
        let args = ["--number", &machine.to_string(), "--bind", &at(address), "--join", &at(&addresses[0]), "--shouts"];
        let more = ["--stamp", &path(format!("stamp-{machine}")), "--keys-file", &path("keys".into())];
        let args = args.into_iter().chain(more).map(str::to_owned);
        let program = env!("CARGO_BIN_EXE_gossip_agent").into();
        let mut member = Process::new(format!("member {machine}"), program, args).in_netns(net.namespace(machine));
        member.spawn();
        members.push(member);
    }
    Some(Shouting { net, members, _folder: folder })
}

impl Shouting {
    fn heard(&self, kind: &str) -> u64 {
        (0..3).map(|machine| firewall::heard(&self.net, machine, kind).unwrap()).sum()
    }

    async fn long_ones_arrive_whole(&self) {
        eventually("many long packets arrive", SOON, async || (self.heard("long") > 200).then_some(())).await;
        let text = |member: &Process| member.run_log().matches(" heard ").count();
        eventually("all hear each other", SOON, async || self.members.iter().all(|m| text(m) > 100).then_some(()))
            .await;
        let counts = ["datagrams", "sealed", "long", "too_long", "not_whole", "not_whole_v6", "may_be_cut"]
            .map(|kind| (kind, self.heard(kind)));
        figure("packets by how they came", &format!("{counts:?}"));
        assert!(self.heard("sealed") > 200);
        for kind in ["too_long", "not_whole", "not_whole_v6", "may_be_cut"] {
            assert_eq!(self.heard(kind), 0, "{kind}: {counts:?}");
        }
    }

    /// On a wire that is too narrow for them they come in pieces, so what is counted above would have been seen.
    async fn on_a_narrower_wire_they_do_not(&self, kind: &str) {
        for machine in 0..3 {
            self.net.set_mtu(machine, 1_300).unwrap();
        }
        eventually("packets come in pieces", SOON, async || (self.heard(kind) > 0).then_some(())).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_longest_sealed_packets_pass_an_ethernet_in_one_piece_with_ipv4() {
    let Some(net) = shouting(|net, machine| Ok(net.address(machine).into())).await else { return };
    net.long_ones_arrive_whole().await;
    net.on_a_narrower_wire_they_do_not("not_whole").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_longest_sealed_packets_pass_an_ethernet_in_one_piece_with_ipv6() {
    let Some(net) = shouting(|net, machine| net.add_ipv6(machine).map(IpAddr::from)).await else { return };
    net.long_ones_arrive_whole().await;
    net.on_a_narrower_wire_they_do_not("not_whole_v6").await;
}
