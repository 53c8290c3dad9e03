//! What is measured: one kind of request at one number of connections.

use clap::ValueEnum;

use crate::options::Route;

/// One row of the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Cell {
    /// A lone writer who takes the members in turns.
    #[value(name = "write-1")]
    Write1,
    /// A lone writer who talks to the leader.
    #[value(name = "write-1-leader")]
    Write1Leader,
    /// Writes over 64 connections.
    #[value(name = "write-64")]
    Write64,
    /// Writes over 256 connections.
    #[value(name = "write-256")]
    Write256,
    /// Reads of what a member has, over 64 connections.
    #[value(name = "local-64")]
    Local64,
    /// Reads confirmed by a majority, over 64 connections.
    #[value(name = "linearizable-64")]
    Linearizable64,
}

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Put a value of 256 bytes, acknowledged when it is durable.
    Write,
    /// Read what the member has (etcd: serializable).
    Local,
    /// Read what a majority confirms.
    Linearizable,
}

impl Cell {
    /// All of them, in the order of the tables.
    pub(crate) const ALL: [Self; 6] =
        [Self::Write1, Self::Write1Leader, Self::Write64, Self::Write256, Self::Local64, Self::Linearizable64];

    /// What is asked.
    pub(crate) fn operation(self) -> Operation {
        match self {
            Self::Write1 | Self::Write1Leader | Self::Write64 | Self::Write256 => Operation::Write,
            Self::Local64 => Operation::Local,
            Self::Linearizable64 => Operation::Linearizable,
        }
    }

    /// How many requests are under way at once.
    pub(crate) fn connections(self) -> usize {
        match self {
            Self::Write1 | Self::Write1Leader => 1,
            Self::Write64 | Self::Local64 | Self::Linearizable64 => 64,
            Self::Write256 => 256,
        }
    }

    /// Which members are asked.
    pub(crate) fn route(self, chosen: Route) -> Route {
        if self == Self::Write1Leader { Route::Leader } else { chosen }
    }

    /// For people.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Write1 => "writes, 1 connection",
            Self::Write1Leader => "writes, 1, to leader",
            Self::Write64 => "writes, 64 connections",
            Self::Write256 => "writes, 256 connections",
            Self::Local64 => "local reads, 64",
            Self::Linearizable64 => "linearizable reads, 64",
        }
    }
}
