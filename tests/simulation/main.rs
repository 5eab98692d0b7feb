//! The whole broker in the simulator: four shards, a disk that loses what was not synced, a network that cuts, crashes at any step;
//! clients that write and read; and a judge who knows what was promised.
//!
//! - no acknowledged record is lost, and every byte of it is right
//! - no offset is used twice: whoever sees an offset, whenever, sees the same record
//! - records of an idempotent producer are there once and in order
//! - high watermarks only grow, topics keep their ids, answers come in the order of their requests
//! - one seed, one trace
//!
//! `RINGLANE_SIM_SEEDS=200` runs that many seeds; `RINGLANE_SIM_SEED=17` runs one, as a failure says;
//! `RINGLANE_SIM_LOG=1` prints what the broker logs.

mod client;
mod cluster;
mod consumer;
mod groups;
mod history;
mod library;
mod producer;
mod record;
mod wire;

use cluster::{Faults, Outcome, run};
use ringlane_log::mutants::{self, Mutant};

const SEEDS_BY_DEFAULT: u64 = 20;
/// Seeds within which a broken rule must be noticed.
const SEEDS_FOR_A_MUTANT: u64 = 30;

/// Set for the child of the test that compares two processes.
const PRINT_TRACE: &str = "RINGLANE_SIM_PRINT_TRACE";
const TRACE_LINE: &str = "trace hash: ";

fn seeds() -> Vec<u64> {
    if std::env::var("RINGLANE_SIM_LOG").is_ok() {
        let _ = tracing_subscriber::fmt().without_time().with_test_writer().try_init();
    }
    let number = |name| std::env::var(name).ok().map(|value| value.parse().expect("a number of 64 bits"));
    match number("RINGLANE_SIM_SEED") {
        Some(seed) => vec![seed],
        None => (1..=number("RINGLANE_SIM_SEEDS").unwrap_or(SEEDS_BY_DEFAULT)).collect(),
    }
}

fn assert_kept(outcome: &Outcome) {
    let Outcome { seed, violations, .. } = outcome;
    assert!(
        violations.is_empty(),
        "seed {seed}:\n  {}\nwhat happened:\n  {}\nrun it again with: RINGLANE_SIM_SEED={seed} cargo test --test simulation {}\n{}",
        violations.join("\n  "),
        outcome.story.join("\n  "),
        std::thread::current().name().unwrap_or_default(),
        outcome.trace_tail,
    );
}

/// The reason for the simulator: a crash at the wrong moment loses an acknowledged record once in a million times, and no test on a real
/// machine finds it.
#[test]
fn the_broker_keeps_every_promise_for_every_seed() {
    let (mut acknowledged, mut read, mut crashes) = (0, 0, 0);
    for seed in seeds() {
        let outcome = run(seed, Faults::default());
        assert_kept(&outcome);
        acknowledged += outcome.acknowledged;
        read += outcome.read;
        crashes += outcome.crashes;
    }
    println!("{acknowledged} records acknowledged, {read} read, {crashes} crashes");
    assert!(acknowledged > 0 && read > 0 && crashes > 0);
}

/// A failed write or sync must never be retried into a success that is none (fsyncgate), nor be acknowledged.
#[test]
fn a_disk_with_errors_loses_nothing_acknowledged() {
    for seed in seeds() {
        assert_kept(&run(seed, Faults { failing_disk: true, ..Faults::default() }));
    }
}

/// A failure that cannot be repeated cannot be understood: no address, real clock or hash seed may leak into what the broker does.
#[test]
fn one_seed_has_one_trace() {
    let seed = seeds()[0];
    let (first, second) = (run(seed, Faults::default()), run(seed, Faults::default()));
    assert_eq!((first.trace_hash, first.trace_events), (second.trace_hash, second.trace_events), "seed {seed}");
    assert_ne!(first.trace_hash, run(seed + 1, Faults::default()).trace_hash);
}

/// Address space, hash seeds and clocks are others in another process: the trace must not be.
#[test]
fn another_process_has_the_same_trace() {
    let seed = seeds()[0];
    if std::env::var(PRINT_TRACE).is_ok() {
        println!("{TRACE_LINE}{:016x}", run(seed, Faults::default()).trace_hash);
        return;
    }
    let of_another_process = || {
        let program = std::env::current_exe().expect("this test's own program");
        let mut other = std::process::Command::new(program);
        other.args(["another_process_has_the_same_trace", "--exact", "--nocapture"]).env(PRINT_TRACE, "1");
        let output = String::from_utf8(other.output().expect("it ran").stdout).expect("text");
        let line = output.lines().find_map(|line| line.split_once(TRACE_LINE));
        line.map(|(_, hash)| hash.to_owned()).expect("it printed its trace's hash")
    };
    let own = format!("{:016x}", run(seed, Faults::default()).trace_hash);
    assert_eq!(of_another_process(), own, "seed {seed}");
}

/// If the judge does not notice a broker that acknowledges before its write is stable, its silence about the real one means nothing.
#[test]
fn a_broker_that_acknowledges_too_early_is_caught() {
    for mutant in [Mutant::StableBeforeWrite, Mutant::WriteNotDurable] {
        mutants::select(Some(mutant));
        let caught = (1..=SEEDS_FOR_A_MUTANT).find(|seed| !run(*seed, Faults::default()).violations.is_empty());
        mutants::select(None);
        assert!(caught.is_some(), "{mutant:?} went unnoticed for {SEEDS_FOR_A_MUTANT} seeds");
        println!("{mutant:?}: caught by seed {}", caught.unwrap_or_default());
    }
}

/// The same from outside: a correct broker on a disk that ignores flushes loses records, and the judge says so.
#[test]
fn a_disk_that_ignores_flushes_is_caught() {
    let faults = Faults { lying_disk: true, ..Faults::default() };
    let caught = (1..=SEEDS_FOR_A_MUTANT).find(|seed| !run(*seed, faults).violations.is_empty());
    assert!(caught.is_some(), "a lying disk went unnoticed for {SEEDS_FOR_A_MUTANT} seeds");
}
