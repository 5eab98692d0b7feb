//! Opens what a folder holds: trusts it up to the last checkpoint, verifies every batch behind that, cuts a write that a crash cut short,
//! refuses damage.
//!
//! Runs on the home shard before the log is anybody's. Nothing is removed unless it is certain that nobody was told it was stable, or that
//! it comes back:
//! * data before the recovery point, in a segment with a successor, or after an orderly stop, was durable: a bad batch there is damage;
//! * behind it, what the journals have replaces whatever the segment has from there on (`replay` appends it again);
//! * what the journals do not have went straight to the segment, with one durable write in flight: good batches further behind a bad one
//!   than one write reaches prove that the bad one had been acknowledged;
//! * a log that acknowledges written bytes may lose, at a power cut, anything since its recovery point: that is cut, with a warning.

use crate::aborted::Aborted;
use crate::checkpoint::Record;
use crate::index::SegmentIndex;
use crate::journal::scan::FoundEntry;
use crate::listing::Listing;
use crate::segment::Segment;
use crate::state::{LogState, WRITE_SPAN_BYTES};
use crate::visitor::{Visitor, WithSnapshots};
use crate::{LogOptions, OpenError, files, rewrite, scan, snapshots};
use ringlane_protocol::storage::txn_index;
use ringlane_runtime::{BLOCK_BYTES, File, FileMode, fs};
use scan::{Bad, Scanner};
use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};

/// What is known of a log beside its folder.
pub(crate) struct Known<'a> {
    pub record: Option<&'a Record>,
    /// What the journals have of it, in the order of appending.
    pub entries: &'a [FoundEntry],
    pub stopped_clean: bool,
}

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
    listing: &'a Listing,
    options: LogOptions,
    known: Known<'a>,
    read_bytes: u64,
    cut_bytes: u64,
}

/// Makes the first segment of a log that has none.
pub(crate) async fn create(folder: &Path, options: LogOptions, base_offset: i64) -> Result<LogState, OpenError> {
    let path = files::segment_path(folder, base_offset);
    let file =
        File::open(&path, FileMode::OpenOrCreate).await.map_err(io_error(&path, "creating the first segment"))?;
    let segment = Segment { file: Some(file), ..Segment::new(base_offset) };
    Ok(LogState::new(options, VecDeque::from([segment]), base_offset, Vec::new()))
}

/// Reads the segments of `folder`, whose names are durable, in offset order; `visitor` learns what is in them.
pub(crate) async fn recover(
    folder: &Path,
    listing: &Listing,
    options: LogOptions,
    known: Known<'_>,
    log_start: i64,
    visitor: &mut dyn Visitor,
) -> Result<Recovered, OpenError> {
    let mut recovery = Recovery { folder, listing, options, known, read_bytes: 0, cut_bytes: 0 };
    let mut bases = listing.segment_bases();
    let doubtful = recovery.settle_newest(&mut bases).await?;
    if bases.is_empty() {
        if let Some(record) =
            recovery.known.record.filter(|record| record.position > 0 && record.end_offset > log_start)
        {
            return Err(missing_segment(folder, record));
        }
        let state = create(folder, options, log_start).await?;
        recovery.remove_doubtful(doubtful.as_deref(), log_start).await?;
        fs::sync_dir(folder).await.map_err(io_error(folder, "syncing the folder"))?;
        return Ok(Recovered::empty(state));
    }

    let trusted = recovery.trusted(&bases)?;
    let mut segments = VecDeque::new();
    let mut end_offset = bases[0];
    // Without the partition's state, every batch has to be shown again.
    let has_state = |record: &&Record| record.state.as_ref().is_some_and(|state| visitor.state(state));
    let trusted = trusted.filter(has_state);
    let snapshots = match trusted {
        Some(_) => Vec::new(),
        None => snapshots::last_valid(folder, listing, bases[bases.len() - 1]).await,
    };
    let mut visitor = WithSnapshots::new(visitor, snapshots);
    for (at, base) in bases.iter().enumerate() {
        let is_last = at + 1 == bases.len();
        let (segment, end) = match trusted {
            Some(record) if *base < record.segment_base => recovery.sealed(*base, bases[at + 1]).await?,
            Some(record) if *base == record.segment_base => recovery.recorded(record, is_last, &mut visitor).await?,
            _ => recovery.segment(*base, end_offset, is_last, &mut visitor).await?,
        };
        segments.push_back(segment);
        end_offset = end;
    }
    visitor.reach(end_offset);
    recovery.remove_doubtful(doubtful.as_deref(), end_offset).await?;
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

fn missing_segment(folder: &Path, record: &Record) -> OpenError {
    let path = files::segment_path(folder, record.segment_base);
    let found = format!(
        "the file is missing, but the last checkpoint says that the log goes up to offset {} there: restore it from a copy, or move the \
         folder away to start the partition empty",
        record.end_offset
    );
    OpenError::Unreadable { path, found }
}

impl<'a> Recovery<'a> {
    /// The record, if it says how the segments that are there begin. Older ones may have been deleted since.
    fn trusted(&self, bases: &[i64]) -> Result<Option<&'a Record>, OpenError> {
        let Some(record) = self.known.record else { return Ok(None) };
        if bases.contains(&record.segment_base) {
            return Ok(Some(record));
        }
        match bases[0] > record.segment_base {
            true => Ok(None),
            false if record.position == 0 => Ok(None),
            false => Err(missing_segment(self.folder, record)),
        }
    }

    /// A segment before the recovery point's: nothing of it is read now.
    async fn sealed(&mut self, base: i64, next_base: i64) -> Result<(Segment, i64), OpenError> {
        let path = files::segment_path(self.folder, base);
        let Some(file_bytes) = self.listing.bytes_of(&path) else {
            return Err(io_error(&path, "asking for the size")(io::ErrorKind::NotFound.into()));
        };
        Ok((
            Segment { aborted: Aborted::in_file(self.has_aborted(base)), ..Segment::sealed(base, file_bytes) },
            next_base,
        ))
    }

    /// The segment in which the recovery point lies: verified from there on.
    async fn recorded(
        &mut self,
        record: &Record,
        is_last: bool,
        visitor: &mut dyn Visitor,
    ) -> Result<(Segment, i64), OpenError> {
        let base = record.segment_base;
        let path = files::segment_path(self.folder, base);
        let (file, file_bytes) = self.open(&path).await?;
        if file_bytes < record.position {
            let found = format!("the file ends at byte {file_bytes}, up to byte {} it was durable", record.position);
            return Err(OpenError::Corrupt { path, position: file_bytes, found, next_good: None });
        }
        let mut segment = Segment::new(base);
        segment.index = Some(self.stored_index(record).await);
        segment.first_timestamp = record.first_timestamp;
        segment.max_timestamp = record.max_timestamp;
        (segment.bytes, segment.written_bytes) = (record.position, record.position);
        segment.aborted = self.stored_aborted(base, record.end_offset).await?;
        let scanner = Scanner::new(record.position, record.end_offset, base, file_bytes);
        self.verify(segment, file, scanner, is_last, visitor).await
    }

    /// What the checkpoint says is right of the segment's index files. It only saves reading: without them, readers start further in front.
    async fn stored_index(&self, record: &Record) -> SegmentIndex {
        let base_offset = record.segment_base;
        let (mut offsets, mut times) = (Vec::new(), Vec::new());
        if record.index_entries > 0 {
            offsets = fs::read(&files::index_path(self.folder, base_offset)).await.unwrap_or_default();
            times = fs::read(&files::time_index_path(self.folder, base_offset)).await.unwrap_or_default();
        }
        let stored = SegmentIndex::decode_first(&offsets, record.index_entries, &times, record.time_entries);
        let relative = |offset: i64| offset.saturating_sub(base_offset).clamp(0, i64::from(i32::MAX)) as u32;
        let largest = record.max_timestamp.map(|(timestamp, offset)| (timestamp, relative(offset)));
        stored.unwrap_or_default().with_largest(largest)
    }

    fn has_aborted(&self, base: i64) -> bool {
        self.listing.bytes_of(&files::transaction_index_path(self.folder, base)).is_some_and(|bytes| bytes > 0)
    }

    /// The aborted transactions of a segment up to the recovery point: all that ended there are in its file, which is needed.
    async fn stored_aborted(&self, base: i64, end_offset: i64) -> Result<Aborted, OpenError> {
        if !self.has_aborted(base) {
            return Ok(Aborted::default());
        }
        let path = files::transaction_index_path(self.folder, base);
        let content = fs::read(&path).await.map_err(io_error(&path, "reading"))?;
        let transactions = txn_index::decode(&content);
        let transactions = transactions.map_err(|error| OpenError::Unreadable { path, found: error.to_string() })?;
        Ok(Aborted::found(transactions, end_offset))
    }

    /// A crash may have come between the first write into the next segment and its renaming: its first batch says its name. Without a
    /// good batch the newest segment, whatever its name, is doubtful: only when the end of the log is known can it be told whether it ever
    /// was part of it.
    async fn settle_newest(&mut self, bases: &mut Vec<i64>) -> Result<Option<PathBuf>, OpenError> {
        let path = self.folder.join(files::NEXT_SEGMENT);
        if self.listing.has(files::NEXT_SEGMENT) {
            let after = bases.last().copied().unwrap_or(0);
            let Some(base) = self.first_offset(&path, after).await? else { return Ok(Some(path)) };
            let named = files::segment_path(self.folder, base);
            fs::rename(&path, &named).await.map_err(io_error(&path, "giving the segment its name"))?;
            self.sync_folder().await?;
            bases.push(base);
        }
        if let [.., _, base] = bases[..] {
            let path = files::segment_path(self.folder, base);
            let is_recorded = self.known.record.is_some_and(|record| record.segment_base == base);
            if !is_recorded && self.first_offset(&path, base).await?.is_none() {
                bases.pop();
                return Ok(Some(path));
            }
        }
        Ok(None)
    }

    /// Offset of the first batch in a segment, if that is good.
    async fn first_offset(&self, path: &Path, expected: i64) -> Result<Option<i64>, OpenError> {
        let (file, file_bytes) = self.open(path).await?;
        let first = scan::good_at(&file, 0, file_bytes, expected).await.map_err(io_error(path, "reading"))?;
        Ok(first.map(|first| first.base_offset))
    }

    /// Removes a newest segment without a good first batch, unless that would hide damage. The log before it ends at `end_offset`.
    async fn remove_doubtful(&self, path: Option<&Path>, end_offset: i64) -> Result<(), OpenError> {
        let Some(path) = path else { return Ok(()) };
        let (file, file_bytes) = self.open(path).await?;
        let source = Source { path, file: &file, file_bytes, start: 0, expected: end_offset };
        if !source.rest_is_zero().await? {
            let scanner = Scanner::new(0, end_offset, end_offset, file_bytes);
            let scanned = scan::scan(&file, scanner, &mut |_| {}).await.map_err(io_error(path, "reading"))?;
            if let Some(bad) = scanned.bad {
                self.judge(&source, &bad).await?;
            }
        }
        fs::remove_file(path).await.map_err(io_error(path, "removing the empty segment"))?;
        self.sync_folder().await
    }

    async fn sync_folder(&self) -> Result<(), OpenError> {
        fs::sync_dir(self.folder).await.map_err(io_error(self.folder, "syncing the folder"))
    }

    async fn open(&self, path: &Path) -> Result<(File, u64), OpenError> {
        let file = File::open(path, FileMode::ReadWrite).await.map_err(io_error(path, "opening"))?;
        if !self.known.stopped_clean {
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
        visitor: &mut dyn Visitor,
    ) -> Result<(Segment, i64), OpenError> {
        let path = files::segment_path(self.folder, base);
        if base > end_offset {
            tracing::warn!(path = %path.display(), end_offset, base, "offsets are missing before this segment");
        }
        let (file, file_bytes) = self.open(&path).await?;
        let scanner = Scanner::new(0, end_offset.max(base), base, file_bytes);
        self.verify(Segment::new(base), file, scanner, is_last, visitor).await
    }

    /// Reads the segment on from where `scanner` stands, and settles what is bad at its end.
    async fn verify(
        &mut self,
        mut segment: Segment,
        file: File,
        scanner: Scanner,
        is_last: bool,
        visitor: &mut dyn Visitor,
    ) -> Result<(Segment, i64), OpenError> {
        let path = files::segment_path(self.folder, segment.base_offset);
        let (from, file_bytes) = (scanner.position(), scanner.file_bytes());
        let interval_bytes = self.options.index_interval_bytes;
        let scanned = scan::scan_with_markers(&file, scanner, &mut |header, marker| {
            segment.push_found(header, interval_bytes);
            visitor.batch(header);
            if let Some(aborted) = marker.and_then(|marker| visitor.marker(header, marker)) {
                segment.aborted.push(aborted);
            }
        })
        .await
        .map_err(io_error(&path, "reading"))?;
        self.read_bytes += file_bytes - from;

        if let Some(bad) = &scanned.bad {
            let source =
                Source { path: &path, file: &file, file_bytes, start: scanned.bytes, expected: scanned.end_offset };
            let empty_rest = source.rest_is_zero().await?;
            let stopped_clean = self.known.stopped_clean;
            let lost = self.was_durable(scanned.end_offset) && (is_last || stopped_clean);
            if !empty_rest || lost {
                if (!is_last && !self.comes_back(scanned.end_offset)) || lost {
                    return Err(source.corrupt(bad, None).await);
                }
                self.judge(&source, bad).await?;
                self.cut_bytes += file_bytes - scanned.bytes;
            }
        }
        if !self.known.stopped_clean {
            // Also without a bad batch: a write of the process before may still have been on its way to the device.
            rewrite::rewrite(&file, from, scanned.bytes).await.map_err(io_error(&path, "making it durable"))?;
        } else if file_bytes != scanned.bytes {
            file.set_len(scanned.bytes).await.map_err(io_error(&path, "cutting the file to its good part"))?;
            file.sync().await.map_err(io_error(&path, "syncing"))?;
        }
        if from == 0 {
            self.compare_aborted(&mut segment, visitor.keeps_transactions()).await?;
        }
        if is_last {
            segment.file = Some(file);
        } else {
            segment.aborted.seal();
            self.seal(&mut segment).await;
        }
        Ok((segment, scanned.end_offset))
    }

    /// A segment was read from its first batch on: its index must say what was found there.
    async fn compare_aborted(&self, segment: &mut Segment, is_known: bool) -> Result<(), OpenError> {
        if self.has_aborted(segment.base_offset) {
            let path = files::transaction_index_path(self.folder, segment.base_offset);
            let content = fs::read(&path).await.map_err(io_error(&path, "reading"))?;
            segment.aborted.compare(&content, is_known);
        }
        Ok(())
    }

    fn was_durable(&self, offset: i64) -> bool {
        self.known.stopped_clean || self.known.record.is_some_and(|record| offset < record.end_offset)
    }

    /// Whether the journals have what follows on `offset`.
    fn comes_back(&self, offset: i64) -> bool {
        self.known.entries.iter().any(|entry| entry.head.previous_end == offset)
    }

    /// Where what the journals have ends.
    fn journal_end(&self) -> i64 {
        self.known.entries.iter().map(|entry| entry.head.next_offset).max().unwrap_or(0)
    }

    /// Whether a power cut may have taken what somebody was told was stable.
    fn may_have_lost(&self) -> bool {
        self.known.record.is_some_and(|record| record.written_mode)
    }

    /// Decides whether what begins with `bad` may be cut off the end of the log.
    async fn judge(&self, source: &Source<'_>, bad: &Bad) -> Result<(), OpenError> {
        if self.was_durable(source.expected) {
            return Err(source.corrupt(bad, None).await);
        }
        if !self.may_have_lost() {
            // What went past the journal was one write after the other, each durable before the next.
            let unacknowledged_from = match self.comes_back(source.expected) {
                true => source.good_from(source.start, self.journal_end()).await?,
                false => Some(source.start),
            };
            if let Some(from) = unacknowledged_from
                && let Some(good) =
                    source.good_from(from - from % BLOCK_BYTES as u64 + WRITE_SPAN_BYTES, source.expected).await?
            {
                return Err(source.corrupt(bad, Some(good)).await);
            }
        }
        tracing::warn!(
            path = %source.path.display(), position = bad.position, bytes = source.file_bytes - source.start, found = %bad.found,
            "a write was cut short by a crash: removed; what had been acknowledged of it is in the journal"
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

    /// The first good batch at or after `from` with an offset of `expected` or more.
    async fn good_from(&self, from: u64, expected: i64) -> Result<Option<u64>, OpenError> {
        let good = scan::find_good(self.file, from, self.file_bytes, expected).await;
        good.map_err(io_error(self.path, "reading"))
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
