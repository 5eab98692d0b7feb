//! Where `tracing` events go: standard error, as text or JSON, so many lines a second from one place in the code.
//!
//! Called from every thread of the process. No lock of our own: the counts are atomics, one line is one write.

use std::io::{self, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use tracing::{Level, Metadata};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::prelude::*;

use crate::args::{Format, LogArgs};
use crate::exit::Failed;

/// A client in a retry loop would otherwise fill the disk that the data is on.
const LINES_PER_SECOND_AND_PLACE: u32 = 20;
/// Places in the code share a count when they meet in a slot: one quiet place may lose a line beside a loud one.
const SLOTS: usize = 256;

/// Starts logging; once, before the shards.
pub fn start(args: &LogArgs) -> Result<(), Failed> {
    let levels: Targets = args.levels.parse().map_err(|error| {
        Failed::new(format!("--log {}: {error}; expected a level (info) or levels by module", args.levels))
    })?;
    let writer = Limited { json: args.format == Format::Json };
    let layer = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(false);
    let layer = match args.format {
        Format::Text => layer.boxed(),
        Format::Json => layer.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry().with(layer.with_filter(levels)).init();
    Ok(())
}

#[derive(Clone, Copy)]
struct Limited {
    json: bool,
}

/// One event's line, or nothing.
struct Line {
    admitted: Admitted,
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Admitted {
    Yes,
    /// And so many before it were not.
    YesAfter(u32),
    No,
}

impl<'a> MakeWriter<'a> for Limited {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line { admitted: Admitted::Yes, json: self.json }
    }

    fn make_writer_for(&'a self, place: &Metadata<'_>) -> Line {
        static COUNTS: [AtomicU64; SLOTS] = [const { AtomicU64::new(0) }; SLOTS];
        let limited = *place.level() <= Level::INFO;
        let count = &COUNTS[slot(place)];
        Line { admitted: if limited { admit(count, seconds()) } else { Admitted::Yes }, json: self.json }
    }
}

impl Write for Line {
    /// `tracing_subscriber` hands over a whole line.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match self.admitted {
            Admitted::No => return Ok(line.len()),
            Admitted::YesAfter(dropped) if self.json => {
                writeln!(io::stderr(), r#"{{"level":"WARN","message":"lines dropped","dropped":{dropped}}}"#)?;
            }
            Admitted::YesAfter(dropped) => writeln!(io::stderr(), "({dropped} lines like the next one were dropped)")?,
            Admitted::Yes => {}
        }
        io::stderr().write_all(line)?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn slot(place: &Metadata<'_>) -> usize {
    let file = place
        .file()
        .map_or(0, |file| file.bytes().fold(0, |hash: usize, byte| hash.wrapping_mul(31) + usize::from(byte)));
    file.wrapping_add(place.line().unwrap_or(0) as usize) % SLOTS
}

/// `count` holds the second (high half) and the lines asked for in it (low half).
fn admit(count: &AtomicU64, now_s: u32) -> Admitted {
    let next = |old: u64| {
        let (second, lines) = ((old >> 32) as u32, old as u32);
        if second == now_s {
            (u64::from(now_s) << 32) | u64::from(lines.saturating_add(1))
        } else {
            (u64::from(now_s) << 32) | 1
        }
    };
    let old = count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |old| Some(next(old))).unwrap_or_else(|old| old);
    let (second, lines) = ((old >> 32) as u32, old as u32);
    match lines.checked_sub(LINES_PER_SECOND_AND_PLACE) {
        Some(dropped) if second != now_s && dropped > 0 => Admitted::YesAfter(dropped),
        Some(_) if second == now_s => Admitted::No,
        _ => Admitted::Yes,
    }
}

/// Since the first line, and never 0, which means "no line yet".
#[expect(
    clippy::disallowed_methods,
    reason = "threads that are no shard log too, and the simulator does not come here"
)]
fn seconds() -> u32 {
    static START: OnceLock<Instant> = OnceLock::new();
    let now = Instant::now();
    u32::try_from(now.duration_since(*START.get_or_init(|| now)).as_secs()).unwrap_or(u32::MAX).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Without a limit one mad client writes gigabytes of log; without the count nobody knows that lines are missing.
    #[test]
    fn a_loud_place_is_cut_off_and_says_so_later() {
        let count = AtomicU64::new(0);
        let first: Vec<Admitted> = (0..LINES_PER_SECOND_AND_PLACE + 5).map(|_| admit(&count, 1)).collect();
        assert_eq!(
            first.iter().filter(|admitted| **admitted == Admitted::Yes).count(),
            LINES_PER_SECOND_AND_PLACE as usize
        );
        assert_eq!(first.last(), Some(&Admitted::No));
        assert_eq!(admit(&count, 2), Admitted::YesAfter(5));
        assert_eq!(admit(&count, 2), Admitted::Yes);
        assert_eq!(admit(&count, 9), Admitted::Yes);
    }
}
