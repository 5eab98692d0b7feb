//! Which of a log's oldest segments go, and why. Pure: `retention_task` gathers the facts and acts on the plan.
//!
//! Kafka's rules (`UnifiedLog.deleteOldSegments`), in its order, each from the oldest segment on and ending at the first one that stays:
//! 1. *log start*: a segment whose successor begins at or below the log start offset. The only rule for a topic that is not `delete`.
//! 2. *size*: while the log without the segment is still `retention.bytes` or larger.
//! 3. *time*: the segment's newest record is more than `retention.ms` old.
//!
//! Never past the high watermark, and never the last segment while it is empty. Rules 2 and 3 may take the segment that appends go to:
//! then [`Plan::roll_first`] says that the log needs a new one before.
//!
//! # How old a segment is
//! Its largest record timestamp says so, as in Kafka, with one difference. Producers choose timestamps, and in Kafka one record from the
//! far future keeps its segment, and with it all later ones, for ever. Here a timestamp is believed only if it lies no further ahead of
//! the clock than `message.timestamp.after.max.ms` allows records to be (an hour at least; a limit above a year is taken for none, and
//! then an hour counts). What lies beyond came in under another setting or another clock, and says nothing. Such a segment, and one whose
//! records have no timestamps, counts from when its file was last written: in Kafka's words, its last modified time. That a segment
//! waits too long is bounded so: by `retention.ms` plus what the topic itself allows.

/// What is ahead of the clock by no more than this is a matter of clocks that differ.
pub const FUTURE_MS_MIN: i64 = 3_600_000;
/// A `message.timestamp.after.max.ms` above this is no promise about timestamps.
pub const FUTURE_MS_MAX: i64 = 366 * 24 * 3_600_000;
const _: () = assert!(FUTURE_MS_MIN < FUTURE_MS_MAX);

/// Settings of one log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RetentionOptions {
    /// `cleanup.policy` has delete: age and size count.
    pub delete: bool,
    /// `retention.ms`; negative: no limit.
    pub retention_ms: i64,
    /// `retention.bytes`; negative: no limit.
    pub retention_bytes: i64,
    /// `message.timestamp.after.max.ms`
    pub timestamp_after_max_ms: i64,
    /// `file.delete.delay.ms`: how long the files of a segment that left the log stay, renamed.
    pub file_delete_delay_ms: u64,
}

impl RetentionOptions {
    /// Kafka's defaults.
    pub const DEFAULT: RetentionOptions = RetentionOptions {
        delete: true,
        retention_ms: 7 * 24 * 3_600_000,
        retention_bytes: -1,
        timestamp_after_max_ms: FUTURE_MS_MIN,
        file_delete_delay_ms: 60_000,
    };

    /// The latest timestamp that is believed at `now_ms`.
    fn latest_believed(&self, now_ms: i64) -> i64 {
        let ahead_ms = match self.timestamp_after_max_ms {
            FUTURE_MS_MIN..=FUTURE_MS_MAX => self.timestamp_after_max_ms,
            _ => FUTURE_MS_MIN,
        };
        now_ms.saturating_add(ahead_ms)
    }
}

impl Default for RetentionOptions {
    fn default() -> RetentionOptions {
        RetentionOptions::DEFAULT
    }
}

/// What has to be known of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentFacts {
    pub base_offset: i64,
    /// Base offset of the segment behind it, or the log's end.
    pub next_offset: i64,
    pub bytes: u64,
    pub largest_timestamp: Option<i64>,
    /// When its file was last written; `None` until [`Decision::AskWritten`] asked for it.
    pub written_ms: Option<i64>,
}

/// What holds for the log as a whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    pub log_start: i64,
    pub high_watermark: i64,
    pub now_ms: i64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decision {
    Delete(Plan),
    /// The age of this segment decides, and its timestamps do not tell it: give its `written_ms` and decide again.
    AskWritten(usize),
}

/// How many of the oldest segments go, by reason, in this order. The default plan deletes nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Plan {
    pub below_start: usize,
    pub by_size: usize,
    pub by_time: usize,
    /// The last segment is among them: the log needs a new one first.
    pub roll_first: bool,
}

impl Plan {
    pub fn count(&self) -> usize {
        self.below_start + self.by_size + self.by_time
    }
}

/// Why a segment went, for the log line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    BelowStart,
    Size,
    Time,
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Reason::BelowStart => "below the log start offset",
            Reason::Size => "the log is larger than retention.bytes",
            Reason::Time => "older than retention.ms",
        })
    }
}

/// Decides. `segments` oldest first, the last one takes appends.
pub fn decide(segments: &[SegmentFacts], options: &RetentionOptions, bounds: &Bounds) -> Decision {
    let mut plan = Plan::default();
    let may_go = |at: usize| {
        let segment = &segments[at];
        let is_last_and_empty = at + 1 == segments.len() && segment.bytes == 0;
        segment.next_offset <= bounds.high_watermark && !is_last_and_empty
    };
    let last = segments.len().saturating_sub(1);
    while plan.count() < last && may_go(plan.count()) && segments[plan.count()].next_offset <= bounds.log_start {
        plan.below_start += 1;
    }
    if options.delete {
        let mut left_bytes: u64 = segments[plan.count()..].iter().map(|segment| segment.bytes).sum();
        while let Some(segment) = segments.get(plan.count()).filter(|_| may_go(plan.count())) {
            if !is_too_large(left_bytes, segment.bytes, options.retention_bytes) {
                break;
            }
            left_bytes -= segment.bytes;
            plan.by_size += 1;
        }
        while let Some(segment) = segments.get(plan.count()).filter(|_| may_go(plan.count())) {
            match is_too_old(segment, options, bounds.now_ms) {
                Some(true) => plan.by_time += 1,
                Some(false) => break,
                None => return Decision::AskWritten(plan.count()),
            }
        }
    }
    plan.roll_first = plan.count() > 0 && plan.count() == segments.len();
    Decision::Delete(plan)
}

fn is_too_large(log_bytes: u64, segment_bytes: u64, retention_bytes: i64) -> bool {
    u64::try_from(retention_bytes).is_ok_and(|most| log_bytes >= most && log_bytes - most >= segment_bytes)
}

/// `None`: nothing in the segment tells.
fn is_too_old(segment: &SegmentFacts, options: &RetentionOptions, now_ms: i64) -> Option<bool> {
    if options.retention_ms < 0 {
        return Some(false);
    }
    let believed = segment.largest_timestamp.filter(|timestamp| *timestamp <= options.latest_believed(now_ms));
    let newest_ms = believed.or(segment.written_ms)?;
    Some(now_ms.saturating_sub(newest_ms) > options.retention_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_767_225_600_000;
    const DAY: i64 = 24 * 3_600_000;
    const ALL: Bounds = Bounds { log_start: 0, high_watermark: i64::MAX, now_ms: NOW };

    /// Segments of 100 offsets, `(bytes, age of the newest record)` each.
    fn log(segments: &[(u64, i64)]) -> Vec<SegmentFacts> {
        let facts = |(at, &(bytes, age_ms)): (usize, &(u64, i64))| SegmentFacts {
            base_offset: at as i64 * 100,
            next_offset: at as i64 * 100 + 100,
            bytes,
            largest_timestamp: Some(NOW - age_ms),
            written_ms: None,
        };
        segments.iter().enumerate().map(facts).collect()
    }

    fn keep(retention_ms: i64, retention_bytes: i64) -> RetentionOptions {
        RetentionOptions { retention_ms, retention_bytes, ..RetentionOptions::DEFAULT }
    }

    fn plan(segments: &[SegmentFacts], options: &RetentionOptions, bounds: &Bounds) -> Plan {
        match decide(segments, options, bounds) {
            Decision::Delete(plan) => plan,
            Decision::AskWritten(at) => panic!("segment {at} should tell its age"),
        }
    }

    /// A segment that goes a millisecond early has records that the topic promised to keep.
    #[test]
    fn age_counts_from_the_newest_record_and_the_limit_itself_stays() {
        let segments = log(&[(10, DAY + 1), (10, DAY), (10, 0)]);
        assert_eq!(plan(&segments, &keep(DAY, -1), &ALL).by_time, 1);
        assert_eq!(plan(&segments, &keep(DAY - 1, -1), &ALL).by_time, 2);
        assert_eq!(plan(&segments, &keep(-1, -1), &ALL), Plan::default(), "no limit");
    }

    /// Deleting from the middle would leave a hole in the offsets that consumers read across.
    #[test]
    fn an_old_segment_behind_a_young_one_stays() {
        let segments = log(&[(10, 0), (10, 9 * DAY), (10, 0)]);
        assert_eq!(plan(&segments, &keep(DAY, -1), &ALL).count(), 0);
    }

    /// `retention.bytes` is what is kept at least: a log cut below it has lost what the owner paid for.
    #[test]
    fn size_leaves_at_least_the_limit() {
        let segments = log(&[(100, 0), (100, 0), (100, 0), (50, 0)]);
        for (limit, expected) in [(351, 0), (350, 0), (251, 0), (250, 1), (151, 1), (150, 2), (0, 4)] {
            let plan = plan(&segments, &keep(-1, limit), &ALL);
            assert_eq!((plan.by_size, plan.roll_first), (expected, expected == 4), "retention.bytes={limit}");
        }
    }

    /// A topic idle for a week would keep its last records for ever if the segment they are in could not go.
    #[test]
    fn the_last_segment_goes_too_after_a_roll_but_not_when_it_is_empty() {
        let old = log(&[(10, 9 * DAY), (10, 8 * DAY)]);
        assert_eq!(plan(&old, &keep(DAY, -1), &ALL), Plan { by_time: 2, roll_first: true, ..Plan::default() });
        let mut with_empty = old;
        with_empty.push(SegmentFacts { bytes: 0, largest_timestamp: None, ..log(&[(0, 0); 3])[2] });
        assert_eq!(plan(&with_empty, &keep(DAY, -1), &ALL), Plan { by_time: 2, roll_first: false, ..Plan::default() });
    }

    /// What followers do not have yet would be gone everywhere.
    #[test]
    fn nothing_goes_past_the_high_watermark() {
        let segments = log(&[(10, 9 * DAY), (10, 9 * DAY), (10, 9 * DAY)]);
        for (high_watermark, expected) in [(99, 0), (100, 1), (299, 2), (300, 3)] {
            let bounds = Bounds { high_watermark, ..ALL };
            assert_eq!(plan(&segments, &keep(DAY, -1), &bounds).count(), expected, "{high_watermark}");
            assert_eq!(plan(&segments, &keep(-1, 0), &bounds).count(), expected, "{high_watermark}");
        }
    }

    /// DeleteRecords is the only way to make a compacted topic smaller, and must not wait for its records to age.
    #[test]
    fn segments_wholly_below_the_log_start_go_whatever_the_policy() {
        let segments = log(&[(10, 0), (10, 0), (10, 0)]);
        let compacted = RetentionOptions { delete: false, retention_ms: 0, ..keep(0, 0) };
        for (log_start, expected) in [(0, 0), (99, 0), (100, 1), (250, 2), (300, 2)] {
            let plan = plan(&segments, &compacted, &Bounds { log_start, ..ALL });
            assert_eq!(plan, Plan { below_start: expected, ..Plan::default() }, "log start {log_start}");
        }
    }

    /// With both limits a segment goes when either wants it, and the log line must name the one that did.
    #[test]
    fn size_and_time_add_up() {
        let segments = log(&[(100, 9 * DAY), (100, 9 * DAY), (100, 0), (100, 0)]);
        let plan = plan(&segments, &keep(DAY, 300), &Bounds { log_start: 100, ..ALL });
        assert_eq!(plan, Plan { below_start: 1, by_size: 0, by_time: 1, roll_first: false });
    }

    /// One record with a timestamp in the year 3000 would keep every later record until then: Kafka has that, we must not.
    #[test]
    fn a_timestamp_from_the_far_future_pins_nothing() {
        let mut segments = log(&[(10, -400 * DAY), (10, 0)]);
        assert_eq!(decide(&segments, &keep(DAY, -1), &ALL), Decision::AskWritten(0));
        for (written_ago_ms, expected) in [(DAY, 0), (DAY + 1, 1), (-DAY, 0)] {
            segments[0].written_ms = Some(NOW - written_ago_ms);
            assert_eq!(plan(&segments, &keep(DAY, -1), &ALL).by_time, expected, "written {written_ago_ms} ms ago");
        }
    }

    /// A topic that lets records be a month ahead keeps them until a month has passed; one without any limit has promised nothing.
    #[test]
    fn the_topics_own_limit_says_how_much_future_is_believed() {
        let written_ms = Some(NOW - 9 * DAY);
        let segments = |ahead_ms: i64| [SegmentFacts { written_ms, ..log(&[(10, -ahead_ms)])[0] }];
        for (after_max_ms, ahead_ms, goes) in [
            (30 * DAY, 30 * DAY, false),
            (30 * DAY, 30 * DAY + 1, true),
            (0, FUTURE_MS_MIN, false),
            (0, FUTURE_MS_MIN + 1, true),
            (i64::MAX, FUTURE_MS_MIN + 1, true),
        ] {
            let options = RetentionOptions { timestamp_after_max_ms: after_max_ms, ..keep(DAY, -1) };
            assert_eq!(plan(&segments(ahead_ms), &options, &ALL).count() == 1, goes, "{after_max_ms} {ahead_ms}");
        }
    }

    /// Messages of the oldest producers have no timestamps: their segments would stay for ever.
    #[test]
    fn without_timestamps_the_file_tells_the_age() {
        let mut segments = [SegmentFacts { largest_timestamp: None, ..log(&[(10, 0)])[0] }];
        assert_eq!(decide(&segments, &keep(DAY, -1), &ALL), Decision::AskWritten(0));
        assert_eq!(
            decide(&segments, &keep(-1, -1), &ALL),
            Decision::Delete(Plan::default()),
            "nobody asks for its age"
        );
        segments[0].written_ms = Some(NOW - 2 * DAY);
        assert_eq!(plan(&segments, &keep(DAY, -1), &ALL).by_time, 1);
    }

    /// The same by brute force: try every number of segments and take what the rules, said one by one, allow.
    #[test]
    fn agrees_with_a_model_that_tries_everything() {
        for seed in 1..20_000u64 {
            let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let mut below = move |limit: i64| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state % limit as u64) as i64
            };
            let ages: Vec<(u64, i64)> = (0..1 + below(5)).map(|_| (below(4) as u64 * 50, below(4) * DAY)).collect();
            let segments = log(&ages);
            let options = RetentionOptions { delete: below(4) > 0, ..keep(below(4) * DAY - 1, below(6) * 50 - 50) };
            let end = segments.len() as i64 * 100;
            let bounds = Bounds { log_start: below(end + 1), high_watermark: below(end + 1), now_ms: NOW };

            let plan = plan(&segments, &options, &bounds);
            assert_eq!(plan, model(&segments, &options, &bounds), "seed {seed}: {segments:?} {options:?} {bounds:?}");
        }
    }

    /// One segment at a time, each reason in its turn.
    fn model(segments: &[SegmentFacts], options: &RetentionOptions, bounds: &Bounds) -> Plan {
        let mut plan = Plan::default();
        let mut left = segments.to_vec();
        for reason in [Reason::BelowStart, Reason::Size, Reason::Time] {
            while let Some(oldest) = left.first().copied() {
                let is_last = left.len() == 1;
                let size: u64 = left.iter().map(|segment| segment.bytes).sum();
                let wanted = match reason {
                    Reason::BelowStart => !is_last && oldest.next_offset <= bounds.log_start,
                    Reason::Size => {
                        options.delete
                            && options.retention_bytes >= 0
                            && size as i64 - oldest.bytes as i64 >= options.retention_bytes
                    }
                    Reason::Time => {
                        let age_ms = bounds.now_ms - oldest.largest_timestamp.expect("all have one");
                        options.delete && options.retention_ms >= 0 && age_ms > options.retention_ms
                    }
                };
                let is_committed = oldest.next_offset <= bounds.high_watermark;
                if !wanted || !is_committed || (is_last && oldest.bytes == 0) {
                    break;
                }
                left.remove(0);
                match reason {
                    Reason::BelowStart => plan.below_start += 1,
                    Reason::Size => plan.by_size += 1,
                    Reason::Time => plan.by_time += 1,
                }
            }
        }
        plan.roll_first = left.is_empty();
        plan
    }
}
