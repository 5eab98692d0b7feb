//! A descriptor that operations in flight keep open.

use super::uring::Ring;
use super::{driver, helpers};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::rc::Rc;

/// Bound to the ring of the shard that opened or adopted it.
pub(super) struct Descriptor {
    ring: Rc<Ring>,
    fd: Option<OwnedFd>,
    closes: Closes,
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
        Rc::new(Descriptor { ring: driver::current().ring().clone(), fd: Some(fd), closes })
    }

    pub(super) fn ring(&self) -> &Rc<Ring> {
        &self.ring
    }

    pub(super) fn raw(&self) -> RawFd {
        self.fd.as_ref().expect("open until drop").as_raw_fd()
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        if self.closes == Closes::OnHelper
            && let Some(fd) = self.fd.take()
        {
            helpers::start(helpers::FILES, move || drop(fd));
        }
    }
}
