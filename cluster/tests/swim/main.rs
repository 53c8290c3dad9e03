//! The membership core in virtual time: scripts with their transcripts, and random faults over many seeds.

mod checker;
mod net;
mod random;
mod script;
