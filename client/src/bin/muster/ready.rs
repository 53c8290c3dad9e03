//! `muster ready`

use clap::Args;
use muster_client::Client;

use crate::failure::{Failure, Status};
use crate::output::{self, Format};

/// Ask one node, or one registry, whether it is ready
///
/// For health checks: one question to that process and no other. Exits with 0 when it is ready, and with 5 when it is
/// not or does not answer, saying which check failed.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  muster ready
  muster ready http://127.0.0.1:8080        the registry")]
pub(crate) struct Ready {
    /// Where it serves
    #[arg(value_name = "URL", default_value = "http://127.0.0.1:8050")]
    at: String,
}

impl Ready {
    pub(crate) async fn run(self, format: Format) -> Result<(), Failure> {
        let health = Client::builder().endpoint(&self.at).build()?.readiness().await?;
        if format == Format::Json {
            output::json(&health)?;
        }
        if health.ok {
            return if format == Format::Json { Ok(()) } else { Ok(output::line("ready")?) };
        }
        let failed = health.checks.iter().filter(|(_, check)| !check.ok);
        let failed: Vec<String> = failed.map(|(name, check)| format!("{name}: {}", check.message)).collect();
        Err(Failure::new(Status::NoNode, format!("{} is not ready: {}", self.at, failed.join("; "))))
    }
}
