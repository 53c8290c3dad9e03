//! Single steps of the core. What follows from many of them is explored by the simulation in `tests/election`.

use std::time::Duration;

use uuid::Uuid;

use crate::time::Mono;

use super::{Activity, Config, Election, Freshness, Input, Message, Mode, Output, Rank, Stance, TransferRefused};

fn id(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

fn at(ms: u64) -> Mono {
    Mono::new(Duration::from_millis(ms))
}

/// Node `me` of `nodes`, started at 1 s; in voted mode it reaches everybody.
fn started(mode: Mode, me: u128, nodes: u128) -> Election {
    let mut election = Election::new(id(me), Config::standard(mode, 1)).unwrap();
    election.handle(at(1_000), Input::Electorate((1..=nodes).map(id).collect()));
    for peer in (1..=nodes).filter(|peer| *peer != me) {
        election.handle(at(1_000), Input::Reachable { peer: id(peer), reachable: true });
    }
    election.handle(at(1_000), Input::Start);
    assert!(outputs(&mut election).is_empty());
    election
}

fn outputs(election: &mut Election) -> Vec<Output> {
    std::iter::from_fn(|| election.poll()).collect()
}

/// Lets the next timer fire; the time at which it did.
fn tick(election: &mut Election) -> Mono {
    let now = election.next_deadline().expect("a timer");
    election.handle(now, Input::Tick);
    now
}

fn hear(election: &mut Election, now: Mono, from: u128, message: Message) {
    election.handle(now, Input::Message { from: id(from), message });
}

fn victory(term: u64, from: u128) -> Message {
    Message::Victory { term, rank: Rank::plain(id(from)) }
}

/// The round of the question that is among these outputs.
fn round(outputs: &[Output]) -> u64 {
    outputs
        .iter()
        .find_map(|output| match output {
            Output::Send { message: Message::Election { round, .. }, .. } => Some(*round),
            _ => None,
        })
        .expect("a question")
}

#[test]
fn a_node_alone_leads_at_once_in_plain_mode_and_campaigns_at_once_with_a_vote() {
    let mut plain = started(Mode::Plain, 1, 1);
    assert_eq!(tick(&mut plain), at(1_000));
    assert_eq!(outputs(&mut plain), [Output::LeaderChanged { leader: Some(id(1)), term: 1 }]);
    let mut voted = started(Mode::Voted, 1, 1);
    tick(&mut voted);
    assert_eq!(outputs(&mut voted), [Output::Campaign]);
    voted.handle(at(1_010), Input::Won { term: 7 });
    assert_eq!(outputs(&mut voted), [Output::LeaderChanged { leader: Some(id(1)), term: 7 }]);
}

#[test]
fn a_heartbeat_of_an_older_term_or_in_anothers_name_changes_nothing() {
    let mut election = started(Mode::Plain, 1, 3);
    hear(&mut election, at(1_010), 3, victory(5, 3));
    assert_eq!(outputs(&mut election), [Output::LeaderChanged { leader: Some(id(3)), term: 5 }]);
    hear(&mut election, at(1_020), 2, victory(4, 2));
    hear(&mut election, at(1_020), 2, victory(9, 3));
    hear(&mut election, at(1_020), 9, victory(9, 9));
    assert!(outputs(&mut election).is_empty());
    assert_eq!(election.leader(), Some((id(3), 5)));
    assert_eq!(election.ignored(), 3);
}

#[test]
fn of_two_leaders_of_one_term_the_higher_rank_stays_and_says_so() {
    let mut election = started(Mode::Plain, 2, 3);
    hear(&mut election, at(1_010), 3, victory(1, 3));
    hear(&mut election, at(1_020), 3, Message::TakeOver { term: 1, rank: Rank::plain(id(3)) });
    assert_eq!(election.leader(), Some((id(2), 2)), "it was asked to take over");
    outputs(&mut election);
    hear(&mut election, at(1_030), 1, victory(2, 1));
    let mine = Output::Send { to: id(1), message: victory(2, 2) };
    assert_eq!(outputs(&mut election), [mine], "the lower is told at once");
    hear(&mut election, at(1_040), 3, victory(2, 3));
    assert_eq!(outputs(&mut election), [Output::LeaderChanged { leader: Some(id(3)), term: 2 }]);
}

#[test]
fn an_election_ends_as_soon_as_all_have_answered_from_below() {
    let mut election = started(Mode::Voted, 3, 3);
    let now = tick(&mut election);
    let round = round(&outputs(&mut election));
    let answer = |from| Message::Answer { round, term: 0, rank: Rank::plain(id(from)), stance: Stance::Contends };
    hear(&mut election, now, 1, answer(1));
    assert!(outputs(&mut election).is_empty());
    hear(&mut election, now, 2, answer(2));
    assert_eq!(outputs(&mut election), [Output::Campaign]);
}

#[test]
fn one_that_outranks_is_waited_for_and_then_no_longer() {
    let mut election = started(Mode::Voted, 2, 3);
    let now = tick(&mut election);
    let round = round(&outputs(&mut election));
    let rank = Rank { freshness: Freshness { term: 1, index: 9 }, ..Rank::plain(id(1)) };
    let answer = Message::Answer { round, term: 1, rank, stance: Stance::Contends };
    hear(&mut election, now, 1, answer);
    assert_eq!(election.activity(), Activity::Deferring);
    assert!(tick(&mut election) >= now + Duration::from_millis(300));
    assert_eq!(outputs(&mut election), [Output::Campaign]);
}

#[test]
fn the_leader_just_given_up_is_asked_and_not_waited_for_unless_there_is_nobody_else() {
    let asks = |nodes| {
        let mut election = started(Mode::Voted, 2, nodes);
        election.handle(at(1_100), Input::LeaderHeard { leader: id(1), term: 1 });
        outputs(&mut election);
        let now = tick(&mut election);
        let asked = outputs(&mut election);
        assert!(asked.iter().any(|output| matches!(output, Output::Send { to, .. } if *to == id(1))), "{asked:?}");
        (election, now, round(&asked))
    };
    let (mut election, now, round) = asks(3);
    let follows = Stance::Follows { leader: id(1), term: 1 };
    hear(&mut election, now, 3, Message::Answer { round, term: 1, rank: Rank::plain(id(3)), stance: follows });
    assert!(outputs(&mut election).contains(&Output::Campaign));
    let (mut election, now, _) = asks(2);
    assert!(outputs(&mut election).is_empty() && election.next_deadline().is_some_and(|at| at > now));
}

#[test]
fn one_that_outranks_but_will_not_stand_is_not_waited_for() {
    let mut election = started(Mode::Voted, 1, 2);
    let now = tick(&mut election);
    let round = round(&outputs(&mut election));
    let answer = Message::Answer { round, term: 0, rank: Rank::plain(id(2)), stance: Stance::Aside };
    hear(&mut election, now, 2, answer);
    assert_eq!(outputs(&mut election), [Output::Campaign]);
}

#[test]
fn a_suspicion_shortens_the_wait_to_the_lease_and_a_heartbeat_takes_it_back() {
    let mut election = started(Mode::Voted, 3, 3);
    let heard = Input::LeaderHeard { leader: id(1), term: 1 };
    election.handle(at(2_000), heard.clone());
    assert!(election.next_deadline().unwrap() >= at(2_400));
    election.handle(at(2_010), Input::LeaderSuspected { leader: id(2) });
    assert!(election.next_deadline().unwrap() >= at(2_400), "another was suspected");
    election.handle(at(2_010), Input::LeaderSuspected { leader: id(1) });
    let soon = election.next_deadline().unwrap();
    assert!(soon >= at(2_300) && soon < at(2_400), "{soon}");
    election.handle(at(2_050), heard);
    assert!(election.next_deadline().unwrap() >= at(2_450));
}

#[test]
fn after_a_certain_death_a_late_heartbeat_is_not_believed_but_a_lasting_one_is() {
    let mut election = started(Mode::Voted, 3, 3);
    let heard = Input::LeaderHeard { leader: id(1), term: 1 };
    election.handle(at(2_000), heard.clone());
    outputs(&mut election);
    election.handle(at(2_010), Input::LeaderDead { leader: id(1) });
    let gone = [Output::DropLease { dead: id(1) }, Output::LeaderChanged { leader: None, term: 1 }];
    assert_eq!(outputs(&mut election), gone);
    assert!(election.next_deadline().unwrap() < at(2_030));
    election.handle(at(2_020), heard.clone());
    assert_eq!(election.leader(), None);
    election.handle(at(2_120), heard);
    assert_eq!(election.leader(), Some((id(1), 1)));
}

#[test]
fn without_a_majority_in_reach_it_neither_asks_nor_stands_until_there_is_one() {
    let mut election = started(Mode::Voted, 3, 5);
    for peer in [1, 2, 4] {
        election.handle(at(1_100), Input::Reachable { peer: id(peer), reachable: false });
    }
    let now = tick(&mut election);
    assert!(outputs(&mut election).is_empty());
    assert_eq!(election.activity(), Activity::NoMajority);
    election.handle(now, Input::Reachable { peer: id(4), reachable: true });
    assert!(tick(&mut election) < now + Duration::from_millis(100));
    assert_eq!(election.activity(), Activity::Asking);
}

#[test]
fn a_repeated_announcement_does_not_stand_in_for_the_votes_own_heartbeats() {
    let mut election = started(Mode::Voted, 2, 3);
    hear(&mut election, at(1_010), 1, victory(3, 1));
    let due = election.next_deadline();
    hear(&mut election, at(1_200), 1, victory(3, 1));
    assert_eq!(election.next_deadline(), due);
}

#[test]
fn a_node_outside_of_the_electorate_follows_and_never_stands() {
    let mut election = Election::new(id(9), Config::standard(Mode::Voted, 1)).unwrap();
    election.handle(at(0), Input::Electorate([id(1), id(2)].into()));
    election.handle(at(0), Input::Start);
    assert_eq!(election.next_deadline(), None);
    election.handle(at(10), Input::LeaderHeard { leader: id(1), term: 2 });
    assert_eq!(election.leader(), Some((id(1), 2)));
    tick(&mut election);
    assert_eq!(election.leader(), None);
    assert_eq!(election.next_deadline(), None);
    assert!(!outputs(&mut election).contains(&Output::Campaign));
}

#[test]
fn only_the_leader_hands_over_and_only_to_another_member_in_reach() {
    let mut election = started(Mode::Voted, 3, 3);
    let refused = |election: &mut Election, to: Option<Uuid>| {
        election.handle(at(1_500), Input::Transfer { to });
        election.poll()
    };
    assert_eq!(refused(&mut election, None), Some(Output::TransferRefused(TransferRefused::NotLeader)));
    election.handle(at(1_400), Input::Won { term: 1 });
    outputs(&mut election);
    for stranger in [3, 9] {
        let answer = refused(&mut election, Some(id(stranger)));
        assert_eq!(answer, Some(Output::TransferRefused(TransferRefused::NotEligible)));
    }
    election.handle(at(1_500), Input::Reachable { peer: id(2), reachable: false });
    assert_eq!(refused(&mut election, None), Some(Output::Transfer { to: id(1) }));
    let answer = refused(&mut election, Some(id(2)));
    assert_eq!(answer, Some(Output::TransferRefused(TransferRefused::NobodyReachable)));
}

#[test]
fn outputs_that_nobody_polls_do_not_pile_up() {
    let mut election = started(Mode::Plain, 1, 3);
    for n in 0..10_000_u64 {
        let message = Message::Election { round: n, term: 0, rank: Rank::plain(id(2)) };
        hear(&mut election, at(1_001), 2, message);
    }
    assert!(outputs(&mut election).len() < 300);
}
