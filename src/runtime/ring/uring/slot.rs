//! One operation's place between push and completion: who waits for it, or what must outlive nobody waiting.

use super::super::descriptor::Descriptor;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// What the kernel said: a count, a descriptor or a negative errno, and the completion's flags.
#[derive(Clone, Copy)]
pub(in crate::ring) struct Completed {
    pub(in crate::ring) result: i32,
    pub(in crate::ring) flags: u32,
}

/// What the kernel reads or writes for an operation: owned by the operation, wherever it goes; never moved in memory by being moved.
pub(in crate::ring) trait Keep: 'static {
    /// Which of its descriptor's spare wakers it uses: one task may receive while another sends.
    const SENDS: bool = false;

    /// The operation ended and nobody waits for its result any more.
    fn unclaimed(&mut self, _result: i32) {}
}

/// Memory and descriptor of an operation. The descriptor too: closed earlier, its number could name another file when the entry is
/// submitted.
pub(super) struct Kept<K> {
    pub(super) memory: K,
    pub(super) descriptor: Rc<Descriptor>,
}

pub(super) enum Slot {
    Waiting(Option<Waker>),
    /// With the waker that was woken, to be used again.
    Done(Completed, Option<Waker>),
    /// Nobody waits; the memory goes when the kernel is done with it.
    Orphan(Box<dyn Orphan>),
}

/// A [`Kept`] of any type.
pub(super) trait Orphan {
    fn completed(self: Box<Self>, result: i32);
}

impl<K: Keep> Orphan for Kept<K> {
    fn completed(mut self: Box<Self>, result: i32) {
        self.memory.unclaimed(result);
    }
}

impl Slot {
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<(Completed, Option<Waker>)> {
        match self {
            Slot::Done(completed, waker) => return Poll::Ready((*completed, waker.take())),
            Slot::Waiting(Some(waker)) => waker.clone_from(cx.waker()),
            Slot::Waiting(none) => *none = Some(cx.waker().clone()),
            Slot::Orphan(_) => unreachable!("an orphan has no future"),
        }
        Poll::Pending
    }

    pub(super) fn is_in_kernel(&self) -> bool {
        !matches!(self, Slot::Done(..))
    }
}
