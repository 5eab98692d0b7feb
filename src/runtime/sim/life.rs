//! The life of nodes: start, orderly stop, kill -9, power loss.

use super::executor::{Removed, drop_tasks};
use super::world::{Shard, World};
use super::{LocalMain, NodeId, Sim};
use crate::{ShardId, ShardMain, Signal};
use std::rc::Rc;

impl Sim {
    /// A machine with an empty disk, not started.
    pub fn add_node(&mut self) -> NodeId {
        self.with(World::add_node)
    }

    /// Starts a process on `node`: one shard for each main.
    pub fn start(&mut self, node: NodeId, mains: Vec<ShardMain>) {
        self.start_local(node, mains.into_iter().map(|main| main as LocalMain).collect());
    }

    pub fn start_local(&mut self, node: NodeId, mains: Vec<LocalMain>) {
        assert!(!self.is_running(node), "{node} runs already");
        let (life, count) = self.with(|world| {
            let state = world.node(node);
            state.life += 1;
            state.signals.clear();
            (state.life, mains.len())
        });
        for (index, main) in mains.into_iter().enumerate() {
            let shard = Shard::new(&self.world, node, life, ShardId(index as u16), count);
            self.with(|world| {
                shard.record(world, "start", life, 0);
                world.node(node).shards.push(shard.clone());
                let run = Box::pin(async move { main().await });
                let added = world.add_task(&shard, "main", true, run);
                assert!(added.is_ok(), "a new shard lives");
            });
        }
    }

    /// Power loss: every task ends at once, every connection breaks, and of what was not durable the seed decides what is left.
    pub fn crash(&mut self, node: NodeId) {
        self.end_process(node, "crash");
        self.with(|world| {
            let World { nodes, seed, .. } = world;
            nodes[node.index()].disk.power_lost(seed);
        });
    }

    /// kill -9: every task ends at once, every connection breaks; what was written stays.
    pub fn kill(&mut self, node: NodeId) {
        self.end_process(node, "kill");
    }

    /// Asks the process to stop in order, as SIGTERM does.
    pub fn stop(&mut self, node: NodeId) {
        self.signal(node, Signal::Stop);
    }

    pub fn signal(&mut self, node: NodeId, signal: Signal) {
        self.with(|world| {
            let state = world.node(node);
            state.signals.push_back(signal);
            let waiter = state.signal_waiter.take();
            world.wake(waiter);
            world.record(node, ShardId(0), "signal", signal as u64, 0);
        });
    }

    /// Until its shards' mains have all ended, or a crash.
    pub fn is_running(&self, node: NodeId) -> bool {
        self.world.borrow_mut().node(node).shards.iter().any(|shard| shard.is_alive())
    }

    /// Moves the node's wall clock, forwards or back.
    pub fn jump_wall_clock(&mut self, node: NodeId, by_ms: i64) {
        self.with(|world| world.node(node).wall_clock_offset_ms += by_ms);
    }

    /// The shard's main returned: its other tasks are dropped while their destructors still count, and with its last shard the process
    /// ends.
    pub(super) fn end_shard(&mut self, shard: &Rc<Shard>) {
        drop_tasks(self.with(|world| world.remove_tasks_of(|of| std::ptr::eq(of, &**shard))));
        shard.end();
        drop_tasks(self.with(|world| world.remove_tasks_of(|of| std::ptr::eq(of, &**shard))));
        if !self.is_running(shard.node) {
            self.end_process(shard.node, "end");
        }
    }

    pub(super) fn end_process(&mut self, node: NodeId, how: &'static str) {
        let removed: Vec<Removed> = self.with(|world| {
            let shards = std::mem::take(&mut world.node(node).shards);
            shards.iter().for_each(|shard| shard.end());
            world.record(node, ShardId(0), how, shards.len() as u64, 0);
            let life = world.node(node).life;
            let removed = world.remove_tasks_of(|shard| shard.node == node && shard.life == life);
            world.end_sockets_of(node);
            let World { nodes, seed, .. } = world;
            nodes[node.index()].disk.process_ended(seed);
            nodes[node.index()].signal_waiter = None;
            removed
        });
        drop_tasks(removed);
    }
}
