//! The soak that proves the executor rules (`ring.rs`, fault B1): two shards, messages between them, oneshots, timers and sockets, and a
//! watcher that fails the run when anything stands still for 50 ms while both shards sleep.
//!
//! Ten seconds by default; `RINGLANE_SOAK_SECONDS=600 cargo test --release -p ringlane-runtime --test soak -- --nocapture` for the long one.
//! A shard that is runnable but gets no CPU (a loaded machine) is no failure: only sleep is.

use ringlane_runtime::ring::{RingOptions, allowed_cores, run};
use ringlane_runtime::{
    Buffer, Counters, Listener, Mesh, MeshEnd, ShardId, ShardMain, Stream, counters, now, oneshot, shard, sleep, spawn,
};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

const SHARDS: usize = 2;
const STAND_STILL: Duration = Duration::from_millis(50);
const SAMPLE: Duration = Duration::from_millis(5);
const ACTIVITIES: [&str; 4] = ["mesh", "oneshot", "timer", "socket"];
/// In flight at once per shard and activity: few, so that most steps wait for a wake-up.
const IN_FLIGHT: usize = 3;

/// Steps made, by shard and activity.
static STEPS: [[AtomicU64; ACTIVITIES.len()]; SHARDS] =
    [const { [const { AtomicU64::new(0) }; ACTIVITIES.len()] }; SHARDS];
static STOP: AtomicBool = AtomicBool::new(false);

#[test]
fn nothing_stands_still_while_all_shards_sleep() {
    let seconds = std::env::var("RINGLANE_SOAK_SECONDS").map_or(10, |text| text.parse().expect("a number of seconds"));
    let (threads, thread_ids) = channel();
    let ((to_0, from_1), (to_1, from_0)) = (channel(), channel());
    let peers = [(to_1, from_1), (to_0, from_0)];
    let starts = Mesh::build(SHARDS, 8).into_iter().zip(peers);
    let main = |(end, (to_peer, from_peer))| -> ShardMain {
        let start = Start { end, threads: threads.clone(), to_peer, from_peer };
        Box::new(move || Box::pin(soak(start)))
    };
    let mains = starts.map(main).collect();

    let watcher = std::thread::spawn(move || watch(Duration::from_secs(seconds), thread_ids));
    let cores = allowed_cores().into_iter().cycle().take(SHARDS).collect();
    run(RingOptions { cores, pool_bytes_per_shard: 16 << 20, spin_us: 0 }, mains).unwrap();
    watcher.join().unwrap();
}

struct Start {
    end: MeshEnd<u64, u64>,
    threads: Sender<i32>,
    to_peer: Sender<SocketAddr>,
    from_peer: Receiver<SocketAddr>,
}

async fn soak(start: Start) {
    let own = shard().0 as usize;
    // SAFETY: no arguments, cannot fail.
    start.threads.send(unsafe { libc::gettid() }).unwrap();
    spawn("answer", answer(start.end.clone())).detach();
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    start.to_peer.send(listener.local_address()).unwrap();
    spawn("serve", serve(listener)).detach();
    let peer = loop {
        match start.from_peer.try_recv() {
            Ok(address) => break address,
            Err(_) => sleep(Duration::from_millis(1)).await,
        }
    };
    for _ in 0..IN_FLIGHT {
        spawn("mesh", ask(start.end.clone(), own)).detach();
        spawn("oneshot", pass(own)).detach();
        spawn("timer", tick(own)).detach();
        spawn("socket", echo(peer, own)).detach();
    }
    while !STOP.load(Ordering::Relaxed) {
        sleep(Duration::from_millis(10)).await;
    }
    let Counters { ring_enters, ring_wakes, shard_stall_max_ms, .. } = counters();
    println!("shard {own}: {ring_enters} enters, {ring_wakes} wakes, longest stall {shard_stall_max_ms} ms");
}

fn step(own: usize, activity: usize) {
    STEPS[own][activity].fetch_add(1, Ordering::Relaxed);
}

async fn answer(end: MeshEnd<u64, u64>) {
    loop {
        let incoming = end.next().await;
        incoming.reply.send(incoming.request + 1);
    }
}

async fn ask(end: MeshEnd<u64, u64>, own: usize) {
    let to = ShardId(1 - own as u16);
    for request in 0.. {
        assert_eq!(end.credit(to).await.send(request).await, Some(request + 1));
        step(own, 0);
        pause(request).await;
    }
}

async fn pass(own: usize) {
    for round in 0.. {
        let (sender, receiver) = oneshot();
        spawn("passer", async move { sender.send(round) }).detach();
        assert_eq!(receiver.await, Some(round));
        step(own, 1);
        pause(round).await;
    }
}

async fn tick(own: usize) {
    for round in 0.. {
        sleep(Duration::from_micros(50 + round % 7 * 300)).await;
        step(own, 2);
    }
}

async fn echo(peer: SocketAddr, own: usize) {
    let stream = Stream::connect(peer).await.unwrap();
    for round in 0u64.. {
        stream.send_all(vec![Buffer::copy_from(&round.to_le_bytes()).freeze()]).await.unwrap();
        let (received, buffer) = stream.recv_exact(Buffer::take(8), 0).await;
        if STOP.load(Ordering::Relaxed) {
            return;
        }
        received.unwrap();
        assert_eq!(*buffer, round.to_le_bytes());
        step(own, 3);
        pause(round).await;
    }
}

async fn serve(listener: Listener) {
    while let Ok(socket) = listener.accept().await {
        let stream = socket.into_stream();
        spawn("echo", async move {
            while let (Ok(()), buffer) = stream.recv_exact(Buffer::take(8), 0).await {
                if stream.send_all(vec![buffer.freeze()]).await.is_err() {
                    return;
                }
            }
        })
        .detach();
    }
}

/// Now and then, so that the shards fall asleep often and at every point: a shard that is always busy loses no wake-up.
async fn pause(round: u64) {
    if round.is_multiple_of(64) {
        sleep(Duration::from_micros(100)).await;
    }
}

/// Fails the process itself: the shards would not notice.
fn watch(duration: Duration, threads: Receiver<i32>) {
    let threads: Vec<_> = threads.iter().take(SHARDS).collect();
    let began = Instant::now();
    let mut seen = [[(0, now()); ACTIVITIES.len()]; SHARDS];
    let mut longest = [[Duration::ZERO; ACTIVITIES.len()]; SHARDS];
    let mut asleep_since = now();
    while began.elapsed() < duration {
        std::thread::sleep(SAMPLE);
        if !threads.iter().all(|thread| is_asleep(*thread)) {
            asleep_since = now();
        }
        for (own, activities) in STEPS.iter().enumerate() {
            for (activity, steps) in activities.iter().enumerate() {
                let (steps, last) = (steps.load(Ordering::Relaxed), &mut seen[own][activity]);
                if steps != last.0 {
                    *last = (steps, now());
                }
                let pause = last.1.elapsed();
                longest[own][activity] = longest[own][activity].max(pause);
                if pause > STAND_STILL && asleep_since.elapsed() > STAND_STILL {
                    eprintln!("{} on shard {own}: no step for {pause:?} while all shards sleep", ACTIVITIES[activity]);
                    std::process::exit(1);
                }
            }
        }
    }
    STOP.store(true, Ordering::Relaxed);
    for (activity, name) in ACTIVITIES.iter().enumerate() {
        let steps: Vec<_> = seen.iter().map(|shard| shard[activity].0).collect();
        let pauses: Vec<_> = longest.iter().map(|shard| shard[activity]).collect();
        println!("{name}: steps {steps:?}, longest pause {pauses:?} (sampled each {SAMPLE:?})");
        assert!(steps.iter().all(|steps| *steps > 0), "{name} never ran");
    }
}

/// By the kernel's word: `S` in the third field of the thread's stat, after the name in parentheses.
fn is_asleep(thread: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/self/task/{thread}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('S'))
}
