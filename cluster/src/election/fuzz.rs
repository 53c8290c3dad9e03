//! What the fuzzers hold the election's decoder and core to.

use std::collections::BTreeSet;
use std::time::Duration;

use uuid::Uuid;

use super::{Config, Election, Freshness, Input, MAX_TERM, Message, Mode, Output};
use crate::time::Mono;

/// One message: no panic, and whatever is understood is written as the same bytes.
pub(crate) fn message(data: &[u8]) {
    if let Ok(message) = Message::decode(data) {
        assert_eq!(message.encode(), data, "one message, two ways to write it");
    }
}

/// A core that hears whatever the bytes say: pairs of a door and what comes in through it.
pub(crate) fn core(data: &[u8]) {
    let id = |number: u8| Uuid::from_u128(u128::from(number % 5) + 1);
    let mode = if data.first().is_some_and(|byte| byte % 2 == 0) { Mode::Plain } else { Mode::Voted };
    let Ok(mut election) = Election::new(id(0), Config::standard(mode, 1)) else { return };
    let mut now = Mono::ZERO;
    election.handle(now, Input::Electorate((0..3).map(id).collect::<BTreeSet<_>>()));
    election.handle(now, Input::Start);
    let mut rest = data.get(1..).unwrap_or_default();
    while let [door, number, behind @ ..] = rest {
        rest = behind;
        let term = u64::from(*number % 16);
        let input = match door % 14 {
            0 | 1 => {
                now = now + Duration::from_millis(u64::from(*number) * 4);
                Input::Tick
            }
            2..=4 => {
                let (bytes, after) = rest.split_at(rest.len().min(usize::from(*number)));
                rest = after;
                let Ok(message) = Message::decode(bytes) else { continue };
                Input::Message { from: message.sender(), message }
            }
            5 => Input::Electorate((0..=*number % 5).map(id).collect()),
            6 => Input::Rank { freshness: Freshness { term, index: term }, priority: i32::from(*number) },
            7 => Input::LeaderHeard { leader: id(*number), term: term / 4 },
            8 => Input::LeaderSuspected { leader: id(*number) },
            9 => Input::LeaderDead { leader: id(*number) },
            10 => Input::Reachable { peer: id(*number), reachable: *number < 128 },
            11 => Input::Won { term },
            12 => Input::Transfer { to: (*number < 128).then(|| id(*number)) },
            _ if *number < 128 => Input::CampaignFailed,
            _ => Input::SteppedDown { term },
        };
        election.handle(now, input);
        let mut outputs = 0;
        while let Some(output) = election.poll() {
            outputs += 1;
            assert!(outputs < 1_000, "one step gives no end of outputs");
            if let Output::Send { message, .. } = output {
                assert_eq!(Message::decode(&message.encode()), Ok(message), "it says what others refuse");
            }
        }
        assert!(election.leader().is_none_or(|(_, term)| term <= MAX_TERM + 1), "a term beyond reach");
    }
}
