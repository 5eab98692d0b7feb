//! The commands that are clients of a broker, and those that look at its files.

pub mod consume;
pub mod delete_records;
pub mod group;
pub mod log;
pub mod produce;
pub mod topic;
pub mod txn;
