//! The commands that are clients of a broker.

pub mod consume;
pub mod delete_records;
pub mod produce;
pub mod topic;
