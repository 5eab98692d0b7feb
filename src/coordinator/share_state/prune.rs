//! When the log may begin later: in rounds. A round notes where the log ends, writes every state whole behind that, and then says that
//! everything before it is not needed any more. Without changes since the last round there is none.

/// What the machine tells its host about a round, when the records that it comes with are stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PruneStep {
    /// Note where the log ends, then say so.
    Mark,
    /// Delete what lies before the mark.
    Done,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prune {
    /// Of the round under way, or of the next one.
    round: u64,
    phase: Phase,
    next_ms: Option<i64>,
    changed: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Resting,
    Marking,
    Writing,
}

impl Prune {
    pub fn begin(&mut self, now_ms: i64, interval_ms: i64) {
        self.next_ms = Some(now_ms.saturating_add(interval_ms));
    }

    /// What is written whole from now on counts for this round.
    pub fn round(&self) -> u64 {
        self.round
    }

    pub fn changed(&mut self) {
        self.changed = true;
    }

    /// The host has noted where the log ends.
    pub fn marked(&mut self) {
        if self.phase == Phase::Marking {
            self.phase = Phase::Writing;
            self.round += 1;
        }
    }

    pub fn next_ms(&self) -> Option<i64> {
        match self.phase {
            Phase::Resting => self.next_ms,
            Phase::Marking => None,
            Phase::Writing => Some(i64::MIN),
        }
    }

    /// [`PruneStep::Done`]: states are to be written, until there are no more.
    pub fn step(&mut self, now_ms: i64, interval_ms: i64) -> Option<PruneStep> {
        match self.phase {
            Phase::Resting if self.next_ms.is_some_and(|next_ms| next_ms <= now_ms) => {
                self.begin(now_ms, interval_ms);
                if !std::mem::take(&mut self.changed) {
                    return None;
                }
                self.phase = Phase::Marking;
                Some(PruneStep::Mark)
            }
            Phase::Resting | Phase::Marking => None,
            Phase::Writing => Some(PruneStep::Done),
        }
    }

    pub fn is_done(&mut self, now_ms: i64, interval_ms: i64) {
        self.phase = Phase::Resting;
        self.begin(now_ms, interval_ms);
    }
}
