//! Lets virtual time pass, one poll of one task at a time.

use super::executor::{Polled, poll};
use super::seed::nanos;
use super::world::World;
use super::{Sim, TaskPanic};
use crate::Instant;
use std::time::Duration;

/// Polls at one instant of virtual time after which the simulation is stuck in a loop that does not wait for anything.
const POLLS_PER_INSTANT_MAX: u64 = 5_000_000;

impl Sim {
    pub fn now(&self) -> Instant {
        Instant { nanos: self.world.borrow().now_nanos }
    }

    pub fn run_for(&mut self, duration: Duration) {
        self.run_until(duration, |_| false);
    }

    /// Runs until `is_done`, which is asked before every step of any task, or for `limit` of virtual time. Says whether it is done.
    pub fn run_until(&mut self, limit: Duration, mut is_done: impl FnMut(&Sim) -> bool) -> bool {
        let limit_nanos = self.now().nanos.saturating_add(nanos(limit));
        loop {
            if is_done(self) {
                return true;
            }
            if !self.step(limit_nanos) {
                return is_done(self);
            }
        }
    }

    /// One poll of one task or, if none is runnable, one planned event. False when there is neither before the limit.
    fn step(&mut self, limit_nanos: u64) -> bool {
        let Some(turn) = self.with(World::next_turn) else {
            return self.with(|world| world.advance(limit_nanos));
        };
        self.check_progress(turn.name);
        let (shard, name, is_main) = (turn.shard.clone(), turn.name, turn.is_main);
        match poll(&self.world, turn) {
            Polled::Pending => {}
            Polled::Ended if is_main => self.end_shard(&shard),
            Polled::Ended => {}
            Polled::Panicked(message) => {
                self.with(|world| world.panicked(&shard, name, message));
                if is_main {
                    self.end_shard(&shard);
                }
            }
        }
        self.fail_if_panicked();
        true
    }

    fn check_progress(&mut self, task: &str) {
        let now_nanos = self.now().nanos;
        let (instant, polls) = self.polls_at_instant;
        self.polls_at_instant = (now_nanos, if instant == now_nanos { polls + 1 } else { 0 });
        assert!(
            polls < POLLS_PER_INSTANT_MAX,
            "seed {}: {polls} polls at one instant, the last of task {task}: it loops without waiting\n{}",
            self.seed,
            self.trace_tail(),
        );
    }

    fn fail_if_panicked(&self) {
        let world = self.world.borrow();
        if let (true, Some(panic)) = (world.options.fail_on_panic, world.panics.first()) {
            let TaskPanic { node, shard, task, message } = panic;
            panic!(
                "seed {}: {node} shard {}, task {task} panicked: {message}\n{}",
                self.seed,
                shard.0,
                world.trace.tail()
            );
        }
    }
}
