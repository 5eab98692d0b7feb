//! What lies in a partition's folder: names and sizes, asked once at an open for all who want to know.
//!
//! Made by `open`, read by everyone who settles or recovers a folder; who changes names makes a new one. One call off the shard instead of
//! one a segment: with 10,000 segments that is most of an open (`bench/README.md`, "opening").

use crate::{OpenError, files, recovery::io_error};
use ringlane_runtime::fs;
use std::io;
use std::path::{Path, PathBuf};

pub(crate) struct Listing {
    folder: PathBuf,
    /// Sorted by path.
    entries: Vec<(PathBuf, u64)>,
}

impl Listing {
    /// `None`: there is no such folder.
    pub async fn find(folder: &Path) -> Result<Option<Listing>, OpenError> {
        match fs::list(folder).await {
            Ok(entries) => Ok(Some(Listing { folder: folder.to_owned(), entries })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io_error(folder, "listing the folder")(error)),
        }
    }

    /// The folder as it is now that names were changed.
    pub async fn again(&mut self) -> Result<(), OpenError> {
        let listed = fs::list(&self.folder).await;
        self.entries = listed.map_err(io_error(&self.folder, "listing the folder"))?;
        Ok(())
    }

    pub fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        self.entries.iter().map(|(path, _)| path)
    }

    pub fn has(&self, name: &str) -> bool {
        self.bytes_of(&self.folder.join(name)).is_some()
    }

    /// Size of a file; `None` when it is not there.
    pub fn bytes_of(&self, path: &Path) -> Option<u64> {
        let at = self.entries.binary_search_by(|(listed, _)| listed.as_path().cmp(path)).ok()?;
        Some(self.entries[at].1)
    }

    /// Base offsets of the segments, ascending.
    pub fn segment_bases(&self) -> Vec<i64> {
        self.paths().filter_map(|path| files::segment_base(path)).collect()
    }

    /// Offsets and sizes of the files with 20 digits and this suffix for a name, ascending.
    pub fn offsets_of(&self, suffix: &str) -> impl Iterator<Item = (i64, u64)> {
        self.entries.iter().filter_map(move |(path, bytes)| Some((files::offset_before(path, suffix)?, *bytes)))
    }
}
