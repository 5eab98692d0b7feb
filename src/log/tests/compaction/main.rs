//! Compaction on a simulated disk that loses what was not made durable: random keyed histories with tombstones and transactions, cleaned all the time while
//! they are written and read, and ended by power loss, kill -9 or in order at random points, several times a seed.
//!
//! `RINGLANE_LOG_SEEDS` sets how many seeds run (40), `RINGLANE_LOG_SEED` runs one.

mod aborted;
mod damage;
mod faults;
mod leftovers;
mod life;
mod model;
mod transactions;

use life::{Life, live};
use model::Model;
use ringlane_runtime::sim::{IoFault, IoKind, LocalMain, NodeId, Seed, Sim, SimOptions};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

const SEEDS: u64 = 40;
const LIVES_MAX: u64 = 9;
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

/// Whenever the machine stops, the newest record of each key is there, with its offset and bytes, and so is the last batch of each
/// producer; a tombstone stays for its time; and in the end nothing old is left.
#[test]
fn the_newest_record_of_each_key_survives_cleaning_and_crashes() {
    let seeds = match number_from("RINGLANE_LOG_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number_from("RINGLANE_LOG_SEEDS").unwrap_or(SEEDS),
    };
    let (mut rounds, mut removed, mut markers) = (0, 0, 0);
    for seed in seeds {
        let model = run(seed);
        rounds += model.rounds;
        removed += model.records_removed();
        markers += model.markers_removed();
    }
    assert!(rounds > 0 && removed > 0, "{rounds} rounds removed {removed} records: nothing was tested");
    eprintln!("{rounds} rounds removed {removed} records, of them {markers} markers");
}

/// The order of an exchange means nothing without the syncs between its steps.
#[cfg(feature = "mutants")]
#[test]
fn an_exchange_without_syncs_is_noticed() {
    use ringlane_log::mutants::{Mutant, select};
    select(Some(Mutant::ExchangeWithoutSync));
    let caught = (0..300).find(|seed| std::panic::catch_unwind(|| run(*seed)).is_err());
    select(None);
    eprintln!("noticed at seed {}", caught.expect("it was not noticed"));
}

/// Each rule about transactions, broken, must make some seed fail.
#[cfg(feature = "mutants")]
#[test]
fn a_cleaner_that_forgets_transactions_is_noticed() {
    use ringlane_log::mutants::{Mutant, select};
    for mutant in [Mutant::ForgetAborted, Mutant::MarkerBeforeData] {
        select(Some(mutant));
        let caught = (0..40).find(|seed| std::panic::catch_unwind(|| run(*seed)).is_err());
        select(None);
        eprintln!("{mutant:?}: noticed at seed {}", caught.expect("it was not noticed"));
    }
}

fn run(seed: u64) -> Model {
    let mut choices = Seed::new(seed).derive(1);
    let mut sim = Sim::new(seed, SimOptions::default());
    let node = sim.add_node();
    let model = Rc::new(RefCell::new(Model::new(seed)));
    for _ in 0..choices.within(2..LIVES_MAX) {
        let life = Life::choose(&mut choices);
        let end = match choices.below(8) {
            0..=4 => End::PowerLoss,
            5..=6 => End::Kill,
            _ => End::Orderly,
        };
        run_life(&mut sim, node, &model, life, end, &mut choices);
    }
    let last = Life { operations: 0, cleans_to_the_end: true, disk_fails: false, ..Life::choose(&mut choices) };
    run_life(&mut sim, node, &model, last, End::Orderly, &mut choices);
    model.take()
}

fn run_life(sim: &mut Sim, node: NodeId, model: &Rc<RefCell<Model>>, life: Life, end: End, choices: &mut Seed) {
    model.borrow_mut().begin_life(format!("{life:?} {end:?}"));
    if life.disk_fails {
        let kind = [IoKind::Write, IoKind::Sync, IoKind::Create, IoKind::Rename][choices.below(4) as usize];
        sim.add_io_fault(node, IoFault { kind, path_contains: ".cleaned".to_owned(), probability: 0.2 });
    }
    let main: LocalMain = {
        let model = model.clone();
        Box::new(move || Box::pin(live(model, life)))
    };
    sim.start_local(node, vec![main]);
    end_life(sim, node, model, end, choices);
    sim.clear_io_faults(node);
}

fn end_life(sim: &mut Sim, node: NodeId, model: &Rc<RefCell<Model>>, end: End, choices: &mut Seed) {
    if end == End::Orderly {
        assert!(sim.run_until(LIFE_LIMIT, |sim| !sim.is_running(node)), "the life does not end: {}", model.borrow());
        return;
    }
    if choices.chance(0.9) {
        sim.run_until(LIFE_LIMIT, |_| model.borrow().is_open);
    }
    let millis = choices.within(0..900);
    sim.run_for(Duration::from_micros(millis * millis + choices.below(1000)));
    match sim.is_running(node) {
        true if end == End::PowerLoss => sim.crash(node),
        true => sim.kill(node),
        false => {}
    }
}
