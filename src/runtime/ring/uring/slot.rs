//! One operation's place: what the kernel may touch until the completion, and who waits for it.

use super::super::descriptor::Descriptor;
use super::Message;
use crate::Buffer;
use bytes::Bytes;
use std::os::fd::{FromRawFd, OwnedFd};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// Memory that the kernel reads or writes for an operation.
pub(in crate::ring) enum Memory {
    None,
    Buffer(Buffer),
    Bytes(Bytes),
    Message(Box<Message>),
    Address {
        _address: Box<libc::sockaddr_storage>,
    },
    /// No memory, but the result is a descriptor that must be closed when nobody takes it.
    Accepted,
}

/// Held from push to completion. The descriptor too: closed earlier, its number could name another file when the entry is submitted.
pub(super) struct Kept {
    pub(super) memory: Memory,
    pub(super) _descriptor: Rc<Descriptor>,
}

pub(super) enum Slot {
    Waiting {
        waker: Option<Waker>,
        kept: Kept,
    },
    Done {
        result: i32,
        kept: Kept,
    },
    /// Nobody waits; `result` comes with the completion.
    Orphan {
        result: Option<i32>,
        kept: Kept,
    },
    /// Only while a state is being changed.
    Changing,
}

impl Slot {
    /// Whom to wake.
    pub(super) fn complete(&mut self, completed: i32) -> Option<Waker> {
        match std::mem::replace(self, Slot::Changing) {
            Slot::Waiting { waker, kept } => {
                *self = Slot::Done { result: completed, kept };
                waker
            }
            Slot::Orphan { kept, .. } => {
                *self = Slot::Orphan { result: Some(completed), kept };
                None
            }
            Slot::Done { .. } | Slot::Changing => unreachable!("one completion per operation"),
        }
    }

    pub(super) fn poll_done(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Slot::Waiting { waker: Some(waker), .. } => waker.clone_from(cx.waker()),
            Slot::Waiting { waker, .. } => *waker = Some(cx.waker().clone()),
            _ => return Poll::Ready(()),
        }
        Poll::Pending
    }

    /// False when it is done already.
    pub(super) fn abandon(&mut self) -> bool {
        match std::mem::replace(self, Slot::Changing) {
            Slot::Waiting { kept, .. } => {
                *self = Slot::Orphan { result: None, kept };
                true
            }
            other => {
                *self = other;
                false
            }
        }
    }

    pub(super) fn is_orphan(&self) -> bool {
        matches!(self, Slot::Orphan { .. })
    }

    pub(super) fn is_in_kernel(&self) -> bool {
        matches!(self, Slot::Waiting { .. } | Slot::Orphan { .. })
    }

    /// Closes the socket of an accept that nobody took.
    pub(super) fn close_accepted(self) {
        if let Slot::Done { result, kept } | Slot::Orphan { result: Some(result), kept } = self
            && matches!(kept.memory, Memory::Accepted)
            && result >= 0
        {
            // SAFETY: the kernel made this descriptor for an accept whose result nobody else has seen.
            drop(unsafe { OwnedFd::from_raw_fd(result) });
        }
    }
}
