//! Sees to it that nothing stable stays out of its segment for long: by age here, by size in `log`, by need in `checkpoint`.
//!
//! One task per volume for as long as the shard. Idle, it sleeps.

use crate::shard::Shard;
use crate::volume::Volume;
use crate::writer;
use ringlane_runtime::{now, sleep};
use std::rc::Rc;
use std::time::Duration;

/// A log with less than a write's worth waits so long for more.
const AGE_MAX: Duration = Duration::from_secs(1);
/// How much later than that it may be, so that many logs are looked at together.
const TICK: Duration = Duration::from_millis(100);

pub(crate) async fn run(shard: Rc<Shard>, volume: Rc<Volume>) {
    loop {
        let arrived = volume.flushable_arrived.listen();
        if volume.failure().is_some() {
            return;
        }
        let oldest = volume.flushable.borrow().front().map(|(_, since)| *since);
        match oldest {
            None => arrived.await,
            Some(since) if since.elapsed() < AGE_MAX => sleep(AGE_MAX.saturating_sub(since.elapsed()) + TICK).await,
            Some(_) => flush(&shard, &volume, AGE_MAX),
        }
    }
}

/// Has every log written that waits for `age` or longer.
pub(crate) fn flush(shard: &Shard, volume: &Volume, age: Duration) {
    let now = now();
    loop {
        let due = volume.flushable.borrow_mut().pop_front_if(|(_, since)| now.since(*since) >= age);
        let Some((key, _)) = due else { return };
        let Some(log) = shard.log(key) else { continue };
        {
            let mut state = log.state.borrow_mut();
            state.in_flush_line = false;
            state.flush_wanted = state.flush_wanted.max(state.stable_offset);
        }
        writer::kick(&log);
    }
}
