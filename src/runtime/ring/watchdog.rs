//! The watchdog: a plain thread that wakes every shard each 5 ms.
//!
//! It is the cure of glommio's lost wake-up (fault B1: an executor can go to sleep with runnable tasks; any wake from another thread gets it
//! going again), and the stall meter: a shard answers each kick, so the age of the oldest unanswered one says how long its tasks have
//! not given way. Costs about 0.1 % of a core per shard.

use std::cell::RefCell;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Poll, Waker};
use std::thread::JoinHandle;
use std::time::Duration;

const KICK: Duration = Duration::from_millis(5);
/// Longer than anything a shard should do in one piece; shorter than any timeout of a client.
const STALL_LOGGED_MS: u64 = 100;
/// A shard that answers nothing for 5 s is kicked once a second from then on: each unread kick holds one clone of its waker, and more
/// than 32,767 of them would panic (fault B11).
const KICKS_UNREAD_MAX: u64 = 1000;
const SLOW_KICK_EVERY: u64 = 200;

/// What watchdog and shard know of each other.
#[derive(Default)]
pub(super) struct Kicks {
    /// Never taken out: a wake that glommio loses must not be the last.
    waker: OnceLock<Waker>,
    /// Written by the watchdog.
    sent: AtomicU64,
    /// Written by the shard: the value of `sent` it saw last.
    answered: AtomicU64,
    /// The shard has ended; nobody answers any more.
    ended: AtomicBool,
    current_stall_ms: AtomicU64,
    max_stall_ms: AtomicU64,
    stalls: AtomicU64,
}

impl Kicks {
    pub(super) fn shard_ended(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}

#[derive(Clone, Copy, Default)]
pub(super) struct Stalls {
    pub(super) current_ms: u64,
    pub(super) max_ms: u64,
    pub(super) count: u64,
}

thread_local! {
    static OWN: RefCell<Option<Arc<Kicks>>> = const { RefCell::new(None) };
}

/// The calling shard's stalls.
pub(super) fn stalls() -> Stalls {
    OWN.with_borrow(|kicks| {
        kicks.as_ref().map_or(Stalls::default(), |kicks| Stalls {
            current_ms: kicks.current_stall_ms.load(Ordering::Relaxed),
            max_ms: kicks.max_stall_ms.load(Ordering::Relaxed),
            count: kicks.stalls.load(Ordering::Relaxed),
        })
    })
}

/// Answers the watchdog on the calling shard for as long as it runs.
pub(super) fn answer(kicks: Arc<Kicks>) {
    OWN.replace(Some(kicks.clone()));
    let answering = poll_fn(move |cx| {
        kicks.waker.get_or_init(|| cx.waker().clone());
        kicks.answered.store(kicks.sent.load(Ordering::Acquire), Ordering::Release);
        Poll::<()>::Pending
    });
    glommio::spawn_local(answering).detach();
}

/// The thread; ends with the value.
pub(super) struct Watchdog {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    pub(super) fn start(shards: Vec<Arc<Kicks>>) -> std::io::Result<Watchdog> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::Builder::new().name("ringlane-watchdog".to_owned()).spawn(move || {
            let mut watched: Vec<_> =
                shards.into_iter().enumerate().map(|(shard, kicks)| Watched::new(shard, kicks)).collect();
            while !stopped.load(Ordering::Relaxed) {
                std::thread::sleep(KICK);
                watched.iter_mut().for_each(Watched::kick);
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

/// The watchdog's view of one shard.
struct Watched {
    shard: usize,
    kicks: Arc<Kicks>,
    /// When the oldest unanswered kick was sent; the kick after the last answer.
    unanswered_since: Option<crate::Instant>,
    is_logged: bool,
}

impl Watched {
    fn new(shard: usize, kicks: Arc<Kicks>) -> Watched {
        Watched { shard, kicks, unanswered_since: None, is_logged: false }
    }

    fn kick(&mut self) {
        let has_started = self.kicks.waker.get().is_some();
        if !has_started || self.kicks.ended.load(Ordering::Relaxed) {
            return;
        }
        let sent = self.kicks.sent.load(Ordering::Relaxed);
        let unread = sent - self.kicks.answered.load(Ordering::Acquire);
        match (unread, self.unanswered_since) {
            (0, _) => self.answered(),
            (_, Some(since)) => self.stalling(since.elapsed().as_millis() as u64),
            (_, None) => {}
        }
        if unread == 0 {
            self.unanswered_since = Some(crate::now());
        }
        self.kicks.sent.store(sent + 1, Ordering::Release);
        if let Some(waker) = self.kicks.waker.get()
            && (unread < KICKS_UNREAD_MAX || unread.is_multiple_of(SLOW_KICK_EVERY))
        {
            waker.wake_by_ref();
        }
    }

    fn answered(&mut self) {
        let stalled_ms = self.kicks.current_stall_ms.swap(0, Ordering::Relaxed);
        if std::mem::take(&mut self.is_logged) {
            tracing::warn!(shard = self.shard, stalled_ms, "the shard runs again");
        }
    }

    fn stalling(&mut self, age_ms: u64) {
        self.kicks.current_stall_ms.store(age_ms, Ordering::Relaxed);
        self.kicks.max_stall_ms.fetch_max(age_ms, Ordering::Relaxed);
        if age_ms >= STALL_LOGGED_MS && !self.is_logged {
            self.is_logged = true;
            self.kicks.stalls.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(
                shard = self.shard,
                stalled_ms = age_ms,
                "the shard does not answer: one of its tasks does not give way"
            );
        }
    }
}
