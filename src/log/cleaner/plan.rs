//! Decides what to clean: which part of a log, which log first, which segments become one.
//!
//! Pure; called by `scheduler` for every compacted log of the shard, and by `clean` for the one chosen. Kafka's rules
//! (`LogCleanerManager.cleanableOffsets`, `Cleaner.groupSegmentsBySize`).

use super::CompactionOptions;
use crate::index::{INTERVAL_BYTES_MIN, OFFSET_ENTRY_BYTES, TIME_ENTRY_BYTES};

/// Segments that one pass makes one of, at most: each is an open file while they are exchanged.
pub(crate) const GROUP_SEGMENTS_MAX: usize = 64;

/// A segment, as the plan needs it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SegmentFacts {
    pub base_offset: i64,
    pub bytes: u64,
    /// Of its first batch; `None` when unknown.
    pub first_timestamp: Option<i64>,
    /// Largest one; `None` when no batch has one.
    pub max_timestamp: Option<i64>,
}

/// A log, as the plan needs it.
pub(crate) struct LogFacts<'a> {
    pub start_offset: i64,
    pub end_offset: i64,
    pub last_stable_offset: i64,
    /// Base of the first segment that is not sealed.
    pub sealed_below: i64,
    /// Oldest first, up to `sealed_below` at least.
    pub segments: &'a [SegmentFacts],
    /// What the last round reached, as its checkpoint says.
    pub cleaned_offset: Option<i64>,
    pub now_ms: i64,
}

/// What of a log may be cleaned now.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Cleanable {
    /// Keys before this offset occur once, but for later ones.
    pub first_dirty: i64,
    /// Base of the first segment that must be left alone.
    pub end: i64,
    pub clean_bytes: u64,
    pub dirty_bytes: u64,
    /// `max.compaction.lag.ms` is over for a record.
    pub is_overdue: bool,
}

impl Cleanable {
    pub fn of(log: &LogFacts<'_>, options: &CompactionOptions) -> Cleanable {
        let in_range = log.cleaned_offset.filter(|offset| (log.start_offset..=log.end_offset).contains(offset));
        let first_dirty = in_range.unwrap_or(log.start_offset);
        let end = end_of_cleanable(log, options, first_dirty);
        let dirty_from = segment_with(log.segments, first_dirty);
        let bytes_of = |segments: &[SegmentFacts]| segments.iter().map(|segment| segment.bytes).sum();
        let end_at = log.segments.partition_point(|segment| segment.base_offset < end);
        let dirty = &log.segments[dirty_from.min(end_at)..end_at];
        // A record of the first dirty segment may be clean already; Kafka, too, asks for the segment.
        let oldest = dirty.iter().filter_map(|segment| segment.first_timestamp).filter(|first| *first > 0).min();
        let clean_until = log.now_ms.saturating_sub(options.lag_max_ms.max(0));
        Cleanable {
            first_dirty,
            end,
            clean_bytes: bytes_of(&log.segments[..dirty_from.min(end_at)]),
            dirty_bytes: if end > first_dirty { bytes_of(dirty) } else { 0 },
            is_overdue: oldest.is_some_and(|oldest| oldest < clean_until),
        }
    }

    /// Share of the cleanable part that was not cleaned yet.
    pub fn dirty_ratio(&self) -> f64 {
        match self.clean_bytes + self.dirty_bytes {
            0 => 0.0,
            total => self.dirty_bytes as f64 / total as f64,
        }
    }

    pub fn is_due(&self, options: &CompactionOptions) -> bool {
        self.dirty_bytes > 0 && (self.is_overdue || self.dirty_ratio() > options.dirty_ratio_min)
    }
}

/// The dirtiest of what is due.
pub(crate) fn dirtiest<T>(due: impl Iterator<Item = (T, Cleanable)>) -> Option<(T, Cleanable)> {
    due.max_by(|(_, one), (_, other)| one.dirty_ratio().total_cmp(&other.dirty_ratio()))
}

fn end_of_cleanable(log: &LogFacts<'_>, options: &CompactionOptions, first_dirty: i64) -> i64 {
    let young = log.now_ms.saturating_sub(options.lag_min_ms.max(0));
    let dirty = &log.segments[segment_with(log.segments, first_dirty)..];
    let too_young = dirty
        .iter()
        .find(|segment| options.lag_min_ms > 0 && segment.max_timestamp.is_some_and(|timestamp| timestamp > young));
    let end = log.sealed_below.min(log.last_stable_offset).min(too_young.map_or(i64::MAX, |young| young.base_offset));
    if end == log.sealed_below {
        return end;
    }
    // Whole segments only: the one that contains the bound stays.
    let containing = log.segments.partition_point(|segment| segment.base_offset <= end).checked_sub(1);
    containing.map_or(log.start_offset, |at| log.segments[at].base_offset)
}

/// Index of the segment that holds `offset`.
fn segment_with(segments: &[SegmentFacts], offset: i64) -> usize {
    segments.partition_point(|segment| segment.base_offset <= offset).saturating_sub(1)
}

/// What a segment may hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SegmentLimits {
    pub segment_bytes: u64,
    pub segment_index_bytes: u64,
    pub index_interval_bytes: u32,
}

/// Which neighbours become one segment each: the base offsets of each group, of the segments that begin below `covered`. `end`: where
/// the cleanable part ends.
pub(crate) fn groups(segments: &[SegmentFacts], covered: i64, end: i64, limits: &SegmentLimits) -> Vec<Vec<i64>> {
    let mut groups: Vec<Vec<i64>> = Vec::new();
    let mut group_bytes = 0;
    for (at, segment) in segments.iter().enumerate().take_while(|(_, segment)| segment.base_offset < covered) {
        let segment_end = segments.get(at + 1).map_or(end, |next| next.base_offset);
        let joins = groups.last().is_some_and(|group| {
            let bytes = group_bytes + segment.bytes;
            // An empty segment may be far away: there is nothing in it whose offset would have to be written down.
            let in_reach = segment.bytes == 0 || segment_end - 1 - group[0] <= i64::from(i32::MAX);
            group.len() < GROUP_SEGMENTS_MAX
                && bytes <= limits.segment_bytes
                && index_bytes_at_most(bytes, limits) <= limits.segment_index_bytes
                && in_reach
        });
        match groups.last_mut().filter(|_| joins) {
            Some(group) => {
                group.push(segment.base_offset);
                group_bytes += segment.bytes;
            }
            None => {
                groups.push(vec![segment.base_offset]);
                group_bytes = segment.bytes;
            }
        }
    }
    groups
}

/// Size of the larger index file of a segment of `bytes`.
fn index_bytes_at_most(bytes: u64, limits: &SegmentLimits) -> u64 {
    const ENTRY_BYTES: usize =
        if TIME_ENTRY_BYTES > OFFSET_ENTRY_BYTES { TIME_ENTRY_BYTES } else { OFFSET_ENTRY_BYTES };
    let entries = bytes / u64::from(limits.index_interval_bytes.max(INTERVAL_BYTES_MIN)) + 1;
    entries * ENTRY_BYTES as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringlane_runtime::sim::Seed;

    const NOW: i64 = 1_000_000;

    fn segment(base_offset: i64, bytes: u64, first: i64, max: i64) -> SegmentFacts {
        SegmentFacts { base_offset, bytes, first_timestamp: Some(first), max_timestamp: Some(max) }
    }

    /// Five segments of a hundred offsets; the last one is open.
    fn five() -> Vec<SegmentFacts> {
        (0..5).map(|n| segment(n * 100, 1_000, 1_000 * n + 1, 1_000 * n + 999)).collect()
    }

    fn log(segments: &[SegmentFacts]) -> LogFacts<'_> {
        LogFacts {
            start_offset: 0,
            end_offset: 450,
            last_stable_offset: 450,
            sealed_below: 400,
            segments,
            cleaned_offset: None,
            now_ms: NOW,
        }
    }

    fn range(log: &LogFacts<'_>, options: &CompactionOptions) -> (i64, i64) {
        let cleanable = Cleanable::of(log, options);
        (cleanable.first_dirty, cleanable.end)
    }

    /// What is cleaned past these bounds: an undecided transaction's records, a segment that still takes appends, or what the owner
    /// asked to be left alone.
    #[test]
    fn the_range_ends_before_what_must_not_be_touched() {
        let segments = five();
        let options = CompactionOptions::default();
        let log = log(&segments);
        assert_eq!(range(&log, &options), (0, 400));
        assert_eq!(range(&LogFacts { last_stable_offset: 399, ..log }, &options), (0, 300));
        assert_eq!(range(&LogFacts { last_stable_offset: 300, ..log }, &options), (0, 300));
        assert_eq!(range(&LogFacts { last_stable_offset: 99, ..log }, &options), (0, 0));
        let lag = |lag_min_ms| CompactionOptions { lag_min_ms, ..options };
        assert_eq!(range(&log, &lag(NOW - 2_999)), (0, 300), "its newest record is 1 ms older than the lag");
        assert_eq!(range(&log, &lag(NOW - 2_998)), (0, 200));
        assert_eq!(range(&log, &lag(NOW)), (0, 0));
    }

    /// A checkpoint of another history (the log was cut, or its start moved) would leave records uncleaned for ever.
    #[test]
    fn a_checkpoint_out_of_range_starts_again() {
        let segments = five();
        let log = log(&segments);
        let options = CompactionOptions::default();
        assert_eq!(range(&LogFacts { cleaned_offset: Some(250), ..log }, &options), (250, 400));
        assert_eq!(range(&LogFacts { cleaned_offset: Some(451), ..log }, &options), (0, 400));
        assert_eq!(range(&LogFacts { cleaned_offset: Some(99), start_offset: 100, ..log }, &options), (100, 400));
        let all_clean = Cleanable::of(&LogFacts { cleaned_offset: Some(400), ..log }, &options);
        assert_eq!((all_clean.dirty_bytes, all_clean.clean_bytes), (0, 4_000));
        assert!(!all_clean.is_due(&CompactionOptions { dirty_ratio_min: 0.0, ..options }));
    }

    /// Cleaning too early rewrites a whole log for little; too late breaks what `max.compaction.lag.ms` promises.
    #[test]
    fn a_log_is_due_by_its_dirty_share_or_by_age() {
        let segments = five();
        let log = log(&segments);
        let options = CompactionOptions::default();
        let half = Cleanable::of(&LogFacts { cleaned_offset: Some(200), ..log }, &options);
        assert_eq!(half.dirty_ratio(), 0.5);
        assert!(!half.is_due(&options), "more than the ratio, not just as much");
        assert!(half.is_due(&CompactionOptions { dirty_ratio_min: 0.49, ..options }));
        let due_at = |lag_max_ms| {
            let options = CompactionOptions { lag_max_ms, ..options };
            Cleanable::of(&LogFacts { cleaned_offset: Some(200), ..log }, &options).is_due(&options)
        };
        assert!(!due_at(NOW - 2_001), "the third segment's first record is just as old as the lag");
        assert!(due_at(NOW - 2_002));
        let overdue =
            ("overdue", Cleanable { first_dirty: 0, end: 1, clean_bytes: 9, dirty_bytes: 1, is_overdue: true });
        assert_eq!(dirtiest([overdue, ("dirty", half)].into_iter()).map(|(name, _)| name), Some("dirty"));
    }

    /// A cleaned segment that is too large, or whose offsets do not fit its index, could not be opened again.
    #[test]
    fn groups_stay_within_every_limit() {
        for seed in 0..200 {
            let mut choices = Seed::new(seed);
            let limits = SegmentLimits {
                segment_bytes: choices.within(1_000..3_000_000),
                segment_index_bytes: choices.within(24..2_000),
                index_interval_bytes: 4096,
            };
            let mut base = choices.below(1 << 40) as i64;
            let mut segments = Vec::new();
            for _ in 0..choices.within(1..300) {
                let bytes = if choices.chance(0.1) { 0 } else { choices.within(1..1_000_000) };
                segments.push(segment(base, bytes, 1, 1));
                base += if choices.chance(0.05) { 1 << 30 } else { choices.within(1..1_000) as i64 };
            }
            let covered = segments[choices.below(segments.len() as u64) as usize].base_offset + 1;
            let groups = groups(&segments, covered, base, &limits);
            let all: Vec<i64> = groups.concat();
            let expected: Vec<i64> = segments.iter().map(|s| s.base_offset).filter(|base| *base < covered).collect();
            assert_eq!(all, expected, "seed {seed}: every segment once, in order");
            for group in groups.iter().filter(|group| group.len() > 1) {
                let of = |base: i64| segments.iter().position(|segment| segment.base_offset == base).unwrap();
                let members = &segments[of(group[0])..=of(group[group.len() - 1])];
                let bytes: u64 = members.iter().map(|segment| segment.bytes).sum();
                assert!(bytes <= limits.segment_bytes && group.len() <= GROUP_SEGMENTS_MAX, "seed {seed}");
                assert!(bytes / 32_768 * 12 <= limits.segment_index_bytes, "seed {seed}");
                for member in members.iter().filter(|member| member.bytes > 0) {
                    let next = segments.get(of(member.base_offset) + 1).map_or(base, |next| next.base_offset);
                    assert!(next - 1 - group[0] <= i64::from(i32::MAX), "seed {seed}");
                }
            }
        }
    }
}
