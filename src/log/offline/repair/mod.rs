//! The ways out of damage: what each would do, as a plan that can be shown, and the doing.
//!
//! * [`Remedy::TruncateAtDamage`]: the log ends where its first bad batch begins. Consumers and followers see a log that is merely shorter.
//! * [`Remedy::DropDamaged`]: only the bad bytes go; offsets are missing there, as after compaction. Loses least.
//! * [`Remedy::Indexes`]: the indexes are made anew from the batches. Loses nothing.
//!
//! Whatever leaves the log is kept beside it in files that end in `.cut`. Each step is durable before the next one begins, and the steps are
//! in such an order that after a crash between any two the same repair can be planned and applied again.

mod apply;
mod plan;

pub use apply::apply;
pub use plan::plan;

use std::fmt;
use std::path::PathBuf;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Remedy {
    TruncateAtDamage,
    DropDamaged,
    Indexes,
}

/// What a repair would do. Nothing has happened yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RepairPlan {
    pub folder: PathBuf,
    pub lost: Lost,
    /// Offset of the next append, before and after.
    pub end_offset: (i64, i64),
    /// Empty: there is nothing to repair in this way.
    pub actions: Vec<Action>,
}

/// What will not be in the log any more; its bytes are kept in `.cut` files.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Lost {
    pub damaged_bytes: u64,
    /// Good batches behind the damage that go with it, and their records.
    pub good_bytes: u64,
    pub good_batches: u64,
    pub good_records: u64,
}

/// One step. All are harmless to do twice.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Copies a range of a segment to a file beside it.
    Save {
        from: PathBuf,
        range: (u64, u64),
        to: PathBuf,
    },
    /// Takes a whole segment out of the log.
    SetAside {
        from: PathBuf,
        to: PathBuf,
    },
    /// Replaces a segment by these ranges of itself.
    Keep {
        segment: PathBuf,
        ranges: Vec<(u64, u64)>,
    },
    Cut {
        segment: PathBuf,
        bytes: u64,
    },
    Write {
        path: PathBuf,
        content: Vec<u8>,
    },
    Remove {
        path: PathBuf,
    },
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::Save { from, range: (start, end), to } => {
                write!(f, "save bytes {start} to {end} of {} as {}", from.display(), to.display())
            }
            Action::SetAside { from, to } => write!(f, "rename {} to {}", from.display(), to.display()),
            Action::Keep { segment, ranges } => {
                let kept: u64 = ranges.iter().map(|(start, end)| end - start).sum();
                write!(f, "rewrite {} with its {kept} good bytes", segment.display())
            }
            Action::Cut { segment, bytes } => write!(f, "cut {} to {bytes} bytes", segment.display()),
            Action::Write { path, content } => write!(f, "write {} ({} bytes)", path.display(), content.len()),
            Action::Remove { path } => write!(f, "remove {}", path.display()),
        }
    }
}
