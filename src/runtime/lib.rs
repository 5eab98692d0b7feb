//! The seam to the machine: executor, tasks, clock, timers, randomness, sockets, direct files, buffers, byte budgets, lanes
//! between shards, CPU affinity, signals, preflight.
//!
//! Two backends stand behind the same concrete types: `ring` (glommio executors, one private io_uring ring a shard) and `sim` (one
//! thread, virtual clock, lossy network, faulty disk, all from a seed). The backend is chosen when a shard starts; nothing above this
//! crate can tell which one it runs on, and nothing above this crate touches a clock, a random source, a thread, a socket or a file.
//!
//! Everything except [`Socket`], [`Buffer`], [`ShardMain`] and mesh ends before their shard starts is bound to the shard that made it
//! (`!Send`). Knows nothing of Kafka.

mod budget;
mod buffer;
mod context;
mod file;
pub mod fs;
mod mesh;
mod net;
mod random;
pub mod ring;
mod shard;
mod signal;
pub mod sim;
mod sync;
mod task;
mod time;

pub use budget::{Budget, Permit};
pub use buffer::{BLOCK_BYTES, Buffer};
pub use file::{Durability, File, FileMode};
pub use mesh::{Credit, Incoming, Mesh, MeshEnd, PendingReply, ReplyTo};
pub use net::{Listener, Socket, Stream, resolve};
pub use random::{random_bytes, random_u64};
pub use ring::counters::{Counters, counters};
pub use shard::{ShardId, ShardMain, shard, shard_count};
pub use signal::{Signal, next_signal};
pub use sync::{Event, OneshotReceiver, OneshotSender, oneshot};
pub use task::{Task, TaskFailed, blocking, give_way, spawn};
pub use time::{Elapsed, Instant, now, sleep, sleep_until, timeout, wall_clock_ms};
