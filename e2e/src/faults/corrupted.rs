//! A bit flips in one of 5 to 100 packets that a machine and its peers exchange, anywhere in it: a bad cable. Seen: packets with a flipped bit, and
//! that the kernels at both ends of the cable threw some away for their checksums.

use std::process::Command;
use std::time::Duration;

use rand::RngExt;

use super::{Strikes, Struck, hold_wire};
use crate::torture::World;
use crate::wire::{Flip, Flips, Trouble};

pub(super) fn strike(world: &mut World, hold: Duration) -> Strikes<'_> {
    Box::pin(async move {
        let (victim, one_in) = (world.victim().await?, world.chance.random_range(5..100));
        let on = format!("{}, one packet of {one_in}", world.names(&[victim]));
        let before = noticed(world)?;
        let flips = Flips { one_in, kind: Flip::Noticed, spared: world.net.host() };
        let trouble = Trouble { flips: Some(flips), ..Trouble::default() };
        let counts = hold_wire(world, victim, &trouble, hold).await?.all();
        let noticed = noticed(world)? - before;
        let evidence = format!("{} of {} packets hit, {noticed} noticed", counts.flipped, counts.left);
        let happened = counts.flipped > 0 && noticed > 0;
        happened.then_some(Struck { on, evidence }).ok_or_else(|| format!("{} hit, {noticed} noticed", counts.flipped))
    })
}

/// How many packets the machines' kernels have thrown away so far for what is wrong with their headers or checksums.
fn noticed(world: &World) -> Result<u64, String> {
    world.all().into_iter().map(|machine| bad_packets(&world.net.namespace(machine))).sum()
}

fn bad_packets(namespace: &str) -> Result<u64, String> {
    let output = Command::new("ip").args(["netns", "exec", namespace, "cat", "/proc/net/snmp"]).output();
    let text = output.map_err(|error| error.to_string())?.stdout;
    let text = String::from_utf8_lossy(&text);
    let counters = [("Ip:", "InHdrErrors"), ("Tcp:", "InErrs"), ("Udp:", "InCsumErrors")];
    counters.into_iter().map(|(of, name)| counter(&text, of, name).ok_or_else(|| format!("no {of} {name}"))).sum()
}

/// A line of names, then one of their values.
fn counter(text: &str, of: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter(|line| line.starts_with(of)).map(str::split_whitespace);
    let (names, values) = (lines.next()?, lines.next()?);
    names.zip(values).find_map(|(known, value)| (known == name).then(|| value.parse().ok())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found_by_their_names() {
        let text = "Ip: Forwarding InHdrErrors\nIp: 1 7\nTcp: InSegs InErrs\nTcp: 2 9\n";
        assert_eq!(counter(text, "Ip:", "InHdrErrors"), Some(7));
        assert_eq!(counter(text, "Tcp:", "InErrs"), Some(9));
        assert_eq!(counter(text, "Tcp:", "InHdrErrors"), None);
        assert_eq!(counter(text, "Udp:", "InErrors"), None);
    }
}
