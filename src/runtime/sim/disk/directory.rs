//! The tree of names: of each directory the live entries, the durable ones, and the changes that no `sync_dir` has covered.

use super::Inode;
use crate::sim::seed::Seed;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

pub(super) struct Tree {
    root: Inode,
    directories: BTreeMap<Inode, Directory>,
}

#[derive(Default)]
pub(super) struct Directory {
    live: Entries,
    durable: Entries,
    unsynced: Vec<NameChange>,
}

type Entries = BTreeMap<String, Inode>;

#[derive(Clone)]
enum NameChange {
    Link {
        name: String,
        inode: Inode,
    },
    Unlink {
        name: String,
    },
    /// Within one directory: atomic, as POSIX promises.
    Rename {
        from: String,
        to: String,
        inode: Inode,
    },
}

impl Tree {
    pub(super) fn new(root: Inode) -> Tree {
        Tree { root, directories: BTreeMap::from([(root, Directory::default())]) }
    }

    pub(super) fn directory(&self, inode: Inode) -> Option<&Directory> {
        self.directories.get(&inode)
    }

    pub(super) fn directory_mut(&mut self, inode: Inode) -> Option<&mut Directory> {
        self.directories.get_mut(&inode)
    }

    pub(super) fn add_directory(&mut self, inode: Inode, directory: Directory) {
        self.directories.insert(inode, directory);
    }

    /// What the absolute `path` leads to.
    pub(super) fn find(&self, path: &Path) -> Option<Inode> {
        let mut inode = self.root;
        for name in path.components().skip(1) {
            inode = *self.directories.get(&inode)?.live.get(&*name.as_os_str().to_string_lossy())?;
        }
        Some(inode)
    }

    pub(super) fn link(&mut self, path: &Path, inode: Inode) -> io::Result<()> {
        if self.find(path).is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let (parent, name) = self.parent_and_name(path)?;
        self.change(parent, NameChange::Link { name, inode });
        Ok(())
    }

    pub(super) fn unlink(&mut self, path: &Path) -> io::Result<()> {
        let inode = self.find(path).ok_or(io::ErrorKind::NotFound)?;
        if self.directories.get(&inode).is_some_and(|directory| !directory.live.is_empty()) {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        let (parent, name) = self.parent_and_name(path)?;
        self.change(parent, NameChange::Unlink { name });
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let inode = self.find(from).ok_or(io::ErrorKind::NotFound)?;
        let replaced = self.find(to).filter(|replaced| *replaced != inode);
        if let Some(directory) = replaced.and_then(|replaced| self.directories.get(&replaced)) {
            let kind = match (self.directories.contains_key(&inode), directory.live.is_empty()) {
                (false, _) => Some(io::ErrorKind::IsADirectory),
                (true, false) => Some(io::ErrorKind::DirectoryNotEmpty),
                (true, true) => None,
            };
            kind.map_or(Ok(()), |kind| Err(io::Error::from(kind)))?;
        }
        let (from_parent, from) = self.parent_and_name(from)?;
        let (to_parent, to) = self.parent_and_name(to)?;
        if from_parent == to_parent {
            self.change(to_parent, NameChange::Rename { from, to, inode });
        } else {
            self.change(to_parent, NameChange::Link { name: to, inode });
            self.change(from_parent, NameChange::Unlink { name: from });
        }
        Ok(())
    }

    fn parent_and_name(&self, path: &Path) -> io::Result<(Inode, String)> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy().into_owned();
        let parent = self.find(path.parent().expect("it has a name")).ok_or(io::ErrorKind::NotFound)?;
        match self.directories.contains_key(&parent) {
            true => Ok((parent, name)),
            false => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    fn change(&mut self, parent: Inode, change: NameChange) {
        let directory = self.directories.get_mut(&parent).expect("looked up by the caller");
        apply(&mut directory.live, &change);
        directory.unsynced.push(change);
    }

    /// Whether a name leads to `inode`, or might after a power loss.
    pub(super) fn mentions(&self, inode: Inode) -> bool {
        self.directories.values().any(|directory| directory.mentioned().any(|named| named == inode))
    }

    /// What [`Tree::mentions`] is true for.
    pub(super) fn all_mentioned(&self) -> BTreeSet<Inode> {
        self.directories.values().flat_map(Directory::mentioned).collect()
    }

    pub(super) fn lose_power(&mut self, seed: &mut Seed) {
        for directory in self.directories.values_mut() {
            for change in std::mem::take(&mut directory.unsynced) {
                if seed.chance(0.5) {
                    apply(&mut directory.durable, &change);
                }
            }
            directory.live = directory.durable.clone();
        }
        let mut reachable = BTreeSet::new();
        let mut look_into = vec![self.root];
        while let Some(inode) = look_into.pop() {
            if let Some(directory) = self.directories.get(&inode)
                && reachable.insert(inode)
            {
                look_into.extend(directory.live.values().copied());
            }
        }
        self.directories.retain(|inode, _| reachable.contains(inode));
    }
}

impl Directory {
    /// Sorted.
    pub(super) fn names(&self) -> Vec<String> {
        self.live.keys().cloned().collect()
    }

    fn mentioned(&self) -> impl Iterator<Item = Inode> {
        let changes = self.unsynced.iter().filter_map(NameChange::inode);
        self.live.values().chain(self.durable.values()).copied().chain(changes)
    }

    pub(super) fn sync_all(&mut self) {
        self.unsynced.clear();
        self.durable = self.live.clone();
    }
}

impl NameChange {
    fn inode(&self) -> Option<Inode> {
        match self {
            NameChange::Link { inode, .. } | NameChange::Rename { inode, .. } => Some(*inode),
            NameChange::Unlink { .. } => None,
        }
    }
}

fn apply(entries: &mut Entries, change: &NameChange) {
    match change {
        NameChange::Link { name, inode } => drop(entries.insert(name.clone(), *inode)),
        NameChange::Unlink { name } => drop(entries.remove(name)),
        NameChange::Rename { from, to, inode } => {
            if entries.get(from) == Some(inode) {
                entries.remove(from);
            }
            entries.insert(to.clone(), *inode);
        }
    }
}
