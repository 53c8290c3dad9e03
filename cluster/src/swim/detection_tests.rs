//! Failure detection step by step: what stretches a probe, what shrinks a suspicion, who is told first. Each part of Lifeguard is
//! held against itself switched off.

use std::time::Duration;

use uuid::Uuid;

use super::lww::{Reason, Removal};
use super::probe::Probes;
use super::tests::{address, alive, id, identity, now, outputs, persist, tell};
use super::wire::{ClusterHash, Envelope, Message, Statement};
use super::*;

/// One that knows members 2 to `last`.
fn among(last: u8, config: Config) -> Swim {
    let mut swim = Swim::new(config, identity(1), 1, now(0)).expect("a sound configuration");
    persist(&mut swim, now(0));
    let others: Vec<Message> = (2..=last).map(|number| alive(number, Stamp::at(now(0).wall))).collect();
    tell(&mut swim, now(1), 2, &others);
    persist(&mut swim, now(1));
    swim
}

fn lan() -> Config {
    // Streams are tried in tests of their own.
    Config { stream_probes: false, ..Config::lan("test") }
}

fn without(part: impl Fn(&mut Lifeguard)) -> Config {
    let mut config = lan();
    part(&mut config.lifeguard);
    config
}

fn messages(bytes: &bytes::Bytes) -> Vec<Message> {
    Envelope::open(bytes, ClusterHash::of("test"), Stamp::from_bits(u64::MAX), Vec::new()).expect("ours").messages
}

/// What was sent to whom.
fn sent(outputs: &[Output]) -> Vec<(u8, Vec<Message>)> {
    let datagrams = outputs.iter().filter_map(|output| match output {
        Output::Datagram { to, bytes } => Some((to.port() == 7_000).then(|| (last_byte(*to), messages(bytes)))?),
        _ => None,
    });
    datagrams.collect()
}

fn last_byte(address: std::net::SocketAddr) -> u8 {
    match address.ip() {
        std::net::IpAddr::V4(ip) => ip.octets()[3],
        std::net::IpAddr::V6(_) => 0,
    }
}

/// Runs from one time to the other in steps of 10 ms, with `answer` for each packet that goes out.
fn run(swim: &mut Swim, from: u64, to: u64, mut answer: impl FnMut(u8, &Message) -> Option<Message>) {
    for ms in (from..=to).step_by(10) {
        swim.handle(now(ms), Input::Tick).expect("never refused");
        let said = persist(swim, now(ms));
        for (whom, words) in sent(&said) {
            for word in &words {
                if let Some(reply) = answer(whom, word) {
                    tell(swim, now(ms), whom, &[reply]);
                }
            }
        }
    }
}

fn nobody(_: u8, _: &Message) -> Option<Message> {
    None
}

fn everybody(_: u8, message: &Message) -> Option<Message> {
    match message {
        Message::Ping { seq, target } => Some(Message::Ack { seq: *seq, subject: *target }),
        _ => None,
    }
}

fn suspect(number: u8, by: &[u8]) -> Message {
    let by: Vec<Uuid> = by.iter().map(|by| id((*by).into())).collect();
    Message::Statement(Statement::Suspect { id: id(number.into()), stamp: Stamp::at(now(0).wall), by })
}

fn state(swim: &Swim, number: u8) -> MemberState {
    swim.member(id(number.into())).expect("a member").state
}

/// When member 2, accused at 10 ms, is given up; in steps of 100 ms. Everybody answers, so only the words count.
fn given_up_after(config: Config, confirmed: &[(u64, u8)]) -> u64 {
    let mut swim = among(8, config);
    tell(&mut swim, now(10), 3, &[suspect(2, &[3])]);
    for at in (10..60_000).step_by(100) {
        for (when, by) in confirmed {
            if at == *when {
                tell(&mut swim, now(at), *by, &[suspect(2, &[*by])]);
            }
        }
        run(&mut swim, at, at + 90, everybody);
        if state(&swim, 2) == MemberState::Failed {
            return at;
        }
    }
    panic!("it was never given up");
}

#[test]
fn a_suspicion_shrinks_with_every_new_accuser() {
    let alone = given_up_after(lan(), &[]);
    let once = given_up_after(lan(), &[(510, 4)]);
    let repeated = given_up_after(lan(), &[(510, 4), (610, 4), (710, 3)]);
    let thrice = given_up_after(lan(), &[(510, 4), (610, 5), (710, 6)]);
    assert!((24_000..27_000).contains(&alone), "{alone}");
    assert!((14_000..15_600).contains(&once), "{once}");
    assert_eq!(repeated, once, "who says it twice is no second witness");
    assert!((4_000..4_600).contains(&thrice), "{thrice}");
    // A confirmation that comes when less than that is left ends it at once.
    let late = given_up_after(lan(), &[(10_010, 4), (12_010, 5), (13_010, 6)]);
    assert!((12_000..13_200).contains(&late), "{late}");
}

#[test]
fn without_that_part_it_is_short_from_the_start() {
    let config = without(|parts| parts.suspicion = false);
    let alone = given_up_after(config.clone(), &[]);
    assert!((4_000..4_600).contains(&alone), "{alone}");
    assert_eq!(given_up_after(config, &[(510, 4), (610, 5)]), alone);
}

#[test]
fn with_nobody_left_to_confirm_it_is_short() {
    // Of three, one is left beside us, and it is suspected as well.
    let mut swim = among(3, lan());
    run(&mut swim, 10, 12_000, nobody);
    assert_eq!([state(&swim, 2), state(&swim, 3)], [MemberState::Failed; 2]);
}

#[test]
fn accusers_are_passed_on_by_name_and_our_own_experience_confirms() {
    let mut swim = among(8, lan());
    tell(&mut swim, now(10), 3, &[suspect(2, &[3])]);
    let mut named = Vec::new();
    run(&mut swim, 20, 20_000, |to, message| {
        if let Message::Statement(Statement::Suspect { id: suspect, by, .. }) = message
            && *suspect == id(2)
        {
            named = by.clone();
        }
        if to == 2 { None } else { everybody(to, message) }
    });
    assert_eq!(named, [id(3), id(1)]);
}

#[test]
fn the_suspect_hears_it_first() {
    let told_first = |config| {
        let mut swim = among(3, config);
        tell(&mut swim, now(10), 3, &[suspect(2, &[3])]);
        // The word itself has gone round; what follows is for the suspect's sake.
        run(&mut swim, 20, 2_000, everybody);
        let mut told = Vec::new();
        for ms in (2_010..6_000).step_by(10) {
            swim.handle(now(ms), Input::Tick).expect("never refused");
            let said = sent(&outputs(&mut swim));
            for (_, words) in said.iter().filter(|(to, _)| *to == 2) {
                let at = words.iter().position(|word| *word == suspect(2, &[3]));
                told.extend(words.first().filter(|first| matches!(first, Message::Ping { .. })).map(|_| at));
            }
            for (to, words) in said {
                let replies: Vec<Message> = words.iter().filter_map(|word| everybody(to, word)).collect();
                tell(&mut swim, now(ms), to, &replies);
            }
        }
        told
    };
    let with = told_first(lan());
    assert!(!with.is_empty() && with.iter().all(|at| *at == Some(1)), "right behind the ping: {with:?}");
    let plain = told_first(without(|parts| parts.buddy = false));
    assert!(!plain.is_empty() && plain.iter().all(Option::is_none), "{plain:?}");
}

#[test]
fn failed_probes_stretch_the_next_ones_and_answers_mend_it() {
    let probes_in_silence = |config| {
        let mut swim = among(8, config);
        run(&mut swim, 10, 14_000, nobody);
        (swim.stats().probes, swim.stats().health, swim)
    };
    let (stretched, health, mut swim) = probes_in_silence(lan());
    assert!(health >= 6, "{health}");
    for number in 2..9 {
        tell(&mut swim, now(14_010), number, &[alive(number, Stamp::at(now(14_010).wall))]);
    }
    run(&mut swim, 14_020, 100_000, everybody);
    assert_eq!(swim.stats().health, 0);
    let (plain, health, _) = probes_in_silence(without(|parts| parts.probe = false));
    assert_eq!(health, 0);
    assert!(plain >= 11 && stretched < 6, "{plain} and {stretched}");
}

#[test]
fn relays_that_say_no_speak_for_us_those_that_are_silent_against_us() {
    // Nobody answers for 2. The relays say so, or keep silent; all other probes are well.
    let health_after = |relays_speak: bool| {
        let mut swim = among(8, lan());
        run(&mut swim, 10, 9_000, |to, message| match message {
            Message::Ping { .. } if to == 2 => None,
            Message::PingReq { seq, target, .. } if relays_speak => Some(Message::Nack { seq: *seq, subject: *target }),
            other => everybody(to, other),
        });
        swim.stats()
    };
    let spoken = health_after(true);
    assert!(spoken.probes_failed > 0 && spoken.nacks_received >= 3, "{spoken:?}");
    assert_eq!(spoken.nacks_missed, 0);
    assert_eq!(health_after(false).nacks_missed, 3 * health_after(false).probes_failed);
    assert!(health_after(false).probes < spoken.probes, "silence stretched the periods");
}

#[test]
fn a_relay_says_no_in_time_and_passes_a_late_answer_on() {
    let mut swim = among(3, lan());
    let asked = Message::PingReq { seq: 77, target: id(3), address: address(3) };
    tell(&mut swim, now(10), 2, &[asked]);
    let ping = sent(&outputs(&mut swim)).into_iter().find_map(|(to, words)| match words.first() {
        Some(Message::Ping { seq, .. }) if to == 3 => Some(*seq),
        _ => None,
    });
    let mut no = None;
    for ms in (20..900).step_by(10) {
        swim.handle(now(ms), Input::Tick).expect("never refused");
        let words = sent(&outputs(&mut swim));
        if words.iter().any(|(to, words)| *to == 2 && words.contains(&Message::Nack { seq: 77, subject: id(3) })) {
            no.get_or_insert(ms);
        }
    }
    assert!(no.is_some_and(|ms| ms <= 10 + 480), "four fifths of the asker's time are over: {no:?}");
    tell(&mut swim, now(900), 3, &[Message::Ack { seq: ping.expect("a ping"), subject: id(3) }]);
    let words = sent(&outputs(&mut swim));
    assert!(words.iter().any(|(to, words)| *to == 2 && words.contains(&Message::Ack { seq: 77, subject: id(3) })));
}

#[test]
fn refuting_and_late_timers_are_signs_too() {
    let mut swim = among(3, lan());
    let stamp = swim.member(id(1)).expect("we are there").incarnation;
    tell(&mut swim, now(10), 2, &[Message::Statement(Statement::suspect(id(1), stamp, id(2)))]);
    assert_eq!(swim.stats().health, 1);
    persist(&mut swim, now(10));

    for (lateness, late) in [(true, 1), (false, 0)] {
        let mut swim = among(3, without(|parts| parts.lateness = lateness));
        // The period begins within the first second; nobody looks for two.
        swim.handle(now(3_000), Input::Tick).expect("never refused");
        assert_eq!((swim.stats().timers_late, swim.stats().health), (1, late));
    }
}

#[test]
fn the_time_out_follows_the_round_trips() {
    let mut swim = among(3, lan());
    assert_eq!(swim.time_out_for(id(2)), Duration::from_millis(400));
    // Answers come within the 10 ms of a step, so the lower bound counts.
    run(&mut swim, 10, 40_000, everybody);
    assert_eq!(swim.time_out_for(id(2)), Duration::from_millis(50));
    let fixed = Config { probe_timeout_min: Duration::from_millis(400), ..lan() };
    let mut swim = among(3, fixed);
    run(&mut swim, 10, 40_000, everybody);
    assert_eq!(swim.time_out_for(id(2)), Duration::from_millis(400));
}

#[test]
fn several_are_probed_in_a_period_each_once() {
    let mut swim = among(8, Config { direct_probes: 3, ..lan() });
    run(&mut swim, 10, 10_000, everybody);
    let probes = swim.stats().probes;
    assert!((27..=33).contains(&probes), "{probes}");
    let mut few = among(3, Config { direct_probes: 5, ..lan() });
    run(&mut few, 10, 10_000, everybody);
    assert!((16..=22).contains(&few.stats().probes), "{:?}", few.stats());
}

#[test]
fn the_numbers_of_probes_wrap() {
    let mut swim = among(3, lan());
    swim.probes = Probes::new(u32::MAX - 3);
    let mut numbers = Vec::new();
    run(&mut swim, 10, 20_000, |to, message| {
        if let Message::Ping { seq, .. } = message {
            numbers.push(*seq);
        }
        everybody(to, message)
    });
    assert_eq!(numbers[..5], [u32::MAX - 2, u32::MAX - 1, u32::MAX, 0, 1]);
    assert_eq!(swim.stats().probes_direct, swim.stats().probes);

    // Relayed ones as well.
    swim.probes = Probes::new(u32::MAX);
    tell(&mut swim, now(20_010), 2, &[Message::PingReq { seq: u32::MAX, target: id(3), address: address(3) }]);
    tell(&mut swim, now(20_020), 3, &[Message::Ack { seq: 0, subject: id(3) }]);
    let words = sent(&outputs(&mut swim));
    let answer = Message::Ack { seq: u32::MAX, subject: id(3) };
    assert!(words.iter().any(|(to, words)| *to == 2 && words.contains(&answer)), "{words:?}");
}

#[test]
fn the_ledger_says_who_accused_whom_and_who_was_wrong() {
    let mut swim = among(4, lan());
    tell(&mut swim, now(10), 3, &[suspect(2, &[3, 4])]);
    tell(&mut swim, now(20), 2, &[alive(2, Stamp::at(now(20).wall))]);
    let stamp = swim.member(id(1)).expect("we are there").incarnation;
    tell(&mut swim, now(30), 4, &[Message::Statement(Statement::suspect(id(1), stamp, id(4)))]);
    persist(&mut swim, now(30));
    tell(&mut swim, now(40), 3, &[suspect(4, &[3])]);
    let removal = Removal { stamp: Stamp::at(now(0).wall), reason: Reason::Failed };
    tell(&mut swim, now(50), 3, &[Message::Statement(Statement::Removed { id: id(4), removal, age_secs: 0 })]);
    let report = swim.report();
    let line = |by: u128, of: u128, refuted, upheld| Accusations {
        by: id(by),
        of: id(of),
        verdicts: Verdicts { accused: 1, refuted, upheld },
    };
    assert_eq!(report.accusations, [line(3, 2, 1, 0), line(3, 4, 0, 1), line(4, 1, 1, 0), line(4, 2, 1, 0)]);
}

#[test]
fn the_report_is_of_this_moment() {
    let mut swim = among(3, lan());
    assert_eq!(swim.report().round_trip_p99, None);
    run(&mut swim, 10, 10_000, everybody);
    tell(&mut swim, now(10_010), 3, &[suspect(2, &[3])]);
    let report = swim.report();
    assert_eq!((report.live, report.suspected, report.known, report.health), (3, 1, 3, 0));
    let measured: u64 = report.round_trips.buckets.iter().map(|(_, count)| count).sum();
    assert_eq!(measured, swim.stats().probes_direct);
    assert!(report.news_queued > 0 && report.loss < 1e-9);
    let line = report.to_string();
    assert!(line.starts_with("3 live members (1 suspected): each is probed with 75 % chance in a period"), "{line}");
}
