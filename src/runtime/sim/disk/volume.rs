//! The volumes of one node: which file system a path lies on, and what that file system is like.

use crate::sim::DiskOptions;
use std::path::{Path, PathBuf};

/// A mounted file system.
pub(super) struct Volume {
    at: PathBuf,
    pub(super) options: DiskOptions,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct VolumeId(usize);

/// Never empty: the first is the root, which has every path that no other one has.
pub(super) struct Volumes(Vec<Volume>);

const ROOT: VolumeId = VolumeId(0);

impl Volumes {
    pub(super) fn new(root: DiskOptions) -> Volumes {
        Volumes(vec![Volume { at: PathBuf::from("/"), options: root }])
    }

    pub(super) fn set_root(&mut self, options: DiskOptions) {
        self.0[ROOT.0].options = options;
    }

    /// The volume mounted exactly at `path`.
    pub(super) fn mounted_at(&mut self, path: &Path) -> Option<&mut Volume> {
        self.0.iter_mut().find(|volume| volume.at == path)
    }

    pub(super) fn mount(&mut self, path: &Path, options: DiskOptions) {
        self.0.push(Volume { at: path.to_owned(), options });
    }

    /// Where `path`, which is absolute, lies: the deepest volume above it.
    pub(super) fn of(&self, path: &Path) -> VolumeId {
        let above = self.0.iter().enumerate().filter(|(_, volume)| path.starts_with(&volume.at));
        above.max_by_key(|(_, volume)| volume.at.components().count()).map_or(ROOT, |(index, _)| VolumeId(index))
    }

    pub(super) fn options(&self, volume: VolumeId) -> &DiskOptions {
        &self.0[volume.0].options
    }
}
