//! A member of the crate `memberlist`, a port of HashiCorp's Go library.

use std::error::Error;
use std::time::Duration;

use clap::Parser;
use memberlist::delegate::{CompositeDelegate, EventKind, SubscribleEventDelegate};
use memberlist::net::NetTransportOptions;
use memberlist::tokio::{TokioSocketAddrResolver, TokioTcp, TokioTcpMemberlist};
use memberlist::{Options, proto::MaybeResolvedAddress};
use muster_peers::{Flags, PERIOD, tell};
use smol_str::SmolStr;

// One thread, as all that are compared.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let flags = Flags::parse();
    // Its own `lan` but for the times, which are ours: five times as fast as HashiCorp's.
    let options = Options::lan()
        .with_probe_interval(PERIOD)
        .with_probe_timeout(Duration::from_millis(80))
        .with_gossip_interval(Duration::from_millis(40))
        .with_push_pull_interval(Duration::from_secs(6))
        .with_timeout(Duration::from_secs(2));
    let (events, seen) = SubscribleEventDelegate::unbounded();
    let delegate = CompositeDelegate::new().with_event_delegate(events);
    let mut transport =
        NetTransportOptions::<SmolStr, TokioSocketAddrResolver, TokioTcp>::new(flags.number.to_string().into());
    transport.add_bind_address(flags.bind);
    let member: TokioTcpMemberlist<_, _, _> = TokioTcpMemberlist::with_delegate(delegate, transport, options).await?;
    tell("ready", "0");
    for seed in flags.join.into_iter().filter(|seed| *seed != flags.bind) {
        // It does not try again by itself.
        while member.join(MaybeResolvedAddress::resolved(seed)).await.is_err() {
            tokio::time::sleep(PERIOD).await;
        }
    }
    loop {
        let event = seen.recv().await?;
        let what = match event.kind() {
            EventKind::Join => "joined",
            EventKind::Leave => "failed",
            _ => continue,
        };
        tell(what, event.node_state().id());
    }
}
