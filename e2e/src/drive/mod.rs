//! Drives servers over HTTP as fast as they answer, for a fixed time, and says how fast that was.
//!
//! ```text
//! Job ── threads ── lanes ── connections ──> servers
//!                     └── Tally, merged into one Outcome, beside what /proc says of the servers
//! ```
//!
//! It shares the processors with the servers that it measures, so it has to be far cheaper than they are: requests are
//! written out once before the clock starts ([`Requests`]), a lane sends one, waits for its answer and sends the next, and of
//! an answer only what is needed to find its end and to judge it is read ([`answer`]). What it costs itself is reported.
//!
//! It is a closed loop: a server that stalls is sent less meanwhile, so the percentiles are those of so many patient
//! clients, not of visitors who come at their own pace.

pub mod answer;
mod lane;
pub mod requests;
mod tally;
pub mod usage;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use lane::{Draw, Lane};
pub use requests::Requests;
pub use tally::Tally;
pub use usage::Usage;

/// 10 s for the last answers: longer than a server waits for its leader, so that a lane that is cut off then is a defect.
const LAST_ANSWERS: Duration = Duration::from_secs(10);

type Worker = thread::JoinHandle<io::Result<Tally>>;

/// What to send where.
#[derive(Debug, Clone)]
pub struct Job {
    /// The servers. Lanes are spread over them; where there are fewer lanes than servers, each lane takes them in turns.
    pub targets: Vec<SocketAddr>,
    /// How many requests are under way at once.
    pub lanes: usize,
    /// What is sent.
    pub requests: Arc<Requests>,
    /// How long it runs before it counts: connections, caches and the servers' batches find their size.
    pub warm_up: Duration,
    /// How long it counts.
    pub measured: Duration,
}

/// What came of a job.
#[derive(Debug)]
pub struct Outcome {
    /// Answers, failures and latencies within the measured time.
    pub tally: Tally,
    /// How long was measured.
    pub took: Duration,
    /// What each watched process used in that time.
    pub servers: Vec<Usage>,
    /// What this process, the generator, used.
    pub own: Usage,
}

impl Outcome {
    /// Good answers a second.
    #[expect(clippy::cast_precision_loss, reason = "rates below 2^52")]
    pub fn rate(&self) -> f64 {
        self.tally.answers() as f64 / self.took.as_secs_f64()
    }
}

impl Job {
    /// Runs it and watches these processes meanwhile.
    ///
    /// # Errors
    /// When a server accepts no connection, or a process to be watched is gone.
    pub fn run(&self, watched: &[u32]) -> io::Result<Outcome> {
        let begin = Instant::now() + self.warm_up;
        let end = begin + self.measured;
        let workers = self.spawn(begin, end, &Draw::Any);
        thread::sleep(begin.saturating_duration_since(Instant::now()));
        let (since, before) = (Instant::now(), usage::of(watched)?);
        let own_before = usage::own()?;
        thread::sleep(end.saturating_duration_since(Instant::now()));
        let (took, after, own_after) = (since.elapsed(), usage::of(watched)?, usage::own()?);
        let tally = joined(workers)?;
        let servers = before.iter().zip(&after).map(|(before, after)| after.since(before)).collect();
        Ok(Outcome { tally, took, servers, own: own_after.since(&own_before) })
    }

    /// Sends every request once, in no particular order, and returns when all are answered or the measured time is over.
    ///
    /// # Errors
    /// When a server accepts no connection.
    pub fn run_each_once(&self) -> io::Result<Tally> {
        let now = Instant::now();
        joined(self.spawn(now, now + self.measured, &Draw::EachOnce(Arc::default())))
    }

    /// As many threads as there are processors: the servers get what these leave, as they would from any neighbour.
    fn spawn(&self, begin: Instant, end: Instant, draw: &Draw) -> Vec<Worker> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let threads = cores.min(self.lanes).max(1);
        let one = |thread| {
            let (job, draw) = (self.clone(), draw.clone());
            thread::spawn(move || job.run_lanes((thread..job.lanes).step_by(threads), begin, end, &draw))
        };
        (0..threads).map(one).collect()
    }

    fn run_lanes(
        &self,
        lanes: impl Iterator<Item = usize>,
        begin: Instant,
        end: Instant,
        draw: &Draw,
    ) -> io::Result<Tally> {
        // One thread, one runtime: no lane ever moves between threads, so nothing is locked or woken across them.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let mut running = tokio::task::JoinSet::new();
            for number in lanes {
                let lane = Lane::connect(&self.targets, number, self.lanes, self.requests.clone()).await?;
                running.spawn(lane.run(begin, end, draw.clone()));
            }
            let mut tally = Tally::default();
            let all = async {
                while let Some(ended) = running.join_next().await {
                    tally.add(ended.map_err(io::Error::other)?);
                }
                Ok::<_, io::Error>(())
            };
            tokio::time::timeout_at((end + LAST_ANSWERS).into(), all)
                .await
                .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "a server left a request without an answer"))??;
            Ok(tally)
        })
    }
}

fn joined(workers: Vec<Worker>) -> io::Result<Tally> {
    let mut tally = Tally::default();
    for worker in workers {
        tally.add(worker.join().map_err(|_| io::Error::other("a thread of the generator panicked"))??);
    }
    Ok(tally)
}
