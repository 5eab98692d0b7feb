//! Owns everything that is simulated: the clock, what happens later, the nodes with their disks, the network, the tasks.
//!
//! One `RefCell` holds it all. Borrows are short: no task is polled, dropped or woken and no user code runs while one is held, which
//! [`Shard::with`] and [`World::wake`] see to.

use super::disk::Disk;
use super::executor::Tasks;
use super::net::Network;
use super::seed::{Seed, nanos};
use super::trace::Trace;
use super::{NodeId, SimOptions, TaskPanic};
use crate::{ShardId, Signal};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::task::Waker;

/// 2026-01-01T00:00:00Z: what the wall clock of every node says when a simulation starts.
const EPOCH_MS: i64 = 1_767_225_600_000;

/// Labels of the generators derived from the seed.
mod purpose {
    pub const WORLD: u64 = 1;
    pub const SCHEDULE: u64 = 2;
    pub const SHARD: u64 = 1 << 32;
}

pub(crate) struct World {
    pub(super) now_nanos: u64,
    later: BTreeMap<(u64, u64), Action>,
    next_action: u64,
    pub(super) options: SimOptions,
    root_seed: Seed,
    /// Delays and faults.
    pub(super) seed: Seed,
    /// Which runnable task is next.
    pub(super) schedule: Seed,
    pub(super) trace: Trace,
    pub(super) nodes: Vec<Node>,
    pub(super) network: Network,
    pub(super) tasks: Tasks,
    pub(super) panics: Vec<TaskPanic>,
    wakes: Vec<Waker>,
}

pub(super) type Action = Box<dyn FnOnce(&mut World)>;

/// Names a planned action, to take it back.
#[derive(Clone, Copy)]
pub(super) struct ActionId(u64, u64);

pub(super) struct Node {
    pub(super) id: NodeId,
    /// Counts starts; what was planned in an earlier life does not happen in a later one.
    pub(super) life: u64,
    pub(super) shards: Vec<Rc<Shard>>,
    pub(super) disk: Disk,
    pub(super) signals: VecDeque<Signal>,
    pub(super) signal_waiter: Option<Waker>,
    pub(super) wall_clock_offset_ms: i64,
    pub(super) next_port: u16,
}

impl World {
    pub(super) fn new(seed: u64, options: SimOptions) -> World {
        let root_seed = Seed::new(seed);
        World {
            now_nanos: 0,
            later: BTreeMap::new(),
            next_action: 0,
            options,
            seed: root_seed.derive(purpose::WORLD),
            schedule: root_seed.derive(purpose::SCHEDULE),
            root_seed,
            trace: Trace::new(seed),
            nodes: Vec::new(),
            network: Network::default(),
            tasks: Tasks::default(),
            panics: Vec::new(),
            wakes: Vec::new(),
        }
    }

    pub(super) fn add_node(&mut self) -> NodeId {
        assert!(self.nodes.len() < 250, "the simulated network 10.0.0.0/24 has room for 250 nodes");
        let id = NodeId(self.nodes.len() as u16 + 1);
        self.nodes.push(Node {
            id,
            life: 0,
            shards: Vec::new(),
            disk: Disk::new(self.options.disk.clone()),
            signals: VecDeque::new(),
            signal_waiter: None,
            wall_clock_offset_ms: EPOCH_MS,
            next_port: 40_000,
        });
        id
    }

    pub(super) fn node(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[id.index()]
    }

    /// Plans `action` for `delay_nanos` from now. Actions of one instant happen in the order in which they were planned.
    pub(super) fn after(&mut self, delay_nanos: u64, action: impl FnOnce(&mut World) + 'static) -> ActionId {
        let id = ActionId(self.now_nanos.saturating_add(delay_nanos), self.next_action);
        self.next_action += 1;
        self.later.insert((id.0, id.1), Box::new(action));
        id
    }

    /// Like [`World::after`], but only if `shard` still lives then.
    pub(super) fn after_if_alive(
        &mut self,
        shard: &Rc<Shard>,
        delay_nanos: u64,
        action: impl FnOnce(&mut World) + 'static,
    ) {
        let shard = shard.clone();
        self.after(delay_nanos, move |world| {
            if shard.is_alive() {
                action(world);
            }
        });
    }

    /// The action is to be dropped where the world is not borrowed: it may own wakers.
    #[must_use = "return it from `with`"]
    pub(super) fn take_back(&mut self, id: ActionId) -> Option<Action> {
        self.later.remove(&(id.0, id.1))
    }

    /// Like [`World::take_back`], everything.
    #[must_use = "return it from `with`"]
    pub(super) fn take_all_planned(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.later).into_values().collect()
    }

    /// Moves the clock to the next planned action, not past `limit_nanos`, and performs it. False when there is none.
    pub(super) fn advance(&mut self, limit_nanos: u64) -> bool {
        let Some(next) = self.later.first_entry().filter(|next| next.key().0 <= limit_nanos) else {
            self.now_nanos = self.now_nanos.max(limit_nanos);
            return false;
        };
        let ((nanos, _), action) = next.remove_entry();
        self.now_nanos = nanos;
        action(self);
        true
    }

    pub(super) fn record(&mut self, node: NodeId, shard: ShardId, kind: &'static str, subject: u64, digest: u64) {
        self.trace.record(self.now_nanos, node, shard, kind, subject, digest);
    }

    pub(super) fn panicked(&mut self, shard: &Shard, task: &'static str, message: String) {
        shard.record(self, "panic", 0, 0);
        self.panics.push(TaskPanic { node: shard.node, shard: shard.id, task, message });
    }

    /// Wakes `waker` as soon as the world is no longer borrowed.
    pub(super) fn wake(&mut self, waker: Option<Waker>) {
        self.wakes.extend(waker);
    }
}

/// Runs `change` on the world, then wakes whom it wants woken.
pub(super) fn with<R>(world: &RefCell<World>, change: impl FnOnce(&mut World) -> R) -> R {
    let (result, wakes) = {
        let mut world = world.borrow_mut();
        let result = change(&mut world);
        (result, std::mem::take(&mut world.wakes))
    };
    wakes.into_iter().for_each(Waker::wake);
    result
}

/// One shard of one node in one life. What code that runs in the simulator sees as its machine.
pub(crate) struct Shard {
    pub(super) world: Rc<RefCell<World>>,
    pub(super) node: NodeId,
    pub(super) life: u64,
    id: ShardId,
    count: usize,
    alive: Cell<bool>,
    seed: RefCell<Seed>,
}

impl Shard {
    pub(super) fn new(world: &Rc<RefCell<World>>, node: NodeId, life: u64, id: ShardId, count: usize) -> Rc<Shard> {
        let label = purpose::SHARD + (u64::from(node.0) << 48) + (life << 16) + u64::from(id.0);
        let seed = world.borrow().root_seed.derive(label);
        Rc::new(Shard { world: world.clone(), node, life, id, count, alive: Cell::new(true), seed: RefCell::new(seed) })
    }

    pub(crate) fn id(&self) -> ShardId {
        self.id
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// False from the moment at which the node crashes or this shard's main future ends: destructors that run later change nothing.
    pub(super) fn is_alive(&self) -> bool {
        self.alive.get()
    }

    pub(super) fn end(&self) {
        self.alive.set(false);
    }

    pub(super) fn with<R>(&self, change: impl FnOnce(&mut World) -> R) -> R {
        with(&self.world, change)
    }

    pub(super) fn record(&self, world: &mut World, kind: &'static str, subject: u64, digest: u64) {
        world.record(self.node, self.id, kind, subject, digest);
    }

    pub(super) fn fill_random(&self, bytes: &mut [u8]) {
        let mut seed = self.seed.borrow_mut();
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&seed.number().to_le_bytes()[..chunk.len()]);
        }
    }

    pub(super) fn wall_clock_ms(&self) -> i64 {
        self.with(|world| {
            let since_start_ms = (world.now_nanos / nanos(std::time::Duration::from_millis(1))) as i64;
            world.node(self.node).wall_clock_offset_ms + since_start_ms
        })
    }
}
