//! The experiment of the Lifeguard paper's section II: members that share their processor with others that never rest.
//!
//! The authors had 100 virtual machines of one core, and ran `stress` with many processes beside some of the members. What that does to
//! one of them is modelled by its turns: the processor is its own for one slice of time, then everybody else's turn comes. What it has to
//! do costs time as well, so a turn is enough for a few packets and the others wait; a full socket loses what comes.

use std::time::Duration;

use muster_cluster::sim::{Latency, Turns};

use crate::lifeguard::{Count, ENOUGH, Trouble, share, suffer, variants};
use crate::options::Options;
use crate::report::Section;

/// What Linux gives a process before it looks whether others wait, at 250 ticks a second.
const SLICE: Duration = Duration::from_millis(4);

/// Others that want the processor, each for a slice.
const OTHERS: u32 = 128;

/// What a packet costs with a cold cache: the wake, the decoding, the decision, a line of the log, the answers.
const WORK: Duration = Duration::from_millis(1);

/// How uneven the rounds are, since others use the machine below the virtual one as well: the 99th percentile is 18 medians.
const SIGMA: f64 = 1.25;

/// How long it lasts.
const LENGTH: Duration = Duration::from_secs(300);

/// What waits for the turn.
#[derive(Clone, Copy)]
struct Model {
    title: &'static str,
    told: &'static str,
    turns: Turns,
}

fn models() -> [Model; 2] {
    let turns = Turns {
        run: Latency::Fixed(SLICE),
        wait: Latency::LogNormal { median: OTHERS * SLICE, sigma: SIGMA },
        mute: true,
        work: WORK,
    };
    [
        Model {
            title: "Packets wait, timers do not",
            told: "as where timers have a thread of their own, which needs so little that it is let in at once, and the threads that read and send have used up \
                   their share: the authors' own model of slow processing",
            turns,
        },
        Model {
            title: "Packets and timers wait alike",
            told: "as in a program of one thread, ours with its tokio driver among them",
            turns: Turns { mute: false, ..turns },
        },
    ]
}

pub(crate) fn measure(options: &Options) -> Section {
    let mut section = Section::new("Lifeguard, section II: exhausted processors");
    let (slow, runs): (&[usize], u64) = if options.quick { (&[4], 1) } else { (&[1, 4, 16], 2) };
    section.note(format!(
        "Of 100 members {slow:?} have a processor that is exhausted for {} s; {runs} runs each, settings and false positives as above. The authors ran `stress` on some of 100 virtual \
         machines of one core. The model: {OTHERS} other processes that never rest, a slice of {} ms for each in turn. So an exhausted member runs for {} ms and then waits, \
         log-normally about {} ms (σ = {SIGMA}: now and then for many seconds, since the machine below is shared too). Each packet takes it {} ms of its own time, so it reads some eight a \
         second in the median; 256 wait in its socket, further ones are lost.",
        LENGTH.as_secs(),
        SLICE.as_millis(),
        SLICE.as_millis(),
        (OTHERS * SLICE).as_millis(),
        WORK.as_millis(),
    ));
    section.note(
        "The paper's figure 1, in words: with plain SWIM one overloaded member is enough for some false positives, and four make hundreds at healthy members; it gives no share of messages. The spread \
         of the waits was chosen so that plain SWIM does about that in the first model; nothing was chosen by what Lifeguard does.",
    );
    for model in models() {
        compare(options, &mut section, model, slow, runs);
    }
    let plain = &variants()[0].1;
    let idle = Turns { work: Duration::ZERO, ..models()[1].turns };
    let (slow, mut count) = (slow[slow.len() - 1], Count::default());
    for run in 0..runs {
        count.add(suffer(plain, &trouble(slow, idle), options.seed + run));
    }
    section.note(format!(
        "The control: if work cost nothing and a turn were enough for all that waits, plain SWIM with {slow} exhausted members would give up {} ({} at healthy members) in the second model. It is the \
         queue that makes the mistakes, not the waiting.",
        count.wrong, count.wrong_at_healthy
    ));
    section
}

fn trouble(slow: usize, turns: Turns) -> Trouble {
    Trouble { members: 100, slow, turns, length: LENGTH }
}

fn compare(options: &Options, section: &mut Section, model: Model, slow: &[usize], runs: u64) {
    section.note(format!("**{}**: {}.", model.title, model.told));
    let (mut rows, mut plain) = (Vec::new(), Count::default());
    for (number, (name, config, _)) in variants().into_iter().enumerate() {
        let (mut row, mut all) = (vec![name.to_owned()], Count::default());
        for slow in slow {
            let mut count = Count::default();
            for run in 0..runs {
                count.add(suffer(&config, &trouble(*slow, model.turns), options.seed + run));
            }
            row.push(format!("{} / {}", count.wrong, count.wrong_at_healthy));
            all.add(count);
        }
        if number == 0 {
            plain = all;
        }
        let (wrong, healthy) = (share(all.wrong, plain.wrong), share(all.wrong_at_healthy, plain.wrong_at_healthy));
        let sent = share(all.sent, plain.sent);
        row.extend([
            format!("{wrong:.2}"),
            if plain.wrong_at_healthy < ENOUGH { "-".to_owned() } else { format!("{healthy:.2}") },
            format!("{sent:.1}"),
            format!("{:.1}", share(all.bytes, plain.bytes)),
        ]);
        rows.push(row);
        println!("exhaustion: {}: {name} done", model.title);
        if number >= 4 && plain.wrong_at_healthy >= ENOUGH {
            section.goal(
                healthy <= 1.5 && sent <= 110.0,
                format!("{name}: at healthy members at most 1.5 % of plain SWIM's false positives for at most 110 % of its messages: {healthy:.2} % for {sent:.1} %"),
            );
        }
    }
    let exhausted: Vec<String> = slow.iter().map(|slow| format!("{slow} exhausted: FP / at healthy")).collect();
    let mut head = vec![""];
    head.extend(exhausted.iter().map(String::as_str));
    head.extend(["all: FP %", "at healthy %", "messages %", "bytes %"]);
    section.table(&head, &rows);
}
