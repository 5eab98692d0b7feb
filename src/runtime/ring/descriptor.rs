//! A descriptor that operations in flight keep open.

use super::uring::Ring;
use super::{driver, helpers};
use io_uring::squeue;
use std::cell::Cell;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::task::Waker;

/// Bound to the ring of the shard that opened or adopted it.
pub(super) struct Descriptor {
    ring: Rc<Ring>,
    fd: Option<OwnedFd>,
    /// In the ring's table.
    place: Option<u32>,
    closes: Closes,
    /// The waker of the last operation in and of the last one out. The next is most likely of the same task: to keep it is cheaper than two
    /// atomic counts.
    spare_wakers: [Cell<Option<Waker>>; 2],
}

/// Where it is closed once the last operation and the last handle are gone.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Closes {
    /// Sockets and pipes: close returns at once.
    Here,
    /// Files: the last close of an unlinked one frees its space, which takes milliseconds.
    OnHelper,
}

impl Descriptor {
    /// On the calling shard's ring.
    pub(super) fn new(fd: OwnedFd, closes: Closes) -> Rc<Descriptor> {
        let ring = driver::current().ring().clone();
        let place = ring.take_place(fd.as_raw_fd());
        Rc::new(Descriptor { ring, fd: Some(fd), place, closes, spare_wakers: Default::default() })
    }

    pub(super) fn ring(&self) -> &Rc<Ring> {
        &self.ring
    }

    /// For system calls.
    pub(super) fn raw(&self) -> RawFd {
        self.fd.as_ref().expect("open until drop").as_raw_fd()
    }

    /// For operations of the ring, with [`Descriptor::flags`].
    pub(super) fn number(&self) -> RawFd {
        self.place.map_or(self.raw(), |place| place as RawFd)
    }

    pub(super) fn flags(&self) -> squeue::Flags {
        if self.place.is_some() { squeue::Flags::FIXED_FILE } else { squeue::Flags::empty() }
    }

    pub(super) fn spare_waker(&self, sends: bool) -> &Cell<Option<Waker>> {
        &self.spare_wakers[usize::from(sends)]
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            self.ring.give_place(place);
        }
        if self.closes == Closes::OnHelper
            && let Some(fd) = self.fd.take()
        {
            helpers::start(helpers::FILES, move || drop(fd));
        }
    }
}
