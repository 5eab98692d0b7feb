//! The watchdog: a plain thread that kicks every shard each 20 ms.
//!
//! It is the stall meter: a shard's driver answers each kick, so the age of the oldest unanswered one says how long its tasks have not
//! given way. And it is the safety net of the executor (fault B1): after a kick glommio looks at its own rings, and if it should fall asleep
//! over that, the next, unanswered kick wakes it.

use super::doorbell::Doorbell;
use crate::Instant;
use std::cell::OnceCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Measured on an idle shard in a loaded VM: a kick costs the shard 30 us and this thread as much, so each 5 ms would be 1.2 % of a core.
const KICK: Duration = Duration::from_millis(20);
/// Each attempt holds one clone of the driver's waker until the shard runs, and more than 32,767 would panic (fault B11).
const RESCUES_MAX: u32 = 1000;
/// Longer than anything a shard should do in one piece; shorter than any timeout of a client.
const STALL_LOGGED_MS: u64 = 100;

/// What the watchdog has found out about one shard; the shard reads it as metrics.
#[derive(Default)]
pub(super) struct StallMeter {
    current_ms: AtomicU64,
    max_ms: AtomicU64,
    count: AtomicU64,
}

#[derive(Clone, Copy, Default)]
pub(super) struct Stalls {
    pub(super) current_ms: u64,
    pub(super) max_ms: u64,
    pub(super) count: u64,
}

thread_local! {
    static OWN: OnceCell<Arc<StallMeter>> = const { OnceCell::new() };
}

/// The calling shard's stalls.
pub(super) fn stalls() -> Stalls {
    OWN.with(|meter| {
        meter.get().map_or(Stalls::default(), |meter| Stalls {
            current_ms: meter.current_ms.load(Ordering::Relaxed),
            max_ms: meter.max_ms.load(Ordering::Relaxed),
            count: meter.count.load(Ordering::Relaxed),
        })
    })
}

/// Makes `meter` the calling shard's, for the thread's whole life.
pub(super) fn publish(meter: Arc<StallMeter>) {
    OWN.with(|own| _ = own.set(meter));
}

/// The thread; ends with the value.
pub(super) struct Watchdog {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    pub(super) fn start(mut shards: Vec<Watched>) -> std::io::Result<Watchdog> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::Builder::new().name("ringlane-watchdog".to_owned()).spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                std::thread::sleep(KICK);
                shards.iter_mut().for_each(Watched::kick);
            }
        })?;
        Ok(Watchdog { stop, thread: Some(thread) })
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// One shard as the watchdog sees it.
pub(super) struct Watched {
    pub(super) shard: usize,
    pub(super) doorbell: Arc<Doorbell>,
    pub(super) meter: Arc<StallMeter>,
    /// When the oldest unanswered kick was given.
    unanswered_since: Instant,
    rescues: u32,
    is_logged: bool,
}

impl Watched {
    pub(super) fn new(shard: usize, doorbell: Arc<Doorbell>) -> Watched {
        Watched { shard, doorbell, meter: Arc::default(), unanswered_since: crate::now(), rescues: 0, is_logged: false }
    }

    fn kick(&mut self) {
        if self.doorbell.is_closed() {
            return;
        }
        if self.doorbell.is_answered() {
            self.answered();
            self.unanswered_since = crate::now();
        } else {
            self.stalling(self.unanswered_since.elapsed().as_millis() as u64);
        }
        self.doorbell.kick();
    }

    fn answered(&mut self) {
        self.rescues = 0;
        let stalled_ms = self.meter.current_ms.swap(0, Ordering::Relaxed);
        if std::mem::take(&mut self.is_logged) {
            tracing::warn!(shard = self.shard, stalled_ms, "the shard runs again");
        }
    }

    fn stalling(&mut self, age_ms: u64) {
        self.meter.current_ms.store(age_ms, Ordering::Relaxed);
        self.meter.max_ms.fetch_max(age_ms, Ordering::Relaxed);
        if self.rescues < RESCUES_MAX {
            self.rescues += 1;
            self.doorbell.rescue();
        }
        if age_ms >= STALL_LOGGED_MS && !self.is_logged {
            self.is_logged = true;
            self.meter.count.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(
                shard = self.shard,
                stalled_ms = age_ms,
                "the shard does not answer: one of its tasks does not give way"
            );
        }
    }
}
