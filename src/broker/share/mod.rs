//! Share groups on the side of the records (KIP-932): sessions of their consumers, and the share partitions that they fetch from.
//!
//! A group's sessions live on one shard, found by the hash of its id; a share partition lives on the home shard of its partition. Each shard
//! has one [`Shares`]. `session`: what a consumer fetches, by its session. `table`: which share partitions live here. `host`: one of them, with
//! its log, its clock and the share coordinator. `read`: records that are read become a member's. `watch`: waits until there is something to
//! get. `call`: how a connection shard asks. `config`: the settings of a group.

mod call;
mod config;
mod host;
mod read;
mod session;
mod table;
mod watch;

pub use call::{
    AcknowledgeEntry, FetchedPartition, ShareCall, ShareFetchCall, ShareWorked, acknowledge_all, fetch_all, watch_all,
};
pub use config::group_settings;
pub use session::{FINAL_EPOCH, SessionAsked, SessionTold};
pub use table::Shares;
