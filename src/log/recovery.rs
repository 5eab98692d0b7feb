//! Opens what a folder holds: verifies every batch, cuts a write that a crash cut short, refuses damage.
//!
//! Runs on the home shard before the log is anybody's. Nothing is removed unless it is certain that nobody was told it was stable:
//! * data before the recovery point of the checkpoint, in a segment with a successor, or after an orderly stop, was durable: a bad batch
//!   there is damage;
//! * a log that acknowledges durable bytes has one write in flight: good batches further behind a bad one than one write reaches prove
//!   that the bad one had been acknowledged;
//! * a log that acknowledges written bytes may lose, at a power cut, anything since its recovery point: that is cut, with a warning.

use crate::segment::Segment;
use crate::state::{LogState, WRITE_SPAN_BYTES};
use crate::{LogOptions, OpenError, files, scan};
use ringlane_protocol::records::BatchHeader;
use ringlane_runtime::{BLOCK_BYTES, File, FileMode, fs};
use scan::{Bad, Scanner};
use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};

/// What the scan of a folder gave.
pub(crate) struct Recovered {
    pub state: LogState,
    pub read_bytes: u64,
    pub cut_bytes: u64,
}

impl Recovered {
    pub fn empty(state: LogState) -> Recovered {
        Recovered { state, read_bytes: 0, cut_bytes: 0 }
    }
}

struct Recovery<'a> {
    folder: &'a Path,
    options: LogOptions,
    stopped_clean: bool,
    /// Everything before this offset was durable.
    recovery_point: Option<i64>,
    read_bytes: u64,
    cut_bytes: u64,
}

/// Makes the first segment of a new log.
pub(crate) async fn create(folder: &Path, options: LogOptions) -> Result<LogState, OpenError> {
    let path = files::segment_path(folder, 0);
    let file =
        File::open(&path, FileMode::OpenOrCreate).await.map_err(io_error(&path, "creating the first segment"))?;
    let segment = Segment { file: Some(file), ..Segment::new(0) };
    Ok(LogState::new(options, VecDeque::from([segment]), 0, Vec::new()))
}

/// Reads the segments of `folder` in offset order; `visit` sees every good batch.
pub(crate) async fn recover(
    folder: &Path,
    options: LogOptions,
    stopped_clean: bool,
    visit: &mut dyn FnMut(&BatchHeader),
) -> Result<Recovered, OpenError> {
    // The last process may have ended, even in order, between making a name here and syncing it. What is acknowledged from now on needs
    // the name.
    fs::sync_dir(folder).await.map_err(io_error(folder, "syncing the folder"))?;
    let checkpoint_path = folder.join(files::CHECKPOINT);
    let checkpoint = match fs::read(&checkpoint_path).await {
        Ok(content) => files::decode_checkpoint(&content),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(io_error(&checkpoint_path, "reading")(error)),
    };
    let mut recovery =
        Recovery { folder, options, stopped_clean, recovery_point: checkpoint, read_bytes: 0, cut_bytes: 0 };
    let mut bases = Vec::new();
    for path in fs::read_dir(folder).await.map_err(io_error(folder, "listing the folder"))? {
        bases.extend(files::segment_base(&path));
    }
    recovery.settle_newest(&mut bases).await?;
    if bases.is_empty() {
        let state = create(folder, options).await?;
        fs::sync_dir(folder).await.map_err(io_error(folder, "syncing the folder"))?;
        return Ok(Recovered::empty(state));
    }

    let mut segments = VecDeque::new();
    let mut end_offset = bases[0];
    for (at, base) in bases.iter().enumerate() {
        let is_last = at + 1 == bases.len();
        let (segment, end) = recovery.segment(*base, end_offset, is_last, visit).await?;
        segments.push_back(segment);
        end_offset = end;
    }
    let last = segments.back().expect("there is a base");
    let partial_block = match &last.file {
        Some(file) => scan::partial_block(file, last.bytes)
            .await
            .map_err(io_error(&files::segment_path(folder, last.base_offset), "reading the last block"))?,
        None => Vec::new(),
    };
    let state = LogState::new(options, segments, end_offset, partial_block);
    Ok(Recovered { state, read_bytes: recovery.read_bytes, cut_bytes: recovery.cut_bytes })
}

impl Recovery<'_> {
    /// A crash may have come between the first write into the next segment and its renaming: its first batch says its name. Without a
    /// good batch the newest segment, whatever its name, never was part of the log.
    async fn settle_newest(&mut self, bases: &mut Vec<i64>) -> Result<(), OpenError> {
        let path = self.folder.join(files::NEXT_SEGMENT);
        if fs::exists(&path).await.map_err(io_error(&path, "looking for it"))? {
            let after = bases.last().copied().unwrap_or(0);
            if let Some(base) = self.first_offset_or_remove(&path, after).await? {
                let named = files::segment_path(self.folder, base);
                fs::rename(&path, &named).await.map_err(io_error(&path, "giving the segment its name"))?;
                self.sync_folder().await?;
                bases.push(base);
            }
        }
        if let [.., _, base] = bases[..] {
            let path = files::segment_path(self.folder, base);
            if self.first_offset_or_remove(&path, base).await?.is_none() {
                bases.pop();
            }
        }
        Ok(())
    }

    /// Offset of the first batch in a segment; without a good one, the file is removed unless that would hide damage.
    async fn first_offset_or_remove(&self, path: &Path, expected: i64) -> Result<Option<i64>, OpenError> {
        let (file, file_bytes) = self.open(path).await?;
        let first = scan::good_at(&file, 0, file_bytes, expected).await.map_err(io_error(path, "reading"))?;
        if let Some(first) = first {
            return Ok(Some(first.base_offset));
        }
        let source = Source { path, file: &file, file_bytes, start: 0, expected };
        if !source.rest_is_zero().await? {
            let scanner = Scanner::new(0, expected, expected, file_bytes);
            let scanned = scan::scan(&file, scanner, &mut |_| {}).await.map_err(io_error(path, "reading"))?;
            if let Some(bad) = scanned.bad {
                self.judge(&source, &bad).await?;
            }
        }
        fs::remove_file(path).await.map_err(io_error(path, "removing the empty segment"))?;
        self.sync_folder().await?;
        Ok(None)
    }

    async fn sync_folder(&self) -> Result<(), OpenError> {
        fs::sync_dir(self.folder).await.map_err(io_error(self.folder, "syncing the folder"))
    }

    async fn open(&self, path: &Path) -> Result<(File, u64), OpenError> {
        let file = File::open(path, FileMode::ReadWrite).await.map_err(io_error(path, "opening"))?;
        if !self.stopped_clean {
            // What the last process saw written may not be durable, and must not be lost after it was read.
            file.sync().await.map_err(io_error(path, "syncing before the first read"))?;
        }
        let file_bytes = file.len().await.map_err(io_error(path, "asking for the size"))?;
        Ok((file, file_bytes))
    }

    async fn segment(
        &mut self,
        base: i64,
        end_offset: i64,
        is_last: bool,
        visit: &mut dyn FnMut(&BatchHeader),
    ) -> Result<(Segment, i64), OpenError> {
        let path = files::segment_path(self.folder, base);
        if base > end_offset {
            tracing::warn!(path = %path.display(), end_offset, base, "offsets are missing before this segment");
        }
        let (file, file_bytes) = self.open(&path).await?;
        let mut segment = Segment::new(base);
        let interval_bytes = self.options.index_interval_bytes;
        let scanner = Scanner::new(0, end_offset.max(base), base, file_bytes);
        let scanned = scan::scan(&file, scanner, &mut |header| {
            segment.push_found(header, interval_bytes);
            visit(header);
        })
        .await
        .map_err(io_error(&path, "reading"))?;
        self.read_bytes += file_bytes;

        if let Some(bad) = &scanned.bad {
            let source =
                Source { path: &path, file: &file, file_bytes, start: scanned.bytes, expected: scanned.end_offset };
            let empty_rest = source.rest_is_zero().await?;
            let lost = self.was_durable(scanned.end_offset) && (is_last || self.stopped_clean);
            if !empty_rest || lost {
                if !is_last || lost {
                    return Err(source.corrupt(bad, None).await);
                }
                self.judge(&source, bad).await?;
                self.cut_bytes += file_bytes - scanned.bytes;
            }
        }
        // Also without a bad batch: a write of the process before may still have been on its way to the device.
        if file_bytes != scanned.bytes || (is_last && !self.stopped_clean) {
            file.set_len(scanned.bytes).await.map_err(io_error(&path, "cutting the file to its good part"))?;
            file.sync().await.map_err(io_error(&path, "syncing"))?;
        }
        if is_last {
            segment.file = Some(file);
        } else {
            self.seal(&mut segment).await;
        }
        Ok((segment, scanned.end_offset))
    }

    fn was_durable(&self, offset: i64) -> bool {
        self.stopped_clean || self.recovery_point.is_some_and(|durable| offset < durable)
    }

    /// Decides whether what begins with `bad` may be cut off the end of the log.
    async fn judge(&self, source: &Source<'_>, bad: &Bad) -> Result<(), OpenError> {
        if self.was_durable(source.expected) {
            return Err(source.corrupt(bad, None).await);
        }
        if self.recovery_point.is_none() {
            let out_of_reach = source.start - source.start % BLOCK_BYTES as u64 + WRITE_SPAN_BYTES;
            let good = scan::find_good(source.file, out_of_reach, source.file_bytes, source.expected).await;
            if let Some(good) = good.map_err(io_error(source.path, "reading"))? {
                return Err(source.corrupt(bad, Some(good)).await);
            }
        }
        tracing::warn!(
            path = %source.path.display(), position = bad.position, bytes = source.file_bytes - source.start, found = %bad.found,
            "a write was cut short by a crash: removed, it had not been acknowledged as stable"
        );
        Ok(())
    }

    /// Index files of a segment with a successor, unless they are there and right.
    async fn seal(&self, segment: &mut Segment) {
        let Some(index) = &mut segment.index else { return };
        index.seal();
        let mut right = true;
        for (path, content) in [
            (files::time_index_path(self.folder, segment.base_offset), index.encode_times()),
            (files::index_path(self.folder, segment.base_offset), index.encode_offsets()),
        ] {
            if fs::read(&path).await.is_ok_and(|found| found == content) {
                continue;
            }
            if let Err(error) = fs::write_atomic(&path, &content).await {
                tracing::warn!(%error, path = %path.display(), "index not written: it stays in memory");
                right = false;
            }
        }
        if right {
            segment.index = None;
        }
    }
}

/// The file in question, and where its good part ends.
struct Source<'a> {
    path: &'a Path,
    file: &'a File,
    file_bytes: u64,
    start: u64,
    expected: i64,
}

impl Source<'_> {
    async fn rest_is_zero(&self) -> Result<bool, OpenError> {
        is_zero(self.file, self.start, self.file_bytes).await.map_err(io_error(self.path, "reading"))
    }

    /// The error, with the next good batch for whoever has to repair it.
    async fn corrupt(&self, bad: &Bad, next_good: Option<u64>) -> OpenError {
        let next_good = match next_good {
            Some(position) => Some(position),
            None => {
                scan::find_good(self.file, self.start + 1, self.file_bytes, self.expected).await.unwrap_or_default()
            }
        };
        OpenError::Corrupt { path: self.path.to_owned(), position: bad.position, found: bad.found.clone(), next_good }
    }
}

const ZEROS: [u8; BLOCK_BYTES] = [0; BLOCK_BYTES];

/// Space that was set aside and never written reads as zeros.
pub(crate) async fn is_zero(file: &File, from: u64, to: u64) -> io::Result<bool> {
    let mut at = from;
    let mut buffer = ringlane_runtime::Buffer::take(1 << 20);
    while at < to {
        let aligned = at - at % BLOCK_BYTES as u64;
        let (read, returned) = file.read_at(buffer, aligned).await;
        buffer = returned;
        let have = (read? as u64).min(to - aligned) as usize;
        let start = (at - aligned) as usize;
        if have <= start {
            break;
        }
        if buffer[start..have].chunks(BLOCK_BYTES).any(|block| block != &ZEROS[..block.len()]) {
            return Ok(false);
        }
        at = aligned + have as u64;
        ringlane_runtime::give_way().await;
    }
    Ok(true)
}

pub(crate) fn io_error(path: &Path, doing: &'static str) -> impl FnOnce(io::Error) -> OpenError {
    let path = PathBuf::from(path);
    move |source| OpenError::Io { path, doing, source }
}
