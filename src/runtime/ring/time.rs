//! The machine's clocks.

use super::timers;
use crate::Instant;

pub(crate) fn now() -> Instant {
    Instant { nanos: clock_nanos(libc::CLOCK_MONOTONIC) as u64 }
}

pub(crate) fn wall_clock_ms() -> i64 {
    clock_nanos(libc::CLOCK_REALTIME) / 1_000_000
}

fn clock_nanos(clock: libc::clockid_t) -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec to write to; both clocks always exist.
    let result = unsafe { libc::clock_gettime(clock, &mut time) };
    debug_assert_eq!(result, 0);
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

pub(crate) async fn sleep_until(deadline: Instant) {
    timers::sleep_until(deadline).await
}
