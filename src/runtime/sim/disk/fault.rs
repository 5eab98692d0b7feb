//! The errors that a test has ordered of a disk.

use crate::sim::seed::Seed;
use crate::sim::{IoFault, IoKind};
use std::io;
use std::path::Path;

#[derive(Default)]
pub(super) struct Faults(Vec<IoFault>);

impl Faults {
    pub(super) fn add(&mut self, fault: IoFault) {
        self.0.push(fault);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// The error that an operation on `paths` is answered with, if one of the faults is due.
    pub(super) fn strike(&self, seed: &mut Seed, kind: IoKind, paths: &[&Path]) -> io::Result<()> {
        let concerns = |fault: &IoFault| {
            fault.kind == kind && paths.iter().any(|path| path.to_string_lossy().contains(&fault.path_contains))
        };
        // All of them are drawn, so that one that strikes does not shift the choices of those behind it.
        let due = self.0.iter().filter(|fault| concerns(fault) && seed.chance(fault.probability)).count();
        match (due, paths) {
            (1.., [path, ..]) => {
                Err(io::Error::other(format!("{}: simulated I/O error (EIO) of a {kind:?}", path.display())))
            }
            _ => Ok(()),
        }
    }
}
