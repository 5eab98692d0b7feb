//! The simulated machine: N nodes with S shards each in one thread, virtual clock, network and disks with faults, all from a seed.
//!
//! ```
//! use ringlane_runtime::sim::{Sim, SimOptions};
//! use std::time::Duration;
//!
//! let mut sim = Sim::new(7, SimOptions::default());
//! let node = sim.add_node();
//! sim.start(node, vec![Box::new(|| Box::pin(async { ringlane_runtime::sleep(Duration::from_secs(3600)).await }))]);
//! assert!(sim.run_until(Duration::from_secs(4000), |sim| !sim.is_running(node)));
//! assert_eq!(sim.now().as_nanos(), 3_600_000_000_000);
//! ```
//! The test drives: it starts nodes, lets virtual time pass with [`Sim::run_for`] and [`Sim::run_until`], and in between crashes nodes,
//! cuts the network, breaks disks. The clock moves only when no task is runnable, so a simulated hour of waiting costs nothing. Which
//! runnable task is next, every delay and every fault come from the seed: a run can be repeated exactly, and [`Sim::trace_hash`] of two
//! runs of one seed is equal (if it is not, something above the runtime uses a real clock, a random hash map or an address).
//!
//! `life` starts and ends nodes, `run` lets time pass, `faults` breaks network and disks; what they change is the `world`.
//!
//! Node N is the host `node-N` with the address 10.0.0.N, and an own disk that outlives its crashes. The list of what the facade
//! calls here is in `context.rs`.

mod completion;
mod disk;
mod end;
mod executor;
mod faults;
pub(crate) mod file;
pub(crate) mod fs;
mod life;
pub(crate) mod net;
mod options;
pub(crate) mod random;
mod run;
mod seed;
pub(crate) mod signal;
pub(crate) mod task;
pub(crate) mod time;
mod trace;
mod world;

pub use options::{DiskOptions, IoFault, IoKind, NetworkOptions, SimOptions};
pub use seed::Seed;
pub(crate) use world::Shard;

use crate::ShardId;
use std::cell::RefCell;
use std::fmt::{Display, Formatter};
use std::future::Future;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::rc::Rc;
use world::{World, with};

/// A simulation, all of it. Dropping it ends every task.
pub struct Sim {
    seed: u64,
    world: Rc<RefCell<World>>,
    driver: Seed,
    polls_at_instant: (u64, u64),
}

/// One simulated machine; counted from 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NodeId(pub u16);

/// A shard's main that may share memory with the test, as everything runs on its thread.
pub type LocalMain = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()>>>>;

/// A task that panicked.
#[derive(Clone, Debug)]
pub struct TaskPanic {
    pub node: NodeId,
    pub shard: ShardId,
    pub task: &'static str,
    pub message: String,
}

impl Sim {
    pub fn new(seed: u64, options: SimOptions) -> Sim {
        let world = Rc::new(RefCell::new(World::new(seed, options)));
        Sim { seed, world, driver: Seed::new(!seed), polls_at_instant: (0, 0) }
    }

    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// For the choices of the test that drives: derived from the seed, and independent of all others.
    pub fn random(&mut self) -> &mut Seed {
        &mut self.driver
    }

    /// Everything that happened, as one number.
    pub fn trace_hash(&self) -> u64 {
        self.world.borrow().trace.hash()
    }

    /// How much has happened: polls, receives, sends, disk operations, ...
    pub fn trace_events(&self) -> u64 {
        self.world.borrow().trace.events()
    }

    /// The last things that happened, one a line, to be printed when a test fails.
    pub fn trace_tail(&self) -> String {
        self.world.borrow().trace.tail()
    }

    pub fn panics(&self) -> Vec<TaskPanic> {
        self.world.borrow().panics.clone()
    }

    fn with<R>(&self, change: impl FnOnce(&mut World) -> R) -> R {
        with(&self.world, change)
    }
}

impl NodeId {
    pub fn address(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 0, 0, self.0 as u8)
    }

    pub fn host_name(self) -> String {
        self.to_string()
    }

    fn index(self) -> usize {
        usize::from(self.0) - 1
    }
}

impl Display for NodeId {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "node-{}", self.0)
    }
}

#[cfg(test)]
mod tests;
