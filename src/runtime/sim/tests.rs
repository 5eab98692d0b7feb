//! Time, tasks, crashes and signals of the simulated machine.

use super::{LocalMain, NodeId, Sim, SimOptions};
use crate::{Event, Mesh, ShardId, Signal, give_way, now, random_u64, sleep, spawn, timeout};
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

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
