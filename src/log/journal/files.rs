//! Owns the files of one journal: written once with zeros, then used in turn for ever.
//!
//! Lives in the shard's journal; only `writer` places writes, only `checkpoint` releases. A write into space that was written before costs
//! neither a kernel worker nor a change of the file's metadata (measured: `bench/README.md`, "log writes"), so zeros go ahead of the
//! writer, in the background, and nothing is ever cut or extended behind it.

use super::format::FileHead;
use crate::error::LogFailed;
use ringlane_runtime::{BLOCK_BYTES, Buffer, Durability, File, FileMode, fs};
use std::io;
use std::path::{Path, PathBuf};

/// Zeros written, and made durable, at a time: small enough that the first append of a new broker does not wait for a whole file.
const ZEROS_BYTES: u64 = 4 << 20;
/// The first block says whose journal it is.
pub(crate) const FIRST_WRITE_AT: u64 = BLOCK_BYTES as u64;

#[derive(Default)]
pub(crate) struct Files {
    slots: Vec<Slot>,
    /// The one that takes writes, and where the next one goes.
    active: Option<(usize, u64)>,
}

struct Slot {
    file: File,
    path: PathBuf,
    /// Up to where there are zeros, or writes of an earlier round: a write past it would extend the file.
    ready_bytes: u64,
    /// Where it ends, or will end when its zeros are written.
    limit_bytes: u64,
    /// Sequence of the last write in it that is not released. 0: free.
    last_sequence: u64,
    /// Bytes of such writes.
    used_bytes: u64,
}

/// Where a write goes.
#[derive(Clone)]
pub(crate) struct Place {
    pub file: File,
    pub path: PathBuf,
    pub position: u64,
    /// Of [`Files`], for [`Files::wrote`].
    slot: usize,
}

/// Why there is no place now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NoPlace {
    /// Zeros are on their way there.
    NotReady,
    /// Every file holds writes whose segments are not durable yet.
    Full,
}

impl Files {
    /// `ready` files of an earlier process, all of whose content has been recovered.
    pub fn new(ready: Vec<(File, PathBuf, u64)>) -> Files {
        let slots = ready.into_iter().map(|(file, path, ready_bytes)| Slot::new(file, path, ready_bytes)).collect();
        Files { slots, active: None }
    }

    pub fn count(&self) -> usize {
        self.slots.len()
    }

    /// Bytes of writes that are not released.
    pub fn used_bytes(&self) -> u64 {
        self.slots.iter().map(|slot| slot.used_bytes).sum()
    }

    /// Whether the writer will soon want a file that is not there.
    pub fn should_grow(&self, file_bytes: u64) -> bool {
        let half_used = self.active.is_none_or(|(_, position)| position > file_bytes / 2);
        half_used && self.free().next().is_none()
    }

    /// A name for a new file.
    pub fn next_path(&self, folder: &Path) -> PathBuf {
        let taken = |path: &PathBuf| self.slots.iter().any(|slot| slot.path == *path);
        (1..).map(|number| path(folder, number)).find(|path| !taken(path)).expect("there are more numbers than files")
    }

    pub fn add(&mut self, file: File, path: PathBuf) -> usize {
        self.slots.push(Slot::new(file, path, 0));
        self.slots.len() - 1
    }

    pub fn ready(&mut self, slot: usize, bytes: u64) {
        self.slots[slot].ready_bytes = bytes;
    }

    /// There will be no more zeros in it: the disk is full.
    pub fn ends_here(&mut self, slot: usize) {
        self.slots[slot].limit_bytes = self.slots[slot].ready_bytes;
    }

    /// Finds the place of the next write, which has `bytes`.
    pub fn place(&mut self, bytes: u64, file_bytes: u64) -> Result<Place, NoPlace> {
        let limit = |slot: usize| self.slots[slot].limit_bytes.min(file_bytes);
        let fits = self.active.filter(|(slot, position)| position + bytes <= limit(*slot));
        let (slot, position) = match fits {
            Some(active) => active,
            None => {
                self.active = None;
                let roomy = |slot: &usize| FIRST_WRITE_AT + bytes <= self.slots[*slot].limit_bytes;
                (self.free().find(roomy).ok_or(NoPlace::Full)?, FIRST_WRITE_AT)
            }
        };
        self.active = Some((slot, position));
        let Slot { file, path, ready_bytes, .. } = &self.slots[slot];
        if position + bytes > *ready_bytes {
            return Err(NoPlace::NotReady);
        }
        Ok(Place { file: file.clone(), path: path.clone(), position, slot })
    }

    pub fn wrote(&mut self, place: &Place, bytes: u64, sequence: u64) {
        let slot = &mut self.slots[place.slot];
        debug_assert!(sequence > slot.last_sequence);
        slot.last_sequence = sequence;
        slot.used_bytes += bytes;
        self.active = Some((place.slot, place.position + bytes));
    }

    /// Everything up to `sequence` is durable in segments: files that hold nothing else are free.
    pub fn release(&mut self, sequence: u64) {
        let active = self.active.map(|(slot, _)| slot);
        for (index, slot) in self.slots.iter_mut().enumerate() {
            if slot.last_sequence <= sequence && Some(index) != active {
                (slot.last_sequence, slot.used_bytes) = (0, 0);
            }
        }
    }

    fn free(&self) -> impl Iterator<Item = usize> {
        let active = self.active.map(|(slot, _)| slot);
        let is_free = move |(index, slot): &(usize, &Slot)| slot.last_sequence == 0 && Some(*index) != active;
        self.slots.iter().enumerate().filter(is_free).map(|(index, _)| index)
    }
}

impl Slot {
    fn new(file: File, path: PathBuf, ready_bytes: u64) -> Slot {
        Slot { file, path, ready_bytes, limit_bytes: u64::MAX, last_sequence: 0, used_bytes: 0 }
    }
}

/// A new file with its head, durable under its name; space for data comes by [`write_zeros`].
pub(crate) async fn create(path: &Path, head: FileHead) -> io::Result<File> {
    let file = File::open(path, FileMode::CreateNew).await?;
    write_head(&file, head).await?;
    if let Some(folder) = path.parent() {
        fs::sync_dir(folder).await?;
    }
    Ok(file)
}

pub(super) async fn write_head(file: &File, head: FileHead) -> io::Result<()> {
    let mut block = Buffer::take(BLOCK_BYTES);
    head.encode_into(&mut block);
    file.write_at(block, 0, Durability::Durable).await.0
}

/// Extends `file` by some zeros, durable when it returns. The new size, `None` when the file is complete.
pub(crate) async fn write_zeros(file: &File, from: u64, file_bytes: u64) -> io::Result<Option<u64>> {
    let mut at = from.max(FIRST_WRITE_AT);
    let to = (at + ZEROS_BYTES).min(file_bytes);
    if at >= to {
        return Ok(None);
    }
    let mut zeros = Buffer::take((to - at).min(1 << 20) as usize);
    zeros.fill(0);
    while at < to {
        zeros.truncate((to - at) as usize);
        let bytes = zeros.len() as u64;
        let (written, returned) = file.write_at(zeros, at, Durability::Written).await;
        written?;
        (zeros, at) = (returned, at + bytes);
    }
    file.sync().await?;
    Ok(Some(to))
}

fn path(folder: &Path, number: usize) -> PathBuf {
    folder.join(format!("{number:08}.journal"))
}

pub(crate) fn failure(path: &Path, doing: &'static str, position: u64, bytes: usize, source: io::Error) -> LogFailed {
    LogFailed { path: path.to_owned(), doing, position, bytes, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringlane_runtime::sim::{LocalMain, Sim, SimOptions};

    const FILE_BYTES: u64 = 64 << 10;

    /// Runs `test` with two empty files of [`FILE_BYTES`] each.
    fn with_two_files(test: impl FnOnce(Files) + 'static) {
        let mut sim = Sim::new(1, SimOptions::default());
        let node = sim.add_node();
        let main: LocalMain = Box::new(|| {
            Box::pin(async {
                let mut files = Files::default();
                for number in 1..=2 {
                    let path = path(Path::new("/"), number);
                    let file = create(&path, FileHead { directory_id: [0; 16] }).await.expect("creates");
                    let slot = files.add(file.clone(), path);
                    let ready = write_zeros(&file, 0, FILE_BYTES).await.expect("writes");
                    assert_eq!(ready, Some(FILE_BYTES), "a file smaller than a step is done at once");
                    files.ready(slot, FILE_BYTES);
                }
                test(files);
            })
        });
        sim.start_local(node, vec![main]);
        sim.run_until(std::time::Duration::from_secs(10), |sim| !sim.is_running(node));
        assert_eq!(sim.panics().len(), 0, "{:?}", sim.panics());
    }

    /// A file used again while it holds something that no segment has would be acknowledged records overwritten.
    #[test]
    fn a_file_is_used_again_only_when_all_in_it_is_released() {
        with_two_files(|mut files| {
            let write_bytes = 20 << 10;
            for sequence in 1..=6 {
                let place = files.place(write_bytes, FILE_BYTES).expect("there is room for three in each");
                files.wrote(&place, write_bytes, sequence);
            }
            assert_eq!(files.place(write_bytes, FILE_BYTES).err(), Some(NoPlace::Full));
            files.release(2);
            assert_eq!(files.place(write_bytes, FILE_BYTES).err(), Some(NoPlace::Full), "write 3 is in it");
            files.release(3);
            let place = files.place(write_bytes, FILE_BYTES).expect("the first file is free");
            assert_eq!((place.position, &place.path), (FIRST_WRITE_AT, &path(Path::new("/"), 1)));
            assert_eq!(files.used_bytes(), 3 * write_bytes);
        });
    }

    /// A file whose zeros a full disk cut short would be waited for, for ever.
    #[test]
    fn a_file_that_does_not_grow_is_used_as_far_as_it_goes() {
        with_two_files(|mut files| {
            files.ready(0, FIRST_WRITE_AT);
            files.ends_here(0);
            let place = files.place(4096, FILE_BYTES).expect("the second one is whole");
            assert_eq!(place.path, path(Path::new("/"), 2));
            files.ready(1, FIRST_WRITE_AT + 4096);
            files.ends_here(1);
            files.wrote(&place, 4096, 1);
            assert_eq!(files.place(4096, FILE_BYTES).err(), Some(NoPlace::Full));
        });
    }

    /// A write past the zeros would extend the file: slow, and for recovery it is no whole file.
    #[test]
    fn a_write_waits_for_its_zeros() {
        with_two_files(|mut files| {
            files.ready(0, FIRST_WRITE_AT + 4096);
            let place = files.place(4096, FILE_BYTES).expect("fits in what is ready");
            files.wrote(&place, 4096, 1);
            assert_eq!(files.place(4096, FILE_BYTES).err(), Some(NoPlace::NotReady));
            files.ready(0, FILE_BYTES);
            assert_eq!(files.place(4096, FILE_BYTES).map(|place| place.position).ok(), Some(FIRST_WRITE_AT + 4096));
        });
    }
}
