//! The broker seen from the wire: raw frames from a simulated client to a whole simulated broker. One story each; time is virtual, so waiting
//! for a timeout costs nothing.

mod apis;
mod bad_input;
mod bad_records;
mod compaction;
mod consumer_groups;
mod fetches;
mod groups;
mod kit;
mod log_start;
mod order;
mod share_groups;
mod transactions;
