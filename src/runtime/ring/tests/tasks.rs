//! Tasks, timers, budgets and panics on a real executor.

use super::{on_shard, on_shards};
use crate::{
    Budget, Event, blocking, counters, give_way, now, oneshot, shard, shard_count, sleep, sleep_until, spawn, timeout,
};
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

/// One bad request must not take the shard's other thousand connections with it (fault B6).
#[test]
fn a_panic_ends_its_task_only() {
    on_shard(|| async {
        let failed = spawn::<()>("careless", async { panic!("index {}", 7) }).await.unwrap_err();
        assert_eq!(failed.to_string(), "task careless panicked: index 7");
        spawn("detached", async { panic!("nobody looks") }).detach();
        sleep(Duration::from_millis(1)).await;
        assert_eq!(spawn("careful", async { 1 }).await.unwrap(), 1);
        assert_eq!(blocking("helper", || -> u8 { panic!("there") }).await.unwrap_err().message, "there");
        assert_eq!(counters().task_panics, 3);
    });
}

/// Callers hold borrows around `spawn`; a future that ran inside it would find them taken.
#[test]
fn a_spawned_future_does_not_run_inside_spawn() {
    on_shard(|| async {
        let ran = Rc::new(Cell::new(false));
        let seen = ran.clone();
        let task = spawn("later", async move { seen.set(true) });
        assert!(!ran.get());
        task.await.unwrap();
        assert!(ran.get());
    });
}

#[test]
fn a_dropped_task_is_cancelled() {
    on_shard(|| async {
        let (sender, receiver) = oneshot::<()>();
        let task = spawn("cancelled", async move {
            sleep(Duration::from_secs(100)).await;
            drop(sender);
        });
        sleep(Duration::from_millis(1)).await;
        drop(task);
        assert_eq!(timeout(Duration::from_secs(5), receiver).await.unwrap(), None);
    });
}

/// A scan over a large log must not keep timers and requests waiting.
#[test]
fn a_long_loop_that_gives_way_lets_others_run() {
    on_shard(|| async {
        let finished = Rc::new(Cell::new(false));
        let end = finished.clone();
        let looping = spawn("loop", async move {
            while !end.get() {
                std::hint::black_box((0..1000).sum::<u64>());
                give_way().await;
            }
        });
        for _ in 0..10 {
            sleep(Duration::from_millis(1)).await;
        }
        finished.set(true);
        looping.await.unwrap();
    });
}

#[test]
fn time_passes_and_deadlines_hold() {
    on_shard(|| async {
        let before = now();
        sleep(Duration::from_millis(5)).await;
        assert!(before.elapsed() >= Duration::from_millis(5));
        assert!(timeout(Duration::from_millis(1), std::future::pending::<()>()).await.is_err());
        assert_eq!(timeout(Duration::from_secs(100), async { 3 }).await, Ok(3));
        assert!(crate::wall_clock_ms() > 1_600_000_000_000);
    });
}

/// One kernel timer serves all: a later, earlier, removed or equal deadline must never keep another one waiting.
#[test]
fn timers_fire_in_any_order_of_making_and_dropping() {
    const SEED: u64 = 7;
    println!("seed {SEED}");
    on_shard(|| async {
        let mut state = SEED;
        let mut random = move || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            state >> 33
        };
        let mut timers = Vec::new();
        for _ in 0..500 {
            let deadline = now() + Duration::from_micros(random() % 60_000);
            let timer = spawn("timer", async move {
                sleep_until(deadline).await;
                now() >= deadline
            });
            match random() % 4 {
                0 => drop(timer),
                1 => {
                    // Polled, then dropped while it waits.
                    sleep(Duration::from_micros(random() % 200)).await;
                    drop(timer);
                }
                _ => timers.push(timer),
            }
        }
        for timer in timers {
            let fired = timeout(Duration::from_secs(10), timer).await.expect("every timer fires");
            assert!(fired.unwrap(), "a timer fired before its deadline");
        }
    });
}

/// A wake-up lost between a waiter's check and its wait would park a fetch until its timeout.
#[test]
fn events_wake_everyone_who_listens() {
    on_shard(|| async {
        let event = Rc::new(Event::default());
        let early = event.listen();
        event.notify_all();
        early.await;
        let waiters: Vec<_> = (0..100).map(|_| spawn("waiter", event.listen())).collect();
        let dropped = spawn("gone", event.listen());
        sleep(Duration::from_millis(1)).await;
        drop(dropped);
        sleep(Duration::from_millis(1)).await;
        event.notify_all();
        for waiter in waiters {
            waiter.await.unwrap();
        }
        assert!(timeout(Duration::from_millis(1), event.listen()).await.is_err());
    });
}

/// Nobody overtakes: a large request would otherwise wait for ever behind small ones.
#[test]
fn budgets_are_served_in_order() {
    on_shard(|| async {
        let budget = Budget::new("test", 100);
        let first = budget.acquire(60).await;
        let order = Rc::new(Cell::new(0));
        let ask = |bytes, place| {
            let (budget, order) = (budget.clone(), order.clone());
            spawn("asker", async move {
                let permit = budget.acquire(bytes).await;
                assert_eq!(order.replace(place), place - 1);
                sleep(Duration::from_millis(1)).await;
                permit.bytes()
            })
        };
        let (large, cancelled, small, oversized) = (ask(90, 1), ask(10, 99), ask(10, 2), ask(1000, 3));
        sleep(Duration::from_millis(1)).await;
        assert!(budget.try_acquire(1).is_none(), "others wait");
        drop(cancelled);
        drop(first);
        assert_eq!((large.await.unwrap(), small.await.unwrap(), oversized.await.unwrap()), (90, 10, 1000));
        assert_eq!((budget.used_bytes(), budget.limit_bytes()), (0, 100));
        assert_eq!(budget.try_acquire(100).unwrap().bytes(), 100);
    });
}

#[test]
fn shards_know_themselves() {
    on_shards(3, |own| async move {
        assert_eq!((shard().0 as usize, shard_count()), (own, 3));
    });
}

#[test]
#[should_panic(expected = "the main of a shard")]
fn a_panic_of_a_main_reaches_the_caller_of_run() {
    on_shards(2, |own| async move {
        if own == 1 {
            panic!("the main of a shard");
        }
        std::future::pending::<()>().await;
    });
}
