//! How a command ends when it fails: a line or two for people, an exit status for scripts.

use std::io::{self, Write};
use std::process::ExitCode;

use muster_client::Error;
use muster_client::api::{ErrorCode, Outcome};

/// Why a command failed. An empty message: everything has been said on standard output.
#[derive(Debug)]
pub(crate) struct Failure {
    status: Status,
    message: String,
}

/// What scripts decide by. Part of the product's contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    /// The reader of our output has gone; nothing is wrong.
    Done = 0,
    Failed = 1,
    Usage = 2,
    NotFound = 3,
    ConditionNotMet = 4,
    NoNode = 5,
    Unknown = 6,
}

impl Failure {
    pub(crate) fn new(status: Status, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    #[cfg(test)]
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// Says it on standard error.
    pub(crate) fn report(self) -> ExitCode {
        if !self.message.is_empty() {
            // Nobody is left to tell when standard error is closed.
            let _ = writeln!(io::stderr(), "muster: {}", self.message);
        }
        ExitCode::from(self.status as u8)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::new(Status::Done, ""),
            _ => Self::new(Status::Failed, error.to_string()),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let status = status(&error);
        let hint = match status {
            Status::Unknown => {
                "\nWhether it took effect is unknown: look (`muster get`, `muster status`) before doing it again."
            }
            Status::NoNode if matches!(error, Error::NoAnswer { .. }) => {
                "\nNothing was changed. Is a node running there? Name another with --endpoint, or a registry with --registry-address."
            }
            Status::NoNode => "\nNothing was changed. `muster doctor` says why.",
            _ => "",
        };
        Self::new(status, format!("{error}{hint}"))
    }
}

fn status(error: &Error) -> Status {
    if error.outcome() == Outcome::Unknown {
        return Status::Unknown;
    }
    match error {
        Error::Invalid(_) => Status::Usage,
        Error::ConditionFailed { .. } => Status::ConditionNotMet,
        Error::NoAnswer { .. } => Status::NoNode,
        _ => match error.code() {
            Some(ErrorCode::NotFound) => Status::NotFound,
            Some(ErrorCode::NoLeader | ErrorCode::NotLeader | ErrorCode::NotReady) => Status::NoNode,
            _ => Status::Failed,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_became_of_the_data_decides_before_anything_else() {
        let lost = |outcome| status(&Error::NoAnswer { outcome, tried: Vec::new() });
        assert_eq!(lost(Outcome::Unknown), Status::Unknown);
        assert_eq!(lost(Outcome::NotApplied), Status::NoNode);
        assert_eq!(status(&Error::ConditionFailed { current: None }), Status::ConditionNotMet);
        assert_eq!(status(&Error::Invalid("".to_owned())), Status::Usage);
    }

    #[test]
    fn a_reader_that_leaves_early_is_no_failure() {
        let failure = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!((failure.status, failure.message.as_str()), (Status::Done, ""));
    }
}
