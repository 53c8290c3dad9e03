//! Power that fails at a sync, and what packets met on their way.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use muster_world::disk::{self, Journal, Moment, Sectors};
use muster_world::net::UdpSocket;
use muster_world::{Met, Simulation};

fn address(machine: u8) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, machine + 1)), 7)
}

/// A file in memory of two sectors; the first is written and synced, then the second, and each time it is told what came of it.
fn two_syncs(fails: Option<(u64, Moment)>) -> (Vec<bool>, Vec<u8>, Sectors) {
    let mut sim = Simulation::new(1);
    sim.add(address(0).ip());
    if let Some((number, moment)) = fails {
        sim.fail_power_at_sync(0, number, moment);
    }
    let (told, file) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(vec![0_u8; 1024])));
    let (tells, writes) = (told.clone(), file.clone());
    sim.start(0, || async move {
        let mut journal = Journal::default();
        for sector in 0..2 {
            let at = sector * 512;
            journal
                .writes(at as u64, 512, |at, length| Ok(writes.lock().unwrap()[at as usize..][..length].to_vec()))
                .unwrap();
            writes.lock().unwrap()[at..at + 512].fill(1);
            tells.lock().unwrap().push(journal.synced().is_ok());
        }
        if disk::is_lost() {
            journal.fails(|at, bytes| writes.lock().unwrap()[at as usize..][..bytes.len()].copy_from_slice(bytes));
        }
    });
    sim.step();
    assert_eq!(sim.is_powered(0), fails.is_none());
    let (told, file, sectors) = (told.lock().unwrap().clone(), file.lock().unwrap().clone(), sim.sectors(0));
    (told, vec![file[0], file[512]], sectors)
}

#[test]
fn power_that_fails_before_a_sync_took_effect_may_lose_it_and_after_it_may_not() {
    assert_eq!(two_syncs(None), (vec![true, true], vec![1, 1], Sectors::default()));
    let (told, file, sectors) = two_syncs(Some((2, Moment::Before)));
    assert_eq!((told, file[0], sectors.lost + sectors.kept), (vec![true, false], 1, 1));
    assert_eq!(u64::from(file[1] == 0), sectors.lost, "what was lost is as it was");
    let after = two_syncs(Some((2, Moment::After)));
    assert_eq!(after, (vec![true, false], vec![1, 1], Sectors::default()), "on the disk, and nobody has heard so");
    let (told, ..) = two_syncs(Some((1, Moment::After)));
    assert_eq!(told, [false, false], "nothing is synced without power");
}

#[test]
fn what_packets_met_is_counted_for_each_direction() {
    let mut sim = Simulation::new(1);
    for machine in 0..2 {
        sim.add(address(machine).ip());
        sim.start(machine.into(), || async move {
            let socket = UdpSocket::bind(address(machine)).await.unwrap();
            loop {
                socket.send_to(b"hello", address(1 - machine)).await.unwrap();
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
    }
    let mut met = |change: &dyn Fn(&mut muster_world::Link)| {
        let before = [sim.met(0, 1), sim.met(1, 0)];
        sim.link(0, 1, change);
        (0..20).for_each(|_| sim.step());
        sim.link(0, 1, |link| *link = muster_world::Link::default());
        assert_eq!(sim.met(1, 0), before[1], "nothing is in the way back");
        sim.met(0, 1) - before[0]
    };
    assert_eq!(met(&|_| {}), Met::default());
    assert_eq!(met(&|link| link.cut = true), Met { cut: 20, ..Met::default() });
    assert_eq!(met(&|link| link.datagrams_cut = true), Met { datagrams_cut: 20, ..Met::default() });
    assert_eq!(met(&|link| link.streams_cut = true), Met::default(), "there are none");
    assert_eq!(met(&|link| link.loss = 1.0), Met { lost: 20, ..Met::default() });
    assert_eq!(met(&|link| link.delay = 3..=9), Met { delayed: 20, ..Met::default() });
    assert_eq!(met(&|link| link.doubling = 1.0), Met { doubled: 20, ..Met::default() });
}
