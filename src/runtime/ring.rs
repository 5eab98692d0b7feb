//! The real machine: glommio executors pinned by a CPU list, one private io_uring ring a shard, the watchdog.
//!
//! `run` starts one executor per core and the `watchdog`. On each shard a `driver` owns the private ring (`uring`), the timers and the
//! `doorbell` through which other threads wake the shard, and sleeps in that ring; glommio keeps the run queue. `net` and `file` turn
//! operations of the ring into streams and files, `fs` and `helpers` do on threads of their own what the kernel only offers blocking.
//!
//! The faults of glommio 0.9.0 that would concern us, and what keeps us from them:
//!
//! | | fault | here |
//! |---|---|---|
//! | B1 | an executor may go to sleep with runnable tasks | it never sleeps: the `driver` does; no preemption timer, no latency queue, and the `watchdog` as the last cure |
//! | B2, B3, B9 | direct files: a wrong IOPOLL probe, stale bytes at the end, the block size of another device | not used: `file` on our ring, alignment by statx |
//! | B4, B10 | sockets: a leaked descriptor, a late FIN | not used: `net` on our ring, shutdown before close |
//! | B5 | a panic in its blocking pool hangs the caller | not used: `helpers` |
//! | B6 | a panic in any task ends the shard | caught in `crate::task::spawn`, counted, logged; the main's in `run` |
//! | B7 | sizes are asked by path | `file` asks by descriptor |
//! | B8 | without io_uring: panic, or exit without a word | `preflight` |
//! | B11 | a waker counts its clones in 15 bits | a task gives out one waker per thing it waits for; kicks need none |
//! | B12 | a dropped write still writes | `uring` keeps memory and descriptor until the completion |

mod address;
mod cores;
pub(crate) mod counters;
mod descriptor;
pub(crate) mod doorbell;
mod driver;
pub(crate) mod file;
pub(crate) mod fs;
pub(crate) mod helpers;
pub(crate) mod net;
pub(crate) mod posix_lock;
mod preflight;
pub(crate) mod random;
pub(crate) mod signal;
pub(crate) mod task;
pub(crate) mod time;
mod timers;
mod uring;
mod watchdog;

use crate::context::{self, Context};
use crate::{ShardId, ShardMain, buffer};
pub use cores::{allowed_cores, parse_cores};
use doorbell::Doorbell;
use driver::Driver;
use futures::FutureExt;
use glommio::{ExecutorJoinHandle, LocalExecutorBuilder, Placement};
pub use preflight::{Machine, check_rings, preflight};
use std::any::Any;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;
use watchdog::{StallMeter, Watchdog, Watched};

/// glommio's own rings carry nothing but the watchdog's look at them.
const GLOMMIO_RING_DEPTH: usize = 128;
/// glommio's registered buffers: the least it takes. We do not use them, and they count three times against the memlock limit.
const GLOMMIO_MEMORY_BYTES: usize = 64 << 10;
/// Never: a preemption that fires on entry makes the executor sleep with runnable tasks (fault B1).
const PREEMPT_TIMER: Duration = Duration::from_secs(365 * 24 * 3600);
/// The largest threshold that glibc takes: below it freed memory is kept and not given back, faulted and zeroed again.
const MMAP_THRESHOLD_BYTES: libc::c_int = 32 << 20;

#[derive(Clone, Debug)]
pub struct RingOptions {
    /// One shard per entry, pinned to that CPU.
    pub cores: Vec<usize>,
    /// Pooled memory a shard may keep (see `buffer`).
    pub pool_bytes_per_shard: usize,
    /// Busy-poll before sleeping; zero (the default) costs no CPU when idle.
    pub spin_us: u64,
}

impl Default for RingOptions {
    fn default() -> RingOptions {
        RingOptions { cores: allowed_cores(), pool_bytes_per_shard: 256 << 20, spin_us: 0 }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("{0}")]
    Preflight(String),
    #[error("shard {shard} on CPU {cpu} could not start: {source}")]
    Shard { shard: u16, cpu: usize, source: std::io::Error },
}

/// How one shard ended.
enum Ended {
    Done,
    Panicked(Box<dyn Any + Send>),
    Refused(StartError),
}

/// Starts one shard per core and returns when all have ended. A panic of a shard's main goes on here, at once: the other shards cannot
/// serve without it.
pub fn run(options: RingOptions, mains: Vec<ShardMain>) -> Result<(), StartError> {
    assert_eq!(options.cores.len(), mains.len(), "one main per core");
    keep_freed_memory();
    let blocked = signal::Blocked::on_this_thread();
    helpers::start_crews();
    let handlers = signal::Handlers::install().map_err(|source| not_started(0, &options, source))?;
    let (handlers, mut signals) = handlers.unzip();

    let (ended, endings) = channel();
    let (mut watched, mut shards) = (Vec::new(), Vec::new());
    for (id, main) in mains.into_iter().enumerate() {
        let doorbell = Doorbell::new().map_err(|source| not_started(id, &options, source))?;
        let watch = Watched::new(id, Arc::new(doorbell));
        let (doorbell, meter) = (watch.doorbell.clone(), watch.meter.clone());
        watched.push(watch);
        let start = ShardStart {
            id,
            options: options.clone(),
            doorbell,
            meter,
            signals: signals.take(),
            main,
            ended: ended.clone(),
        };
        shards.push(start.spawn()?);
    }
    let watchdog = Watchdog::start(watched).map_err(|source| not_started(0, &options, source))?;
    drop((ended, blocked));

    for ending in endings {
        match ending {
            Ended::Done => {}
            Ended::Panicked(panic) => resume_unwind(panic),
            Ended::Refused(error) => return Err(error),
        }
    }
    for shard in shards {
        // Its ending was reported above; what is left is the executor's own.
        let _ = shard.join();
    }
    drop((watchdog, handlers));
    Ok(())
}

struct ShardStart {
    id: usize,
    options: RingOptions,
    doorbell: Arc<Doorbell>,
    meter: Arc<StallMeter>,
    /// Shard 0 gets them.
    signals: Option<OwnedFd>,
    main: ShardMain,
    ended: Sender<Ended>,
}

impl ShardStart {
    /// Returns when the shard's main is about to run: what an executor is refused shows on its own thread only.
    fn spawn(self) -> Result<ExecutorJoinHandle<()>, StartError> {
        let (id, options) = (self.id, self.options.clone());
        let (started, is_started) = channel();
        let executor = LocalExecutorBuilder::new(Placement::Fixed(options.cores[id]))
            .name(&format!("ringlane-{id}"))
            .preempt_timer(PREEMPT_TIMER)
            .ring_depth(GLOMMIO_RING_DEPTH)
            .io_memory(GLOMMIO_MEMORY_BYTES)
            .spawn(move || {
                // The other end waits in this very function.
                let _ = started.send(());
                driver::counted(self.run())
            });
        let executor = executor.map_err(|error| not_started(id, &options, error.into()))?;
        if is_started.recv().is_ok() {
            return Ok(executor);
        }
        let source = match executor.join() {
            Ok(()) => std::io::Error::other("its thread ended"),
            Err(error) => error.into(),
        };
        Err(not_started(id, &options, source))
    }

    async fn run(mut self) {
        let count = self.options.cores.len();
        // For the thread's whole life: what is dropped with the executor still sees its shard.
        std::mem::forget(context::enter(Context::Ring { id: ShardId(self.id as u16), count }));
        let ended = match self.start_parts() {
            Err(source) => Ended::Refused(not_started(self.id, &self.options, source)),
            Ok(driver) => {
                let main = AssertUnwindSafe(async move { (self.main)().await });
                let ended = main.catch_unwind().await.map_or_else(Ended::Panicked, |()| Ended::Done);
                driver.close().await;
                ended
            }
        };
        buffer::stop_pool();
        // `run` may have gone on with another shard's panic.
        let _ = self.ended.send(ended);
    }

    fn start_parts(&mut self) -> std::io::Result<Rc<Driver>> {
        let driver = Driver::start(self.doorbell.clone(), Duration::from_micros(self.options.spin_us))?;
        buffer::start_pool(self.options.pool_bytes_per_shard)?;
        watchdog::publish(self.meter.clone());
        if let Some(signals) = self.signals.take() {
            signal::listen(signals);
        }
        Ok(driver)
    }
}

fn not_started(shard: usize, options: &RingOptions, source: std::io::Error) -> StartError {
    let (shard, cpu) = (shard as u16, options.cores[shard]);
    if source.raw_os_error() == Some(libc::ENOMEM) {
        let why = preflight::ring_refused(&source, "");
        return StartError::Preflight(format!("shard {shard} on CPU {cpu} could not start: {why}"));
    }
    StartError::Shard { shard, cpu, source }
}

/// Large allocations of libraries (decompression, decoding) stay in the heap: mapped and unmapped each time, they fault on every page.
fn keep_freed_memory() {
    // SAFETY: sets allocator parameters; a refusal (another allocator) changes nothing.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, MMAP_THRESHOLD_BYTES);
        libc::mallopt(libc::M_TRIM_THRESHOLD, libc::c_int::MAX);
    }
}

#[cfg(test)]
mod tests;
