//! Lanes between two shards: round trip of one request, and requests per second with many in flight.
//!
//! `cargo run --release -p ringlane-runtime --example lanes [SECONDS]`

use ringlane_runtime::ring::{RingOptions, allowed_cores, run};
use ringlane_runtime::{Mesh, MeshEnd, ShardId, ShardMain, now, shard, spawn};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

const CREDITS: usize = 256;
const IN_FLIGHT: [usize; 3] = [1, 16, 128];

fn main() {
    let seconds = std::env::args().nth(1).map_or(2.0, |text| text.parse().expect("a number of seconds"));
    let cores = allowed_cores().into_iter().cycle().take(2).collect();
    let options = RingOptions { cores, ..RingOptions::default() };
    let main = |end| -> ShardMain { Box::new(move || Box::pin(lanes(end, Duration::from_secs_f64(seconds)))) };
    run(options, Mesh::build(2, CREDITS).into_iter().map(main).collect()).unwrap();
}

async fn lanes(end: MeshEnd<Option<u64>, u64>, duration: Duration) {
    if shard() == ShardId(1) {
        while let incoming = end.next().await
            && let Some(number) = incoming.request
        {
            incoming.reply.send(number + 1);
        }
        return;
    }
    println!("| in flight | requests/s | round trip p50 us | p99 us |");
    println!("|--:|--:|--:|--:|");
    for in_flight in IN_FLIGHT {
        let trips = Rc::new(RefCell::new(Vec::new()));
        let askers: Vec<_> = (0..in_flight)
            .map(|_| {
                let (end, trips) = (end.clone(), trips.clone());
                spawn("asker", async move {
                    let began = now();
                    while began.elapsed() < duration {
                        let asked = now();
                        end.credit(ShardId(1)).await.send(Some(1)).await.expect("the other shard answers");
                        trips.borrow_mut().push(asked.elapsed());
                    }
                })
            })
            .collect();
        for asker in askers {
            asker.await.unwrap();
        }
        let mut trips = trips.take();
        trips.sort_unstable();
        let at = |part: usize| trips[trips.len() * part / 100].as_nanos() as f64 / 1000.0;
        println!(
            "| {in_flight} | {:.0} | {:.1} | {:.1} |",
            trips.len() as f64 / duration.as_secs_f64(),
            at(50),
            at(99)
        );
    }
    drop(end.credit(ShardId(1)).await.send(None));
}
