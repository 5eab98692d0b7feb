//! The end of a simulation: whatever it held is gone with it, so that thousands of seeds fit in one process.
//!
//! The world and its shards hold each other: every planned action, socket and file knows its shard, and every shard its world. So the end
//! has an order: first the processes, whose tasks take back what they can; then all that is planned; then the world is emptied, so that
//! even a program that leaks its own objects (two that own each other) keeps an empty shell and not the disks of a whole cluster.

use super::world::{Action, World, with};
use super::{NodeId, Sim, SimOptions};

impl Drop for Sim {
    fn drop(&mut self) {
        let nodes: Vec<NodeId> = self.world.borrow().nodes.iter().map(|node| node.id).collect();
        nodes.into_iter().for_each(|node| self.end_process(node, "drop"));
        // Out of the world before they are dropped: they may own wakers, whose end may run code of tasks.
        let planned: Vec<Action> = with(&self.world, World::take_all_planned);
        drop(planned);
        let emptied = self.world.replace(World::new(self.seed, SimOptions::default()));
        drop(emptied);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::{LocalMain, NetworkOptions};
    use crate::{
        BLOCK_BYTES, Buffer, Durability, Event, File, FileMode, Listener, Mesh, ShardId, Stream, fs, next_signal,
        oneshot, resolve, sleep, spawn,
    };
    use bytes::Bytes;
    use futures::stream::{FuturesUnordered, StreamExt};
    use std::cell::RefCell;
    use std::net::SocketAddr;
    use std::path::Path;
    use std::rc::{Rc, Weak};
    use std::sync::Arc;
    use std::time::Duration;

    const PORT: u16 = 9092;

    /// Counts who has one.
    #[derive(Clone)]
    struct Token(Arc<[u8]>);

    impl AsRef<[u8]> for Token {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }

    impl Token {
        fn new() -> Token {
            Token(Arc::from([7; 100_000]))
        }

        fn holders(&self) -> usize {
            Arc::strong_count(&self.0) - 1
        }
    }

    fn spawn_held(name: &'static str, token: &Token, work: impl Future<Output = ()> + 'static) {
        let held = token.clone();
        spawn(name, async move {
            work.await;
            drop(held);
        })
        .detach();
    }

    /// Two shards that are in the middle of everything a shard can be in the middle of.
    fn busy_mains(token: &Token) -> Vec<LocalMain> {
        let mains = Mesh::build::<Token, Token>(2, 4).into_iter().map(|end| {
            let token = token.clone();
            let main: LocalMain = Box::new(move || {
                Box::pin(async move {
                    let own = crate::shard().0;
                    let other = ShardId(1 - own);
                    let asked = token.clone();
                    let asking = end.clone();
                    spawn_held("asks", &token, async move {
                        drop(asking.credit(other).await.send(asked).await);
                    });
                    spawn_held("is asked", &token, async move {
                        let unanswered = (end.next().await, end.next().await);
                        drop(unanswered);
                    });
                    spawn_held("writes", &token, async move {
                        let path = format!("/data/file-{own}");
                        let file = File::open(Path::new(&path), FileMode::OpenOrCreate).await.unwrap();
                        let mut position = 0;
                        loop {
                            let block = Buffer::take(BLOCK_BYTES);
                            file.write_at(block, position, Durability::Durable).await.0.unwrap();
                            position += BLOCK_BYTES as u64;
                        }
                    });
                    spawn_held("renames", &token, async move {
                        let path = format!("/data/name-{own}");
                        loop {
                            fs::write_atomic(Path::new(&path), b"content").await.unwrap();
                            fs::read_dir(Path::new("/data")).await.unwrap();
                        }
                    });
                    spawn_held("sleeps", &token, async {
                        let sleeps: FuturesUnordered<_> =
                            (1..4).map(|hours| sleep(Duration::from_secs(hours * 3600))).collect();
                        sleeps.collect::<Vec<()>>().await;
                    });
                    spawn_held("waits", &token, async { Event::default().listen().await });
                    let (sender, receiver) = oneshot::<Token>();
                    spawn_held("waits for one", &token, async move { drop(receiver.await) });
                    if own == 0 {
                        spawn_held("listens for signals", &token, async { _ = next_signal().await });
                        spawn_held("accepts", &token, accept(token.clone()));
                    }
                    spawn_held("sends", &token, send(token.clone()));
                    std::future::pending::<()>().await;
                    drop(sender);
                })
            });
            main
        });
        mains.collect()
    }

    /// Takes connections and leaves what they send where it is.
    async fn accept(token: Token) {
        let listener = Listener::bind(SocketAddr::from(([0, 0, 0, 0], PORT))).await.unwrap();
        loop {
            let stream = listener.accept().await.unwrap().into_stream();
            spawn_held("reads a little", &token, async move {
                drop(stream.recv(Buffer::take(10), 0).await);
                std::future::pending::<()>().await;
                drop(stream);
            });
        }
    }

    async fn send(token: Token) {
        sleep(Duration::from_micros(100)).await;
        for peer in ["node-1", "node-2"] {
            let Ok(stream) = Stream::connect(resolve(peer, PORT).await.unwrap()[0]).await else { return };
            spawn_held("fills a window", &token, {
                let bytes = Bytes::from_owner(token.clone());
                async move { while stream.send_all(vec![bytes.clone()]).await.is_ok() {} }
            });
        }
    }

    fn busy_sim(seed: u64, token: &Token) -> (Sim, Weak<RefCell<World>>) {
        let network = NetworkOptions { cut_probability: 0.01, ..NetworkOptions::default() };
        let mut sim = Sim::new(seed, SimOptions { network, ..SimOptions::default() });
        let (one, other) = (sim.add_node(), sim.add_node());
        for node in [one, other] {
            sim.start_local(node, busy_mains(token));
        }
        sim.run_for(Duration::from_millis(5));
        sim.cut(one, other);
        sim.run_for(Duration::from_millis(5));
        let world = Rc::downgrade(&sim.world);
        (sim, world)
    }

    /// Some hundred seeds of a cluster took 2 GB: what was planned at the end held its shard, the shard the world, and the world what was
    /// planned.
    #[test]
    fn a_dropped_simulation_leaves_nothing_behind() {
        for seed in 0..10 {
            let token = Token::new();
            let (sim, world) = busy_sim(seed, &token);
            assert!(token.holders() > 30, "the tasks are at work");

            drop(sim);

            assert_eq!(token.holders(), 0, "seed {seed}: something of a task outlives its simulation");
            assert!(world.upgrade().is_none(), "seed {seed}: the world outlives its simulation");
        }
    }

    /// What an earlier life of a node had planned holds its shard too, and a simulation that fails ends in the middle of a step.
    #[test]
    fn nor_does_one_with_crashes_that_fails() {
        for seed in 0..10 {
            let token = Token::new();
            let (mut sim, world) = busy_sim(seed, &token);
            sim.crash(NodeId(1));
            sim.start_local(NodeId(1), busy_mains(&token));
            sim.run_for(Duration::from_micros(300));
            sim.kill(NodeId(2));
            let owned = token.clone();
            let fails: LocalMain = Box::new(move || {
                Box::pin(async move {
                    sleep(Duration::from_micros(200)).await;
                    assert!(owned.0.is_empty(), "a broken promise");
                })
            });
            sim.start_local(NodeId(2), vec![fails]);
            let failure = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
                sim.run_for(Duration::from_secs(1));
            }));

            assert!(failure.is_err(), "seed {seed}");
            assert_eq!(token.holders(), 0, "seed {seed}: something of a task outlives its simulation");
            assert!(world.upgrade().is_none(), "seed {seed}: the world outlives its simulation");
        }
    }

    /// A program may leak what it owns: two tasks' objects that hold each other. That must cost their size, not the cluster's.
    #[test]
    fn a_leaked_handle_keeps_an_empty_world() {
        let mut sim = Sim::new(1, SimOptions::default());
        let node = sim.add_node();
        let kept = Rc::new(RefCell::new(None));
        let place = kept.clone();
        let main: LocalMain = Box::new(move || {
            Box::pin(async move {
                let file = File::open(Path::new("/data/file"), FileMode::CreateNew).await.unwrap();
                file.write_at(Buffer::take(BLOCK_BYTES), 0, Durability::Written).await.0.unwrap();
                place.replace(Some((file, sleep(Duration::from_secs(1)))));
            })
        });
        sim.start_local(node, vec![main]);
        assert!(sim.run_until(Duration::from_secs(1), |sim| !sim.is_running(node)));
        let world = Rc::downgrade(&sim.world);

        drop(sim);

        assert!(kept.borrow().is_some());
        assert!(world.upgrade().is_some_and(|world| world.borrow().nodes.is_empty()));
        kept.take();
        assert!(world.upgrade().is_none());
    }
}
