//! Sockets to requests, answers to sockets.
//!
//! `listener` accepts on shard 0 and hands each socket to the least connected shard; there `connection` serves it: `receive` cuts frames,
//! `api` answers them, `responses` keeps the answers in order. Knows frames, not APIs.

mod bell;
mod connection;
mod connections;
mod listener;
mod receive;
mod refusals;
mod responses;

pub use connection::Connection;
pub use connections::{ConnectionCounts, Connections};
pub use listener::{Accepted, Acceptor};
pub use receive::{Admitted, Frame};
pub use refusals::Refusals;
pub use responses::{Answer, CloseReason, QUEUED_BYTES_MAX, Response, Slot};
