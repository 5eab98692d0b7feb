//! Lanes between real shards: order, credits, what happens when an end goes.

use super::on_shards;
use crate::{Mesh, MeshEnd, ShardId, shard, sleep, spawn, timeout};
use std::sync::{Arc, Mutex};
use std::time::Duration;

type Ends = Arc<Mutex<Vec<Option<MeshEnd<u64, u64>>>>>;

fn build(shards: usize, credits: usize) -> Ends {
    Arc::new(Mutex::new(Mesh::build(shards, credits).into_iter().map(Some).collect()))
}

fn own_end(ends: &Ends) -> MeshEnd<u64, u64> {
    ends.lock().unwrap()[shard().0 as usize].take().unwrap()
}

async fn answer(end: MeshEnd<u64, u64>) {
    loop {
        let incoming = end.next().await;
        incoming.reply.send(incoming.request + 1);
    }
}

/// Every shard asks every other one, with more askers than credits.
#[test]
fn requests_are_answered_across_shards() {
    let ends = build(3, 8);
    on_shards(3, move |own| {
        let ends = ends.clone();
        async move {
            let end = own_end(&ends);
            spawn("answer", answer(end.clone())).detach();
            let askers: Vec<_> = (0..40)
                .map(|asker| {
                    let end = end.clone();
                    spawn("asker", async move {
                        for round in 0..200 {
                            let to = ShardId(((own + 1 + (asker + round) % 2) % 3) as u16);
                            let request = (asker * 1000 + round) as u64;
                            let reply = end.credit(to).await.send(request).await;
                            assert_eq!(reply, Some(request + 1));
                        }
                    })
                })
                .collect();
            for asker in askers {
                asker.await.unwrap();
            }
            // The others may still ask.
            sleep(Duration::from_millis(300)).await;
        }
    });
}

/// Produce requests of one connection must reach the home shard in the order in which they were read.
#[test]
fn requests_arrive_in_order() {
    let ends = build(2, 16);
    on_shards(2, move |own| {
        let ends = ends.clone();
        async move {
            let end = own_end(&ends);
            if own == 0 {
                let mut last = None;
                for request in 0..1000 {
                    last = Some(end.credit(ShardId(1)).await.send(request));
                }
                assert_eq!(last.unwrap().await, Some(999));
            } else {
                for expected in 0..1000 {
                    let incoming = end.next().await;
                    assert_eq!((incoming.request, incoming.from), (expected, ShardId(0)));
                    incoming.reply.send(expected);
                }
                sleep(Duration::from_millis(100)).await;
            }
        }
    });
}

/// A request whose handler failed must not hold its connection's response queue for ever.
#[test]
fn an_unanswered_request_resolves_to_none() {
    let ends = build(2, 2);
    on_shards(2, move |own| {
        let ends = ends.clone();
        async move {
            let end = own_end(&ends);
            if own == 1 {
                drop(end.next().await);
                // Ends with one request taken but unanswered and one still in the lane.
                let _taken = end.next().await;
                return;
            }
            assert_eq!(end.credit(ShardId(1)).await.send(1).await, None, "dropped");
            let (taken, waiting) = (end.credit(ShardId(1)).await.send(2), end.credit(ShardId(1)).await.send(3));
            let both = futures::future::join(taken, waiting);
            assert_eq!(timeout(Duration::from_secs(5), both).await.unwrap(), (None, None), "its shard ended");
            assert_eq!(end.credit(ShardId(1)).await.send(4).await, None, "after the end");
        }
    });
}

/// A dropped wait keeps its credit until the reply comes; given back early, the reply lane could overflow.
#[test]
fn credits_come_back_with_the_reply() {
    let ends = build(2, 2);
    on_shards(2, move |own| {
        let ends = ends.clone();
        async move {
            let end = own_end(&ends);
            if own == 0 {
                for _ in 0..2 {
                    drop(end.credit(ShardId(1)).await.send(5));
                }
                assert!(timeout(Duration::from_millis(50), end.credit(ShardId(1))).await.is_err(), "both in use");
                assert_eq!(end.credit(ShardId(1)).await.send(6).await, Some(7));
            } else {
                sleep(Duration::from_millis(200)).await;
                assert_eq!(end.depth(), 2);
                let _ = timeout(Duration::from_millis(300), answer(end)).await;
            }
        }
    });
}
