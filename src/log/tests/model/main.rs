//! The log against a plain list of batches, on a simulated disk that loses what was not made durable, tears what was being written, and
//! fails. Every seed is several lives of one process: each ends by power loss, kill -9 or in order, and the next one must find what the
//! one before was told to be stable, nothing twice, nothing wrong.
//!
//! `RINGLANE_LOG_SEEDS` sets how many seeds run (300, half of them in durable mode only), `RINGLANE_LOG_SEED` runs one.

mod history;
mod life;

use history::History;
use life::{Life, live};
use ringlane_log::StableMode;
use ringlane_runtime::sim::{DiskOptions, IoFault, IoKind, LocalMain, NodeId, Seed, Sim, SimOptions};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

const SEEDS: u64 = 300;
const LIVES_MAX: u64 = 7;
/// Virtual time in which a life that may end by itself must have ended.
const LIFE_LIMIT: Duration = Duration::from_secs(600);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    PowerLoss,
    Kill,
    Orderly,
}

fn number_from(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

/// Everything reported stable survives what its mode promises, and no read ever gives anything but the bytes appended.
#[test]
fn the_log_is_a_list_of_batches_that_survives_crashes() {
    run_seeds(0, None);
}

/// The same with acks that always wait for durable bytes: then no crash may take anything.
#[test]
fn in_durable_mode_nothing_that_was_stable_is_ever_lost() {
    run_seeds(1_000_000, Some(StableMode::Durable));
}

fn run_seeds(first: u64, mode: Option<StableMode>) {
    let seeds = match number_from("RINGLANE_LOG_SEED") {
        Some(seed) => seed..seed + 1,
        None => first..first + number_from("RINGLANE_LOG_SEEDS").unwrap_or(SEEDS) / 2,
    };
    for seed in seeds {
        run(seed, mode);
    }
}

/// A run that cannot be repeated cannot be debugged.
#[test]
fn one_seed_is_one_run() {
    assert_eq!(run(11, None), run(11, None));
}

/// A sync failed, the process was killed, and the next start found everything in its files and synced them: the kernel said ok, having
/// marked the changes clean at the failure. The journals were void then, and a power cut took acknowledged batches and the size of a segment.
#[test]
fn a_start_makes_durable_what_a_failed_sync_left() {
    run(201, None);
    run(1408, None);
    run(1_001_276, Some(StableMode::Durable));
}

/// A checkpoint in the new segment was on disk before the old one was cut to its size: after a power cut zeros behind its last batch were
/// read as a batch.
#[test]
fn a_checkpoint_waits_until_older_segments_have_their_size() {
    run(941, None);
}

/// A truncation whose sync failed had cut the file, and reads went on to look for what it had held.
#[test]
fn a_truncation_that_fails_leaves_a_log_that_can_be_read() {
    run(2299, None);
}

/// Runs all lives of a seed; answers the trace's hash. Panics, with the seed in the message, when something is wrong.
fn run(seed: u64, mode: Option<StableMode>) -> u64 {
    let mut choices = Seed::new(seed).derive(1);
    let mut sim = Sim::new(seed, SimOptions::default());
    let node = sim.add_node();
    let history = Rc::new(RefCell::new(History::new(seed)));
    for _ in 0..choices.within(2..LIVES_MAX) {
        let life = Life::choose(&mut choices, mode);
        let end = match choices.below(8) {
            0..=3 => End::PowerLoss,
            4..=5 => End::Kill,
            _ => End::Orderly,
        };
        let faulty = choices.chance(0.15);
        run_life(&mut sim, node, &history, life, end, faulty, &mut choices);
    }
    let last = Life { operations: 0, ..Life::choose(&mut choices, mode) };
    run_life(&mut sim, node, &history, last, End::Orderly, false, &mut choices);
    sim.trace_hash()
}

fn run_life(
    sim: &mut Sim,
    node: NodeId,
    history: &Rc<RefCell<History>>,
    life: Life,
    end: End,
    faulty: bool,
    choices: &mut Seed,
) {
    history.borrow_mut().begin_life(life.options.stable_mode, format!("{life:?} {end:?} faulty={faulty}"));
    let main: LocalMain = {
        let history = history.clone();
        Box::new(move || Box::pin(live(history, life)))
    };
    sim.start_local(node, vec![main]);
    match end {
        End::Orderly => {
            assert!(
                sim.run_until(LIFE_LIMIT, |sim| !sim.is_running(node)),
                "seed {}: the life does not end: {}",
                sim.seed(),
                history.borrow()
            );
        }
        End::PowerLoss | End::Kill => {
            if faulty || choices.chance(0.8) {
                sim.run_until(LIFE_LIMIT, |_| history.borrow().is_open());
            }
            if faulty {
                let kind = if choices.chance(0.7) { IoKind::Write } else { IoKind::Sync };
                sim.add_io_fault(node, IoFault { kind, path_contains: ".log".to_owned(), probability: 0.02 });
                sim.set_disk(node, DiskOptions { capacity_bytes: 4 << 20, ..DiskOptions::default() });
            }
            let millis = choices.within(0..400);
            sim.run_for(Duration::from_micros(millis * millis + choices.below(1000)));
            if sim.is_running(node) && end == End::PowerLoss {
                sim.crash(node);
            } else if sim.is_running(node) {
                sim.kill(node);
            }
            sim.clear_io_faults(node);
            sim.set_disk(node, DiskOptions::default());
        }
    }
    history.borrow_mut().end_life(sim.now(), end == End::PowerLoss);
}

/// Each rule, broken, must make some seed fail: otherwise the test above proves nothing about it.
#[cfg(feature = "mutants")]
#[test]
fn every_broken_rule_is_noticed() {
    use ringlane_log::mutants::{Mutant, select};
    let mutants = [
        (Mutant::StableBeforeWrite, StableMode::Durable),
        (Mutant::WriteNotDurable, StableMode::Durable),
        (Mutant::TrustTornTail, StableMode::Durable),
        (Mutant::KeepTruncatedBytes, StableMode::Durable),
        (Mutant::RollWithoutSync, StableMode::Written),
        (Mutant::ReleaseBeforeSync, StableMode::Durable),
        (Mutant::ReplayTwice, StableMode::Durable),
        (Mutant::KeepReadAhead, StableMode::Durable),
    ];
    for (mutant, mode) in mutants {
        select(Some(mutant));
        let caught = (0..number_from("RINGLANE_LOG_SEEDS").unwrap_or(SEEDS))
            .find(|seed| std::panic::catch_unwind(|| run(*seed, Some(mode))).is_err());
        select(None);
        assert!(caught.is_some(), "{mutant:?} was not noticed");
        eprintln!("{mutant:?}: noticed at seed {}", caught.unwrap_or_default());
    }
}
