//! Serves what other shards ask of this one.
//!
//! One task per shard takes requests off the lanes. Appends are sequenced before the next request is looked at, which is what keeps a
//! producer's order; whatever may wait runs as a task of its own.

use super::SERVED_PER_TURN;
use super::message::{ShardReply, ShardRequest};
use crate::net::Connection;
use crate::shard::Shard;
use crate::task::start;
use ringlane_runtime::{OneshotSender, ReplyTo, give_way, spawn};
use std::rc::Rc;

/// Where the answer goes.
pub enum Reply {
    Lane(ReplyTo<ShardReply>),
    Own(OneshotSender<ShardReply>),
}

impl Reply {
    pub fn send(self, reply: ShardReply) {
        match self {
            Reply::Lane(lane) => lane.send(reply),
            // Nobody waits any more: the connection is gone.
            Reply::Own(own) => drop(own.send(reply)),
        }
    }
}

/// Serves until the shard is told to stop.
pub async fn serve(shard: Rc<Shard>) {
    let mut served = 0;
    loop {
        let incoming = shard.mesh.next().await;
        shard.metrics.lane_depth_max.raise_to(1 + shard.mesh.depth() as i64);
        handle(&shard, incoming.request, Reply::Lane(incoming.reply));
        served += 1;
        if served % SERVED_PER_TURN == 0 {
            give_way().await;
        }
    }
}

/// Does one request, or starts it. Never waits.
pub fn handle(shard: &Rc<Shard>, request: ShardRequest, reply: Reply) {
    match request {
        ShardRequest::Append(request) => {
            shard.home.append(request, move |appended| reply.send(ShardReply::Append(appended)));
        }
        ShardRequest::Verify(request) => reply.send(ShardReply::Verify(shard.home.verify(request))),
        ShardRequest::Markers(request) => {
            shard.serve_markers(request, move |written| reply.send(ShardReply::Append(written)));
        }
        ShardRequest::Producers(wanted) => reply.send(ShardReply::Producers(shard.home.producers(&wanted))),
        ShardRequest::Transaction(call) => shard.serve_transaction(call, reply),
        ShardRequest::ShareState(call) => shard.serve_share_state(call, reply),
        ShardRequest::Share(call) => shard.serve_share(call, reply),
        ShardRequest::ShareSession(asked) => {
            let told = shard.shares.sessions.borrow_mut().ask(asked);
            reply.send(ShardReply::ShareSession(told));
        }
        ShardRequest::ShareWake(number) => {
            shard.shares.watches.wake(number);
            reply.send(ShardReply::Done);
        }
        ShardRequest::Hurry(ticket) => {
            shard.home.hurry(ticket);
            reply.send(ShardReply::Done);
        }
        ShardRequest::EpochEnds(request) => reply.send(ShardReply::EpochEnds(shard.home.epoch_ends(request))),
        ShardRequest::Read(request) => {
            // Decided now, so that a `Hurry` right behind it finds the read waiting.
            let reading = shard.home.read(request);
            start("read", async move { reply.send(ShardReply::Read(reading.await)) });
        }
        ShardRequest::Offsets(request) => {
            let home = shard.home.clone();
            start("offsets", async move { reply.send(ShardReply::Offsets(home.offsets(request).await)) });
        }
        ShardRequest::DeleteRecords(request) => {
            let home = shard.home.clone();
            start("delete records", async move {
                reply.send(ShardReply::DeleteRecords(home.delete_records(request).await));
            });
        }
        ShardRequest::Group(call) => shard.serve_group(call, reply),
        ShardRequest::GroupAnswer(number, result) => {
            shard.coordinators.answers.settle(number, result);
            reply.send(ShardReply::Done);
        }
        ShardRequest::LogSizes => reply.send(ShardReply::LogSizes(shard.home.log_sizes())),
        ShardRequest::Connection(accepted) => {
            let serving = Connection::serve(shard.clone(), accepted);
            spawn("connection", serving).detach();
            reply.send(ShardReply::Done);
        }
        ShardRequest::Publish(publication) => {
            let shard = shard.clone();
            start("publish", async move {
                reply.send(match shard.publish(publication).await {
                    Ok(()) => ShardReply::Done,
                    Err(message) => ShardReply::Failed(message),
                })
            });
        }
        ShardRequest::FailedDirectories => reply.send(ShardReply::Directories(shard.failed_directories())),
        ShardRequest::Begin(given_up) => {
            let shard = shard.clone();
            start("begin", async move {
                reply.send(match shard.begin(&given_up).await {
                    Ok(()) => ShardReply::Done,
                    Err(message) => ShardReply::Failed(message),
                })
            });
        }
        ShardRequest::EndRecovery => {
            let shard = shard.clone();
            start("end of recovery", async move {
                shard.end_recovery().await;
                reply.send(ShardReply::Done);
            });
        }
        ShardRequest::Controller(request) => {
            let shard = shard.clone();
            start("controller", async move { reply.send(ShardReply::Controller(shard.decide(request).await)) });
        }
        ShardRequest::Report => reply.send(ShardReply::Report(Box::new(shard.snapshot()))),
        ShardRequest::Stop => {
            let shard = shard.clone();
            start("stop", async move {
                reply.send(match shard.stop().await {
                    Ok(()) => ShardReply::Done,
                    Err(message) => ShardReply::Failed(message),
                });
                shard.stopped.notify_all();
            });
        }
        ShardRequest::Open(_) | ShardRequest::Scan(_) => {
            tracing::error!(shard = shard.id.0, "asked to open twice");
            reply.send(ShardReply::Failed("the shard is open already".into()));
        }
    }
}
