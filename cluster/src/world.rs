//! What is asked of the machine beside time: sockets, the time of day, chance, and threads for what blocks.
//!
//! The driver and programs that stand on it ask here and nowhere else. So a whole program can run in a simulated world as well, where all of it comes
//! from one seed (`--cfg simulated`, see `docs/reliability.md`); otherwise these are the system's and tokio's own. Time is tokio's in either world.

#[cfg(simulated)]
pub use simulated::*;
#[cfg(not(simulated))]
pub use system::*;

#[cfg(not(simulated))]
mod system {
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    pub use tokio::task::spawn_blocking;
    use uuid::Uuid;

    /// Sockets.
    pub mod net {
        pub use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
        pub use tokio::net::{TcpListener, TcpStream, UdpSocket};
    }

    /// The time of day, since 1970. A clock set before that reads as 1970.
    pub fn wall_clock() -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }

    /// A number that nobody can foresee.
    pub fn random() -> u64 {
        rand::random()
    }

    /// A random identity (version 4).
    pub fn uuid() -> Uuid {
        Uuid::new_v4()
    }

    /// Runs something that nobody waits for on a thread of its own.
    pub fn detach(run: impl FnOnce() + Send + 'static) {
        std::thread::spawn(run);
    }
}

#[cfg(simulated)]
mod simulated {
    pub use muster_world::{disk, net, now, uuid, wall_clock};
    use tokio::task::JoinHandle;

    /// A number of the machine's own chance.
    pub fn random() -> u64 {
        muster_world::random()
    }

    /// Runs it as a task: in this world blocking takes no time, and a thread would bring its own chance.
    pub fn spawn_blocking<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        tokio::spawn(async move { run() })
    }

    /// Runs it now.
    pub fn detach(run: impl FnOnce() + Send + 'static) {
        run();
    }
}
