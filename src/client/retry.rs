//! Waiting between tries: longer each time, never in step with other clients, and not for ever.

use crate::ClientError;
use ringlane_runtime::{Instant, now, random_u64, sleep};
use std::time::Duration;

/// Kafka's `retry.backoff.ms` and `retry.backoff.max.ms`.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(1);

pub(crate) struct Retry {
    began: Instant,
    limit: Duration,
    pause: Duration,
}

impl Retry {
    pub(crate) fn within(limit: Duration) -> Retry {
        Retry { began: now(), limit, pause: PAUSE_MIN }
    }

    /// Waits for the next try. `Err` when `error` is not one that a later try can mend, or when the time is over.
    pub(crate) async fn after(&mut self, what: &str, error: ClientError) -> Result<(), ClientError> {
        if !error.is_retriable() {
            return Err(error);
        }
        if self.began.elapsed() + self.pause > self.limit {
            return Err(ClientError::TimedOut { what: what.to_string(), after: self.limit, last: error.to_string() });
        }
        sleep(with_jitter(self.pause)).await;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        Ok(())
    }
}

/// Between 80 and 120 %, as Kafka's clients do.
fn with_jitter(pause: Duration) -> Duration {
    pause * 4 / 5 + pause * (random_u64() % 401) as u32 / 1000
}
