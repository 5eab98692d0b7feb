//! Signals: the handler writes one byte into a pipe, a task of shard 0 reads it.
//!
//! The four signals are blocked on every thread that the runtime starts, so that no shard's system call is ever interrupted by one; the
//! thread that called `ring::run` takes them.

use super::descriptor::{Closes, Descriptor};
use super::net::{check, result};
use super::uring::Ring;
use crate::{Buffer, Event, Signal, Task, spawn};
use std::cell::{OnceCell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::atomic::{AtomicI32, Ordering};

/// More than this many signals that nobody takes are dropped: the same one twice says nothing new.
const WAITING_MAX: usize = 16;

const HANDLED: [libc::c_int; 4] = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGUSR1];

/// Where the handler writes; -1 while no shards run.
static PIPE: AtomicI32 = AtomicI32::new(-1);

/// Handles the signals while it lives, and puts the former actions back.
pub(super) struct Handlers {
    former: Vec<(libc::c_int, libc::sigaction)>,
    _writer: OwnedFd,
}

impl Handlers {
    /// Also gives the pipe's reading end, for shard 0. `None` when other shards of this process (a test's) have the signals.
    pub(super) fn install() -> io::Result<Option<(Handlers, OwnedFd)>> {
        let mut ends = [-1; 2];
        // SAFETY: room for the two descriptors.
        check(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) })?;
        // SAFETY: just made, owned by nobody else.
        let [reader, writer] = ends.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
        // A handler must not wait for a reader. (The reading end blocks, as the ring wants it.)
        // SAFETY: the descriptor is open.
        check(unsafe { libc::fcntl(writer.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) })?;
        if PIPE.compare_exchange(-1, writer.as_raw_fd(), Ordering::SeqCst, Ordering::SeqCst).is_err() {
            return Ok(None);
        }
        let mut handlers = Handlers { former: Vec::new(), _writer: writer };
        for signal in HANDLED {
            // SAFETY: all zeros is a valid sigaction.
            let (mut action, mut former): (libc::sigaction, libc::sigaction) = unsafe { std::mem::zeroed() };
            action.sa_sigaction = handle as extern "C" fn(libc::c_int) as usize;
            action.sa_flags = libc::SA_RESTART;
            // SAFETY: `handle` does only what a signal handler may.
            check(unsafe { libc::sigaction(signal, &action, &mut former) })?;
            handlers.former.push((signal, former));
        }
        // SAFETY: ignoring is always allowed. A closed peer is an error of the write, not the end of the process.
        unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
        Ok(Some((handlers, reader)))
    }
}

impl Drop for Handlers {
    fn drop(&mut self) {
        for (signal, former) in &self.former {
            // SAFETY: puts back what `sigaction` gave us.
            unsafe { libc::sigaction(*signal, former, std::ptr::null_mut()) };
        }
        PIPE.store(-1, Ordering::SeqCst);
    }
}

extern "C" fn handle(signal: libc::c_int) {
    let number = signal as u8;
    // SAFETY: errno belongs to this thread, and the interrupted code must find its own value again; write(2) is async-signal-safe. A
    // full pipe drops the signal: 64 KiB of them wait already.
    unsafe {
        let errno = *libc::__errno_location();
        libc::write(PIPE.load(Ordering::SeqCst), (&raw const number).cast(), 1);
        *libc::__errno_location() = errno;
    }
}

/// Keeps the handled signals off the calling thread and those it starts, until dropped.
pub(super) struct Blocked {
    former: libc::sigset_t,
}

impl Blocked {
    pub(super) fn on_this_thread() -> Blocked {
        // SAFETY: both sets are local and are filled before they are read.
        unsafe {
            let (mut set, mut former): (libc::sigset_t, libc::sigset_t) = std::mem::zeroed();
            libc::sigemptyset(&mut set);
            for signal in HANDLED {
                libc::sigaddset(&mut set, signal);
            }
            libc::pthread_sigmask(libc::SIG_BLOCK, &set, &mut former);
            Blocked { former }
        }
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        // SAFETY: puts back the mask that `pthread_sigmask` gave us.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.former, std::ptr::null_mut()) };
    }
}

thread_local! {
    static INBOX: OnceCell<Inbox> = const { OnceCell::new() };
}

/// Signals that came and were not taken yet, on shard 0. The reading task outlives every waiter, so that none is lost with one.
struct Inbox {
    state: Rc<State>,
    _reader: Task<()>,
}

#[derive(Default)]
struct State {
    waiting: RefCell<VecDeque<Signal>>,
    came: Event,
}

/// Reads the pipe on the calling shard, from its start to its end.
pub(super) fn listen(pipe: OwnedFd) {
    let state = Rc::new(State::default());
    let reader = spawn("signals", read_signals(pipe, state.clone()));
    INBOX.with(|inbox| inbox.set(Inbox { state, _reader: reader }).ok().expect("one set of signals per shard"));
}

async fn read_signals(pipe: OwnedFd, state: Rc<State>) {
    let pipe = Descriptor::new(pipe, Closes::Here);
    let mut buffer = Buffer::take(1);
    loop {
        let read;
        (read, buffer) = Ring::read(&pipe, buffer, 0, u64::MAX).await;
        match result(read) {
            Ok(1) => state.push(buffer[0].into()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // The shard ends.
            _ => return,
        }
    }
}

impl State {
    fn push(&self, number: libc::c_int) {
        let signal = match number {
            libc::SIGTERM | libc::SIGINT => Signal::Stop,
            libc::SIGHUP => Signal::Reload,
            libc::SIGUSR1 => Signal::Report,
            _ => return,
        };
        let mut waiting = self.waiting.borrow_mut();
        if waiting.len() < WAITING_MAX {
            waiting.push_back(signal);
        }
        drop(waiting);
        self.came.notify_all();
    }
}

pub(crate) async fn next_signal() -> Signal {
    let state = INBOX.with(|inbox| inbox.get().map(|inbox| inbox.state.clone()));
    let Some(state) = state else {
        // Another shard, or signals that belong to other shards of this process: none comes here.
        return std::future::pending().await;
    };
    loop {
        let came = state.came.listen();
        if let Some(signal) = state.waiting.borrow_mut().pop_front() {
            return signal;
        }
        came.await;
    }
}
