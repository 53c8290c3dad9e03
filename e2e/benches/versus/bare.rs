//! The ceiling: an actix handler that keeps nothing and answers a constant of a value's size.
//!
//! It runs as processes of its own, as many as there are members of the others, so that connections, processes and the
//! generator's work are the same and only the store is missing.

use std::env;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use actix_web::web::{self, Bytes};
use actix_web::{App, HttpResponse, HttpServer};
use muster_e2e::Process;

use crate::system::{MEMBERS, VALUE};

const ANSWER: &[u8] = &[b'x'; VALUE];

/// Running processes.
#[derive(Debug)]
pub(crate) struct Bare {
    processes: Vec<Process>,
    targets: Vec<SocketAddr>,
}

impl Bare {
    /// Starts them.
    pub(crate) async fn start() -> io::Result<Self> {
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).to_string();
        let (mut processes, mut targets) = (Vec::new(), Vec::new());
        for number in 1..=MEMBERS {
            let args = ["--serve-bare".to_owned(), at.clone()];
            let mut process = Process::new(format!("bare{number}"), env::current_exe()?, args);
            process.spawn();
            targets.push(process.ready().await.http);
            processes.push(process);
        }
        Ok(Self { processes, targets })
    }

    /// The processes.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.processes.iter().map(Process::pid).collect()
    }

    /// Where they serve.
    pub(crate) fn targets(&self) -> Vec<SocketAddr> {
        self.targets.clone()
    }
}

/// Is such a process: serves until it is killed.
pub(crate) fn serve(at: SocketAddr) -> io::Result<()> {
    actix_web::rt::System::new().block_on(async {
        let get = || async { HttpResponse::Ok().body(ANSWER) };
        let put = |_: Bytes| async { HttpResponse::Ok().body(ANSWER) };
        let app =
            move || App::new().route("/kv/{key:.*}", web::get().to(get)).route("/kv/{key:.*}", web::put().to(put));
        let server = HttpServer::new(app).bind(at)?;
        let bound = server.addrs().first().copied().ok_or_else(|| io::Error::other("nothing was bound"))?;
        println!("ready http={bound}");
        server.run().await
    })
}
