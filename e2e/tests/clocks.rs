//! What the harness does to a process's clock is what it says: the time of day is wrong, and nothing else is.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic is the verdict of a test")]

use std::sync::mpsc::channel;
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant, SystemTime};

use muster_e2e::clock::{Clock, Shift};
use muster_e2e::skip::needs;
use muster_e2e::{Process, until};
use rustix::time::{ClockId, clock_gettime};

/// One year either way.
const YEAR: Duration = Duration::from_secs(365 * 86_400);
/// 200 ms: the clock is set some dozens of times meanwhile.
const WAIT: Duration = Duration::from_millis(200);
/// 5 s more than that: a machine that does much else.
const LATE: Duration = Duration::from_secs(5);
/// Tells the one test that it is the process whose clock is wrong.
const CHILD: &str = "MUSTER_CLOCKS_CHILD";

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_moves_the_time_of_day_and_no_timer() {
    if std::env::var_os(CHILD).is_some() {
        tokio::task::spawn_blocking(by_a_wrong_clock).await.unwrap();
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let Some(clock) = needs("faketime", Clock::new(&folder.path().join("clock"))) else { return };
    let args = ["--exact", "a_clock_that_is_set_moves_the_time_of_day_and_no_timer", "--nocapture"];
    let process = Process::new("child", std::env::current_exe().unwrap(), args.map(str::to_owned));
    let mut process = clock.given_to(process.with_env(CHILD, "1"));
    process.spawn();
    let shifts = [Shift::Ahead(YEAR), Shift::NONE, Shift::Behind(YEAR), Shift::NONE];
    let mut next = shifts.iter().cycle();
    let ended = until(Duration::from_secs(60), async || {
        clock.set(*next.next().unwrap());
        process.exited()
    });
    let ended = ended.await.unwrap_or_else(|| panic!("it hangs:\n{}", process.run_log()));
    assert!(ended.success(), "{}", process.run_log());
}

/// The kernel's answer, which no library has touched.
fn kernel(clock: ClockId) -> Duration {
    let now = clock_gettime(clock);
    Duration::new(now.tv_sec.cast_unsigned(), u32::try_from(now.tv_nsec).unwrap())
}

fn by_a_wrong_clock() {
    let before = kernel(ClockId::Monotonic);
    let origin = Instant::now();
    let after = kernel(ClockId::Monotonic);
    let waits: [(&str, fn()); 5] = [
        ("thread", || std::thread::sleep(WAIT)),
        ("condition", || {
            let (never, lock) = (Condvar::new(), Mutex::new(()));
            drop(never.wait_timeout_while(lock.lock().unwrap(), WAIT, |()| true).unwrap());
        }),
        ("channel", || {
            let (_kept, receiver) = channel::<()>();
            receiver.recv_timeout(WAIT).unwrap_err();
        }),
        ("tokio", || runtime().block_on(async { tokio::time::sleep(WAIT).await })),
        ("a socket that is silent", || {
            runtime().block_on(async {
                let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
                tokio::time::timeout(WAIT, socket.recv(&mut [0; 1])).await.unwrap_err();
            });
        }),
    ];
    let (mut ahead, mut behind, mut right) = (0, 0, 0);
    for (what, wait) in waits {
        let since = kernel(ClockId::Monotonic);
        wait();
        let took = kernel(ClockId::Monotonic) - since;
        assert!((WAIT..WAIT + LATE).contains(&took), "{what} waited {took:?}");
    }
    let since = Instant::now();
    while ahead == 0 || behind == 0 || right == 0 {
        assert!(since.elapsed() < Duration::from_secs(30), "{ahead} ahead, {behind} behind, {right} right");
        let least = kernel(ClockId::Monotonic) - after;
        let told = origin.elapsed();
        let most = kernel(ClockId::Monotonic) - before;
        assert!((least..=most).contains(&told), "the monotonic clock tells {told:?}, and it is {least:?} to {most:?}");
        let day = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let truth = kernel(ClockId::Realtime);
        match day {
            _ if day > truth + YEAR / 2 => ahead += 1,
            _ if day + YEAR / 2 < truth => behind += 1,
            _ => right += 1,
        }
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}
