//! One member that knows many: what a step costs it, and what its view takes.

use std::time::Duration;

use muster_cluster::swim::{Config, Input};

use crate::options::Options;
use crate::report::{Section, two};
use crate::samples::Samples;
use crate::script::address;
use crate::world::{News, World};

const OTHERS: u32 = 16_384;

/// Steps of a phase, at most.
const STEPS: usize = 1_000_000;

const MEAN: Duration = Duration::from_micros(20);
const LONGEST: Duration = Duration::from_millis(1);
const VIEW: f64 = 4.0;

fn micros(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64() * 1e6)
}

fn row(name: &str, samples: &Samples) -> Vec<String> {
    let mut row = vec![name.to_owned(), samples.len().to_string(), micros(samples.mean())];
    row.extend([10_000, 1_000, 100, 0].map(|millionths| micros(samples.all_but(millionths))));
    row.push(format!("{} ({})", samples.allocations(), samples.allocating()));
    row
}

fn begin(world: &mut World) {
    world.samples = Samples::with_capacity(STEPS);
}

/// A member that has just heard of all; what the steps of that cost.
fn joined(options: &Options) -> (World, Samples) {
    let mut world = World::new(&Config::lan("scale"), OTHERS, options.seed);
    world.serve();
    begin(&mut world);
    world.step(Input::Seeds(vec![address(1)]));
    world.run(Duration::from_secs(120), |world| world.member.live() > OTHERS as usize);
    let samples = std::mem::take(&mut world.samples);
    (world, samples)
}

/// What a member has allocated and not given back, in MiB.
fn view(world: World) -> f64 {
    let World { member, .. } = world;
    let freed = allocation_counter::measure(|| drop(member));
    -freed.bytes_current as f64 / f64::from(1 << 20)
}

pub(crate) fn measure(options: &Options) -> Section {
    let mut section = Section::new("A member that knows 16,384 others");
    section.note(
        "One production core, preset `lan`, among 16,384 members that are played by `docs/wire.md`: they answer its probes after 0.4 to \
         4 ms, probe it as often as real ones would, and tell it news in 16 full packets a second. Its streams go to a real member. \
         Descriptions have 32 bytes, ids are random. A step is one input and all outputs that come of it, in microseconds of processor \
         time of its thread: what else the machine does is not in it, but for what that does to the caches.",
    );
    let (mut world, joins) = joined(options);
    // Long enough that everybody was probed and has probed.
    world.run(Duration::from_secs(60_000), |_| false);
    begin(&mut world);
    world.run(Duration::from_secs(if options.quick { 4_000 } else { 60_000 }), |_| false);
    let rest = std::mem::take(&mut world.samples);
    let view_at_rest = view(world);

    let (mut world, _) = joined(options);
    begin(&mut world);
    world.news = News::Lives;
    for _ in 0..options.runs(5).max(2) {
        world.renew();
        world.serve();
        world.run(Duration::from_secs(1_000), |_| false);
    }
    let news = std::mem::take(&mut world.samples);

    begin(&mut world);
    for _ in 0..options.runs(10).max(2) {
        let (newcomer, its_address) = (world.newcomer(), world.address());
        world.visit(newcomer, Input::Seeds(vec![its_address]));
    }
    let newcomers = std::mem::take(&mut world.samples);
    begin(&mut world);
    for _ in 0..options.runs(10).max(2) {
        let straggler = world.straggler();
        world.visit(straggler, Input::Tick);
    }
    let stragglers = std::mem::take(&mut world.samples);
    world.renew();
    world.serve();
    world.run(Duration::from_secs(60), |_| false);
    let view_with_news = view(world);

    let phases = [
        ("it joins", &joins),
        ("at rest", &rest),
        ("all others have news", &news),
        ("newcomers ask it for all", &newcomers),
        ("members that missed the news compare", &stragglers),
    ];
    section.table(
        &["", "steps", "mean", "p99", "p99.9", "p99.99", "longest", "allocations (in steps)"],
        &phases.map(|(name, samples)| row(name, samples)),
    );
    for (name, samples) in phases.into_iter().skip(1).take(2) {
        let (mean, longest) = (samples.mean(), samples.all_but(100));
        section.goal(mean < MEAN, format!("{name}: under 20 µs on average: {} µs", micros(mean)));
        section
            .goal(longest < LONGEST, format!("{name}: under 1 ms at the 99.99th percentile: {} µs", micros(longest)));
    }
    let longest = phases.into_iter().map(|(_, samples)| samples.all_but(0)).max().unwrap_or_default();
    section.goal(rest.allocations() == 0, format!("nothing is allocated at rest: {} times", rest.allocations()));
    section.goal(
        view_at_rest < VIEW,
        format!("the view takes under 4 MiB, which is all that the core has allocated: {} MiB", two(view_at_rest)),
    );
    section.note(format!(
        "The longest step of all took {} µs. With something to tell of every one of the others the view takes {} MiB: that is their \
         queue, which is given back once they are told.",
        micros(longest),
        two(view_with_news)
    ));
    section
}
