//! Gossip by itself with real processes; the measurements are in `benches/gossip.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::time::Duration;

use muster_e2e::figures::figure;
use muster_e2e::gossip::Settings;
use muster_e2e::gossip::real::Agents;
use muster_e2e::skip::needs;

/// Far above what it takes (some two seconds), since a test shows that it works and a benchmark how well.
const SOON: Duration = Duration::from_secs(20);

#[test]
fn two_of_eight_crash_and_come_back_and_a_tenth_of_all_packets_is_lost() {
    let agents = Agents::start(env!("CARGO_BIN_EXE_gossip_agent").into(), 8, Settings::Lifeguard);
    let Some(mut agents) = needs("root and network namespaces", agents) else { return };
    let joined = agents.joined().unwrap();
    figure("8 processes see each other after", &format!("{} ms", joined.as_millis()));
    let deaths = agents.kill(2).unwrap();
    agents.revive(2).unwrap();
    assert_eq!(deaths.len(), 2);
    for death in deaths {
        figure("a death is known to all after", &format!("{} ms", death.known.as_millis()));
        assert!(death.suspected <= death.failed && death.failed <= death.known && death.known < SOON, "{death:?}");
        // A member is given the time to refute: nobody is given up within the period in which it is first suspected.
        assert!(death.failed > Settings::Lifeguard.config().probe_interval, "{death:?}");
    }
    let (wrongs, dropped) = agents.lose(10, Duration::from_secs(3)).unwrap();
    figure("wronged while a tenth was lost", &format!("{wrongs:?}, {dropped} packets dropped"));
    assert_eq!(wrongs.failed, 0);
}
