//! `muster-registry`.

use std::io::Write;
use std::process::ExitCode;

use muster_registry::flags::Flags;
use muster_registry::startup;

/// Small allocations of short life from several threads: measurably less memory kept than with the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let flags: Flags = muster_client::flags::parse();
    // actix tells how many workers it starts; that is of no use to an operator, nor is what a client wrote that is no HTTP.
    env_logger::Builder::from_env(
        env_logger::Env::default().default_filter_or("info,actix_server=warn,actix_http=off"),
    )
    .init();
    match actix_web::rt::System::new().block_on(startup::run(flags)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Not through the log, which may be off. Nobody may be listening on standard error either.
            let _ = writeln!(std::io::stderr(), "muster-registry: {error}");
            ExitCode::FAILURE
        }
    }
}
