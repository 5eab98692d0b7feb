//! The main of every shard but the first.

use crate::mesh::{ShardReply, ShardRequest};
use crate::net::ConnectionCounts;
use crate::shard::{self, Lanes, Shard};
use ringlane_config::Config;
use std::rc::Rc;
use std::sync::Arc;

/// Opens when shard 0 says so, serves until it says stop.
pub async fn run(config: Arc<Config>, mesh: Lanes, counts: ConnectionCounts) {
    if let Some(shard) = open(config, &mesh, counts).await {
        let stopped = shard.stopped.listen();
        let _tasks = shard.start();
        stopped.await;
    }
}

/// `None`: the broker's start failed, here or elsewhere.
async fn open(config: Arc<Config>, mesh: &Lanes, counts: ConnectionCounts) -> Option<Rc<Shard>> {
    loop {
        let incoming = mesh.next().await;
        match incoming.request {
            ShardRequest::Scan(volumes) => {
                incoming.reply.send(ShardReply::Scanned(shard::scan_journals(&volumes).await));
            }
            ShardRequest::Open(opening) => {
                let shard = Shard::open(config, mesh.clone(), counts, opening, None);
                incoming.reply.send(ShardReply::Done);
                return Some(shard);
            }
            ShardRequest::Stop => {
                incoming.reply.send(ShardReply::Done);
                return None;
            }
            _ => incoming.reply.send(ShardReply::Failed("the shard is not open yet".into())),
        }
    }
}
