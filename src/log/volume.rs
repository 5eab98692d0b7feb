//! One data directory as one shard uses it: its journal, what waits to be flushed there, its checkpoints, its health.
//!
//! One per shard and directory of `log.dirs`, for as long as the shard; a log belongs to the volume that its folder lies in. So a disk that
//! fails or fills up takes its own logs out of service and no others.

use crate::checkpoint::Progress;
use crate::error::LogFailed;
use crate::guard::Guard;
use crate::journal::{FOLDER, Journal, JournalOptions};
use crate::{LogKey, VolumeOptions};
use ringlane_runtime::{Event, Instant, now, random_u64, shard};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

/// A checkpoint is due when the journal has grown by this much, or by a quarter of what it may hold if that is less.
const CHECKPOINT_BYTES: u64 = 64 << 20;
/// Or when so much went past the journal: a start reads again what was written since the last one, at 1 to 2 GB/s.
const CHECKPOINT_DIRECT_BYTES: u64 = 256 << 20;

pub(crate) struct Volume {
    pub path: PathBuf,
    pub stopped_clean: bool,
    pub directory_id: [u8; 16],
    pub journal: Journal,
    pub checkpoints: Progress,
    pub guard: Guard,
    /// Logs with something stable that is in no segment, and since when. Single writer: [`Volume::note_flushable`]; `flusher` takes.
    pub flushable: RefCell<VecDeque<(LogKey, Instant)>>,
    pub flushable_arrived: Event,
    /// Bytes that went straight to segments since the last checkpoint began.
    pub direct_bytes: Cell<u64>,
    /// Logs here, of this shard.
    pub logs_count: Cell<usize>,
    failed: RefCell<Option<Arc<LogFailed>>>,
}

impl Volume {
    pub fn new(options: &VolumeOptions, journal: JournalOptions) -> Volume {
        // Zero stands for "none" in an empty checkpoint.
        let epoch = random_u64() | 1;
        let folder = options.path.join(FOLDER).join(shard().0.to_string());
        Volume {
            path: options.path.clone(),
            stopped_clean: options.stopped_clean,
            directory_id: options.directory_id,
            journal: Journal::new(folder, journal, epoch),
            checkpoints: Progress::default(),
            guard: Guard::default(),
            flushable: RefCell::default(),
            flushable_arrived: Event::default(),
            direct_bytes: Cell::new(0),
            logs_count: Cell::new(0),
            failed: RefCell::default(),
        }
    }

    /// Why nothing more can be written here, if so.
    pub fn failure(&self) -> Option<Arc<LogFailed>> {
        self.failed.borrow().clone()
    }

    /// Takes the volume out of service; the first reason stays. Whoever waits for it finds out.
    pub fn note_failure(&self, failed: LogFailed) -> Arc<LogFailed> {
        let failed = self.failed.borrow_mut().get_or_insert_with(|| Arc::new(failed)).clone();
        self.journal.wake_all();
        self.checkpoints.wake_all();
        failed
    }

    /// Whether its journal is written and its checkpoints are made: it has begun, and not failed.
    pub fn is_at_work(&self) -> bool {
        self.checkpoints.has_begun() && self.failure().is_none()
    }

    pub fn want_checkpoint(&self) {
        self.checkpoints.want();
    }

    pub fn checkpoint_if_due(&self) {
        let (_, capacity) = self.journal.used_bytes();
        let much_in_journal = self.journal.bytes_since_checkpoint() >= CHECKPOINT_BYTES.min(capacity / 4);
        if much_in_journal || self.direct_bytes.get() >= CHECKPOINT_DIRECT_BYTES {
            self.want_checkpoint();
        }
    }

    /// The log has stable bytes that are in no segment, and had none before.
    pub fn note_flushable(&self, log: LogKey) {
        let mut flushable = self.flushable.borrow_mut();
        flushable.push_back((log, now()));
        if flushable.len() == 1 {
            self.flushable_arrived.notify_all();
        }
    }
}

/// The volumes of a shard, in the order of `log.dirs`.
pub(crate) type Volumes = Vec<Rc<Volume>>;
