//! Membership and election.
