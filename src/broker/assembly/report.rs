//! `kill -USR1`: the counters of all shards, for people, on standard error.

use crate::mesh::{ShardReply, ShardRequest};
use crate::shard::Shard;
use ringlane_metrics::{Snapshot, report};
use ringlane_protocol::ApiKey;
use ringlane_runtime::{ShardId, shard_count};
use std::rc::Rc;

pub async fn print(shard: &Rc<Shard>) {
    let mut total: Option<Snapshot> = None;
    for to in 0..shard_count() {
        let Some(ShardReply::Report(snapshot)) = shard.ask(ShardId(to as u16), ShardRequest::Report).await else {
            continue;
        };
        match &mut total {
            Some(total) => total.merge(&snapshot),
            none => *none = Some(*snapshot),
        }
    }
    if let Some(total) = total {
        eprint!("{}", report(&total, |key| ApiKey::from_i16(key).map(ApiKey::name)));
    }
}
