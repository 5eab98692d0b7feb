//! What a simulation is like: its network, its disks, and what fails in them.

use std::ops::Range;
use std::time::Duration;

#[derive(Clone, Debug)]
pub struct SimOptions {
    pub network: NetworkOptions,
    /// Of every node; [`Sim::set_disk`](super::Sim::set_disk) changes one.
    pub disk: DiskOptions,
    /// A panic in a task fails the simulation (with seed and trace). Without it, [`Sim::panics`](super::Sim::panics) has them.
    pub fail_on_panic: bool,
}

#[derive(Clone, Debug)]
pub struct NetworkOptions {
    /// One way, drawn once for each connection.
    pub delay: Range<Duration>,
    /// Drawn for each segment, on top; order is kept.
    pub jitter: Range<Duration>,
    /// Bytes sent but not yet received by the peer's program, for one direction of a connection; drawn for each connection.
    pub window_bytes: Range<usize>,
    /// That a segment's connection breaks as it is sent.
    pub cut_probability: f64,
    /// That a receive returns less than has arrived.
    pub short_receive_probability: f64,
    pub connect_timeout: Duration,
    /// After which a sender whose bytes do not get through gives up.
    pub retransmit_timeout: Duration,
}

#[derive(Clone, Debug)]
pub struct DiskOptions {
    /// Writes and reservations beyond it are refused (ENOSPC); when not a block is left, also new files, new directories and larger sizes.
    pub capacity_bytes: u64,
    /// Of each operation, drawn each time.
    pub latency: Range<Duration>,
    pub bytes_per_second: u64,
    /// Durable writes and syncs report success and do nothing: a disk with a volatile cache that ignores flushes. With it, a program
    /// that keeps every rule still loses data; a checker that does not notice is broken.
    pub lies_about_durability: bool,
}

/// An error that the disk answers with. Stays until [`Sim::clear_io_faults`](super::Sim::clear_io_faults).
#[derive(Clone, Debug)]
pub struct IoFault {
    pub kind: IoKind,
    /// Files whose path contains this; empty means all.
    pub path_contains: String,
    pub probability: f64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IoKind {
    /// `File::read_at`, `fs::read`.
    Read,
    /// What changes a file: `File::write_at`, `allocate` and `set_len`, the same inside `fs::write_atomic` and `fs::truncate`.
    Write,
    /// `File::sync`, the same inside `fs::write_atomic` and `fs::truncate`.
    Sync,
    /// Opening a file that is there.
    Open,
    /// A new file, `fs::create_dir_all`, `fs::lock_dir`.
    Create,
    /// Of either path.
    Rename,
    /// `fs::remove_file`, `fs::remove_dir_all`.
    Remove,
    /// The names stay as they are, and not durable.
    SyncDir,
    /// `fs::read_dir`, `list`, `exists`, `space`.
    List,
}

impl Default for SimOptions {
    fn default() -> SimOptions {
        SimOptions { network: NetworkOptions::default(), disk: DiskOptions::default(), fail_on_panic: true }
    }
}

impl Default for NetworkOptions {
    fn default() -> NetworkOptions {
        NetworkOptions {
            delay: Duration::from_micros(20)..Duration::from_millis(2),
            jitter: Duration::ZERO..Duration::from_micros(500),
            window_bytes: 4 << 10..256 << 10,
            cut_probability: 0.0,
            short_receive_probability: 0.2,
            connect_timeout: Duration::from_secs(10),
            retransmit_timeout: Duration::from_secs(15),
        }
    }
}

impl Default for DiskOptions {
    fn default() -> DiskOptions {
        DiskOptions {
            capacity_bytes: 64 << 30,
            latency: Duration::from_micros(10)..Duration::from_millis(1),
            bytes_per_second: 2 << 30,
            lies_about_durability: false,
        }
    }
}
