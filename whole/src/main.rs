//! Runs seeds: `whole --from 1 --count 1000`, or one with its story: `whole --from 17 --story`.

#[cfg(not(simulated))]
fn main() -> std::process::ExitCode {
    eprintln!("not built for the simulated world; see docs/reliability.md");
    std::process::ExitCode::from(2)
}

#[cfg(simulated)]
fn main() -> std::process::ExitCode {
    simulated::main()
}

#[cfg(simulated)]
mod simulated {
    use std::process::ExitCode;
    use std::time::Instant;

    use clap::Parser;
    use muster_whole::run::{Plan, run};

    /// Whole nodes in a simulated world, seed by seed.
    #[derive(Debug, Parser)]
    struct Arguments {
        /// The first seed.
        #[arg(long, default_value_t = 1)]
        from: u64,
        /// How many.
        #[arg(long, default_value_t = 1)]
        count: u64,
        /// Tells what happens.
        #[arg(long)]
        story: bool,
        /// Runs every seed twice and compares.
        #[arg(long)]
        twice: bool,
        /// Goes on after a violation.
        #[arg(long)]
        keep_going: bool,
    }

    #[expect(clippy::print_stdout, reason = "its output")]
    pub(super) fn main() -> ExitCode {
        env_logger::init();
        let arguments = Arguments::parse();
        let (began, mut bad) = (Instant::now(), 0);
        for seed in arguments.from..arguments.from + arguments.count {
            let plan = Plan { seed, ..Plan::default() };
            let report = run(&plan);
            if arguments.story {
                report.story.iter().for_each(|line| println!("{line}"));
            }
            println!(
                "seed {seed}: trace {:016x}, {} ms, {}, {} violations",
                report.trace,
                report.length,
                report.record.counts(),
                report.violations.len()
            );
            report.violations.iter().take(10).for_each(|violation| println!("  {violation}"));
            let parted = arguments.twice.then(|| run(&plan)).filter(|again| again.trace != report.trace);
            if let Some(again) = &parted {
                let at = again.traces.iter().zip(&report.traces).position(|(one, other)| one != other);
                println!("  another trace the second time, from {at:?} ms on");
            }
            let same = parted.is_none();
            if !report.violations.is_empty() || !same {
                bad += 1;
                if !arguments.keep_going {
                    println!("again: whole --from {seed} --story");
                    break;
                }
            }
        }
        println!("{bad} bad of {} in {:.1} s", arguments.count, began.elapsed().as_secs_f64());
        if bad == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
