//! What a look at a log found. Plain data: commands print it, tests compare it.

use std::path::{Path, PathBuf};

/// A file of noise has a finding every few bytes; nobody reads more than this.
pub const FINDINGS_MAX: usize = 100;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Severity {
    /// Worth knowing; nothing is lost by it.
    Note,
    /// Something cannot be read, or would be read wrongly.
    Wrong,
}

/// One thing that was found: where, what, and what to do about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    pub severity: Severity,
    pub path: PathBuf,
    /// Byte in the file, when it is about one.
    pub position: Option<u64>,
    pub found: String,
    /// What to do; empty when nothing need be done.
    pub cure: String,
}

/// A partition's folder after it was read to its end.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PartitionReport {
    pub folder: PathBuf,
    pub segments: usize,
    /// Of all segments.
    pub bytes: u64,
    pub batches: u64,
    pub records: u64,
    pub start_offset: i64,
    pub end_offset: i64,
    pub findings: Vec<Finding>,
    /// Findings beyond [`FINDINGS_MAX`].
    pub findings_left_out: usize,
}

impl PartitionReport {
    pub fn new(folder: &Path) -> PartitionReport {
        PartitionReport { folder: folder.to_owned(), ..PartitionReport::default() }
    }

    pub fn is_sound(&self) -> bool {
        self.findings_left_out == 0 && self.findings.iter().all(|finding| finding.severity == Severity::Note)
    }

    pub(super) fn add(&mut self, finding: Finding) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        } else {
            self.findings_left_out += 1;
        }
    }

    pub(super) fn wrong(
        &mut self,
        path: &Path,
        position: Option<u64>,
        found: impl Into<String>,
        cure: impl Into<String>,
    ) {
        self.add(Finding {
            severity: Severity::Wrong,
            path: path.to_owned(),
            position,
            found: found.into(),
            cure: cure.into(),
        });
    }

    pub(super) fn note(
        &mut self,
        path: &Path,
        position: Option<u64>,
        found: impl Into<String>,
        cure: impl Into<String>,
    ) {
        self.add(Finding {
            severity: Severity::Note,
            path: path.to_owned(),
            position,
            found: found.into(),
            cure: cure.into(),
        });
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: ", self.path.display())?;
        if let Some(position) = self.position {
            write!(f, "byte {position}: ")?;
        }
        write!(f, "{}", self.found)?;
        if !self.cure.is_empty() {
            write!(f, ". {}", self.cure)?;
        }
        Ok(())
    }
}
