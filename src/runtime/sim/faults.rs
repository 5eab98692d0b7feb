//! What the test does to network and disks while the simulation runs, and what it sees of them.

use super::{DiskOptions, IoFault, NetworkOptions, NodeId, Sim};
use std::io;
use std::path::{Path, PathBuf};

impl Sim {
    // ── network ──

    /// Nothing passes from `from` to `to` any more; the other direction is not touched.
    pub fn cut(&mut self, from: NodeId, to: NodeId) {
        self.with(|world| world.set_blocked(from, to, true));
    }

    /// Undoes [`Sim::cut`]; what was sent meanwhile arrives, unless its sender has given up.
    pub fn heal(&mut self, from: NodeId, to: NodeId) {
        self.with(|world| world.set_blocked(from, to, false));
    }

    /// Cuts both directions.
    pub fn partition(&mut self, one: NodeId, other: NodeId) {
        self.cut(one, other);
        self.cut(other, one);
    }

    pub fn heal_partition(&mut self, one: NodeId, other: NodeId) {
        self.heal(one, other);
        self.heal(other, one);
    }

    /// Breaks every connection between two nodes at once; new ones can be made.
    pub fn reset_connections(&mut self, one: NodeId, other: NodeId) {
        self.with(|world| world.reset_between(one, other));
    }

    pub fn set_network(&mut self, options: NetworkOptions) {
        self.with(|world| world.options.network = options);
    }

    // ── disks ──

    /// From the next operation on, for every path that is not on a volume of its own.
    pub fn set_disk(&mut self, node: NodeId, options: DiskOptions) {
        self.with(|world| world.node(node).disk.set_options(options));
    }

    /// Gives `directory`, which is absolute, a file system of its own: with its own space, speed and honesty. The first call mounts it,
    /// empty; later ones change it, from the next operation on. So one of several data directories fills up or slows down alone; errors
    /// of one alone are an [`IoFault`] with its path. As between real file systems, nothing is renamed from one to another.
    pub fn set_volume(&mut self, node: NodeId, directory: &Path, options: DiskOptions) {
        self.with(|world| world.node(node).disk.set_volume(directory, options));
    }

    pub fn add_io_fault(&mut self, node: NodeId, fault: IoFault) {
        self.with(|world| world.node(node).disk.add_fault(fault));
    }

    pub fn clear_io_faults(&mut self, node: NodeId) {
        self.with(|world| world.node(node).disk.clear_faults());
    }

    /// Turns over one bit of a file, where it lies.
    pub fn flip_bit(&mut self, node: NodeId, path: &Path, bit: u64) -> io::Result<()> {
        self.with(|world| world.node(node).disk.flip_bit(path, bit))
    }

    /// What a reader of the file would see now.
    pub fn file_content(&self, node: NodeId, path: &Path) -> io::Result<Vec<u8>> {
        self.world.borrow_mut().node(node).disk.content(path)
    }

    /// Full paths, sorted.
    pub fn directory_entries(&self, node: NodeId, path: &Path) -> io::Result<Vec<PathBuf>> {
        self.world.borrow_mut().node(node).disk.list(path)
    }
}
