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
//! Node N is the host `node-N` with the address 10.0.0.N, and an own disk that outlives its crashes. The list of what the facade
//! calls here is in `context.rs`.

mod completion;
mod disk;
mod end;
mod executor;
pub(crate) mod file;
pub(crate) mod fs;
pub(crate) mod net;
pub(crate) mod random;
mod seed;
pub(crate) mod signal;
pub(crate) mod task;
pub(crate) mod time;
mod trace;
mod world;

pub use seed::Seed;
pub(crate) use world::Shard;

use crate::{Instant, ShardId, ShardMain, Signal};
use executor::{Polled, Removed, drop_tasks, poll};
use seed::nanos;
use std::cell::RefCell;
use std::fmt::{Display, Formatter};
use std::future::Future;
use std::io;
use std::net::Ipv4Addr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;
use world::{World, with};

/// Polls at one instant of virtual time after which the simulation is stuck in a loop that does not wait for anything.
const POLLS_PER_INSTANT_MAX: u64 = 5_000_000;

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

#[derive(Clone, Debug)]
pub struct SimOptions {
    pub network: NetworkOptions,
    /// Of every node; [`Sim::set_disk`] changes one.
    pub disk: DiskOptions,
    /// A panic in a task fails the simulation (with seed and trace). Without it, [`Sim::panics`] has them.
    pub fail_on_panic: bool,
}

#[derive(Clone, Debug)]
pub struct NetworkOptions {
    /// One way, drawn once for each connection.
    pub delay: Range<Duration>,
    /// Drawn for each segment, on top; order is kept.
    pub jitter: Range<Duration>,
    /// Bytes sent but not yet received by the peer's program, for one direction of a connection; drawn for each connection.
    pub window_bytes: Range<usize>,
    /// That a segment's connection breaks as it is sent.
    pub cut_probability: f64,
    /// That a receive returns less than has arrived.
    pub short_receive_probability: f64,
    pub connect_timeout: Duration,
    /// After which a sender whose bytes do not get through gives up.
    pub retransmit_timeout: Duration,
}

#[derive(Clone, Debug)]
pub struct DiskOptions {
    pub capacity_bytes: u64,
    /// Of each operation, drawn each time.
    pub latency: Range<Duration>,
    pub bytes_per_second: u64,
    /// Durable writes and syncs report success and do nothing: a disk with a volatile cache that ignores flushes. With it, a program
    /// that keeps every rule still loses data; a checker that does not notice is broken.
    pub lies_about_durability: bool,
}

/// An error that the disk answers with. Stays until [`Sim::clear_io_faults`].
#[derive(Clone, Debug)]
pub struct IoFault {
    pub kind: IoKind,
    /// Files whose path contains this; empty means all.
    pub path_contains: String,
    pub probability: f64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IoKind {
    Read,
    Write,
    Sync,
}

/// A task that panicked.
#[derive(Clone, Debug)]
pub struct TaskPanic {
    pub node: NodeId,
    pub shard: ShardId,
    pub task: &'static str,
    pub message: String,
}

impl Default for SimOptions {
    fn default() -> SimOptions {
        SimOptions { network: NetworkOptions::default(), disk: DiskOptions::default(), fail_on_panic: true }
    }
}

impl Default for NetworkOptions {
    fn default() -> NetworkOptions {
        NetworkOptions {
            delay: Duration::from_micros(20)..Duration::from_millis(2),
            jitter: Duration::ZERO..Duration::from_micros(500),
            window_bytes: 4 << 10..256 << 10,
            cut_probability: 0.0,
            short_receive_probability: 0.2,
            connect_timeout: Duration::from_secs(10),
            retransmit_timeout: Duration::from_secs(15),
        }
    }
}

impl Default for DiskOptions {
    fn default() -> DiskOptions {
        DiskOptions {
            capacity_bytes: 64 << 30,
            latency: Duration::from_micros(10)..Duration::from_millis(1),
            bytes_per_second: 2 << 30,
            lies_about_durability: false,
        }
    }
}

impl Sim {
    pub fn new(seed: u64, options: SimOptions) -> Sim {
        let world = Rc::new(RefCell::new(World::new(seed, options)));
        Sim { seed, world, driver: Seed::new(!seed), polls_at_instant: (0, 0) }
    }

    // ── nodes ──

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

    // ── time ──

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

    /// The shard's main returned: its other tasks are dropped while their destructors still count, and with its last shard the process
    /// ends.
    fn end_shard(&mut self, shard: &Rc<Shard>) {
        drop_tasks(self.with(|world| world.remove_tasks_of(|of| std::ptr::eq(of, &**shard))));
        shard.end();
        drop_tasks(self.with(|world| world.remove_tasks_of(|of| std::ptr::eq(of, &**shard))));
        if !self.is_running(shard.node) {
            self.end_process(shard.node, "end");
        }
    }

    fn end_process(&mut self, node: NodeId, how: &'static str) {
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

    // ── network ──

    /// Nothing passes from `from` to `to` any more; the other direction is not touched.
    pub fn cut(&mut self, from: NodeId, to: NodeId) {
        self.with(|world| world.set_blocked(from, to, true));
    }

    /// Undoes [`Sim::cut`]; what was sent meanwhile arrives, unless its sender has given up.
    pub fn heal(&mut self, from: NodeId, to: NodeId) {
        self.with(|world| world.set_blocked(from, to, false));
    }

    /// Cuts both directions.
    pub fn partition(&mut self, one: NodeId, other: NodeId) {
        self.cut(one, other);
        self.cut(other, one);
    }

    pub fn heal_partition(&mut self, one: NodeId, other: NodeId) {
        self.heal(one, other);
        self.heal(other, one);
    }

    /// Breaks every connection between two nodes at once; new ones can be made.
    pub fn reset_connections(&mut self, one: NodeId, other: NodeId) {
        self.with(|world| world.reset_between(one, other));
    }

    pub fn set_network(&mut self, options: NetworkOptions) {
        self.with(|world| world.options.network = options);
    }

    // ── disks ──

    /// From the next operation on.
    pub fn set_disk(&mut self, node: NodeId, options: DiskOptions) {
        self.with(|world| world.node(node).disk.options = options);
    }

    pub fn add_io_fault(&mut self, node: NodeId, fault: IoFault) {
        self.with(|world| world.node(node).disk.add_fault(fault));
    }

    pub fn clear_io_faults(&mut self, node: NodeId) {
        self.with(|world| world.node(node).disk.clear_faults());
    }

    /// Turns over one bit of a file, where it lies.
    pub fn flip_bit(&mut self, node: NodeId, path: &Path, bit: u64) -> io::Result<()> {
        self.with(|world| world.node(node).disk.flip_bit(path, bit))
    }

    /// What a reader of the file would see now.
    pub fn file_content(&self, node: NodeId, path: &Path) -> io::Result<Vec<u8>> {
        self.world.borrow_mut().node(node).disk.content(path)
    }

    /// Full paths, sorted.
    pub fn directory_entries(&self, node: NodeId, path: &Path) -> io::Result<Vec<PathBuf>> {
        self.world.borrow_mut().node(node).disk.list(path)
    }

    // ── what happened ──

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
mod tests {
    use super::*;
    use crate::{Event, Mesh, give_way, now, random_u64, sleep, spawn, timeout};
    use std::cell::Cell;

    fn one(main: impl Future<Output = ()> + 'static) -> Vec<LocalMain> {
        vec![Box::new(|| Box::pin(main))]
    }

    fn sim(seed: u64) -> (Sim, NodeId) {
        let mut sim = Sim::new(seed, SimOptions::default());
        let node = sim.add_node();
        (sim, node)
    }

    /// Without this a test of an hour of retention takes an hour, and timers could overtake each other.
    #[test]
    fn timers_fire_in_order_at_their_virtual_time() {
        let (mut sim, node) = sim(1);
        let fired = Rc::new(RefCell::new(Vec::new()));
        let seen = fired.clone();
        sim.start_local(
            node,
            one(async move {
                let sleepers = [30_u64, 10, 20].map(|hours| {
                    let seen = seen.clone();
                    spawn("sleeper", async move {
                        sleep(Duration::from_secs(hours * 3600)).await;
                        seen.borrow_mut().push((hours, now().as_nanos() / 3_600_000_000_000));
                    })
                });
                for sleeper in sleepers {
                    sleeper.await.unwrap();
                }
            }),
        );

        sim.run_for(Duration::from_secs(100 * 3600));

        assert_eq!(*fired.borrow(), [(10, 10), (20, 20), (30, 30)]);
        assert!(!sim.is_running(node));
    }

    /// Without this an abandoned deadline keeps the clock stepping, and the trace of a run depends on who gave up when.
    #[test]
    fn a_dropped_sleep_leaves_no_timer() {
        let (mut sim, node) = sim(1);
        sim.start_local(
            node,
            one(async {
                assert_eq!(timeout(Duration::from_secs(9), async { 5 }).await, Ok(5));
                assert!(timeout(Duration::from_millis(3), sleep(Duration::from_secs(9))).await.is_err());
            }),
        );

        sim.run_until(Duration::from_secs(1), |sim| !sim.is_running(node));

        assert_eq!(sim.now().as_nanos(), 3_000_000);
        assert!(!sim.with(|world| world.advance(u64::MAX - 1)), "nothing is planned");
    }

    /// Two shards talk over the mesh while tasks yield: enough choices for the seed to make runs differ.
    fn hash_of_a_busy_run(seed: u64) -> u64 {
        let (mut sim, node) = sim(seed);
        let mut mains: Vec<LocalMain> = Vec::new();
        for end in Mesh::build::<u64, u64>(2, 4) {
            mains.push(Box::new(|| {
                Box::pin(async move {
                    let own = crate::shard().0;
                    let end = Rc::new(end);
                    let serving = end.clone();
                    spawn("serve", async move {
                        loop {
                            let incoming = serving.next().await;
                            let doubled = incoming.request * 2;
                            incoming.reply.send(doubled);
                        }
                    })
                    .detach();
                    for _ in 0..20 {
                        let number = random_u64() % 1000;
                        let reply = end.credit(ShardId(1 - own)).await.send(number).await;
                        assert_eq!(reply, Some(number * 2));
                        give_way().await;
                    }
                    sleep(Duration::from_secs(1)).await;
                })
            }));
        }
        sim.start_local(node, mains);
        assert!(sim.run_until(Duration::from_secs(2), |sim| !sim.is_running(node)), "both shards got their replies");
        sim.trace_hash()
    }

    /// Without this a failing seed cannot be run again.
    #[test]
    fn one_seed_one_trace_and_another_seed_another() {
        assert_eq!(hash_of_a_busy_run(42), hash_of_a_busy_run(42));
        assert_ne!(hash_of_a_busy_run(42), hash_of_a_busy_run(43));
    }

    struct CountsDrop(Rc<Cell<usize>>);
    impl Drop for CountsDrop {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }

    /// Without this a crashed broker would go on in the background and could still answer.
    #[test]
    fn a_crash_drops_every_task_of_the_node_at_once() {
        let (mut sim, node) = sim(5);
        let dropped = Rc::new(Cell::new(0));
        let mains = (0..3).map(|_| {
            let dropped = dropped.clone();
            let main: LocalMain = Box::new(move || {
                Box::pin(async move {
                    let guards = (CountsDrop(dropped.clone()), CountsDrop(dropped));
                    spawn("waits for ever", async move {
                        let _held = guards.0;
                        Event::default().listen().await;
                    })
                    .detach();
                    let _held = guards.1;
                    std::future::pending().await
                })
            });
            main
        });
        sim.start_local(node, mains.collect());
        sim.run_for(Duration::from_millis(1));
        assert_eq!(dropped.get(), 0);

        sim.crash(node);

        assert_eq!(dropped.get(), 6);
        assert!(!sim.is_running(node));
        sim.start_local(node, one(async {}));
        assert!(sim.run_until(Duration::from_millis(1), |sim| !sim.is_running(node)));
    }

    /// Without this a panic inside a spawned task would pass unseen, as the facade catches it.
    #[test]
    #[should_panic(expected = "seed 6: node-1 shard 0, task careless panicked: oh")]
    fn a_panic_in_a_task_fails_the_simulation_with_its_seed() {
        let (mut sim, node) = sim(6);
        sim.start_local(
            node,
            one(async {
                spawn("careless", async { panic!("oh") }).detach();
                sleep(Duration::from_secs(1)).await;
            }),
        );
        sim.run_for(Duration::from_secs(1));
    }

    /// Without this a task that is cancelled by what it does itself would be put back and polled again.
    #[test]
    fn a_task_may_cancel_itself() {
        let (mut sim, node) = sim(7);
        sim.start_local(
            node,
            one(async {
                let own = Rc::new(RefCell::new(None));
                let held = own.clone();
                let task = spawn("suicide", async move {
                    drop(held.take());
                    give_way().await;
                    unreachable!("cancelled at its next await");
                });
                own.replace(Some(task));
                sleep(Duration::from_millis(1)).await;
            }),
        );
        assert!(sim.run_until(Duration::from_secs(1), |sim| !sim.is_running(node)));
    }

    /// Without this an orderly stop cannot be simulated, nor a node whose clock a person sets back.
    #[test]
    fn a_stopped_node_sees_the_signal_and_its_wall_clock_may_jump() {
        let (mut sim, node) = sim(8);
        let clocks = Rc::new(RefCell::new(Vec::new()));
        let seen = clocks.clone();
        sim.start_local(
            node,
            one(async move {
                seen.borrow_mut().push(crate::wall_clock_ms());
                assert_eq!(crate::next_signal().await, Signal::Stop);
                seen.borrow_mut().push(crate::wall_clock_ms());
            }),
        );
        sim.run_for(Duration::from_secs(2));
        sim.jump_wall_clock(node, -500);
        sim.stop(node);

        assert!(sim.run_until(Duration::from_secs(1), |sim| !sim.is_running(node)));
        assert_eq!(clocks.borrow()[1] - clocks.borrow()[0], 1500);
    }
}
