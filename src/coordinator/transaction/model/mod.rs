//! The machine against chaos: random producers with zombies among them, timeouts, lost replies, crashes at any point of the log, markers
//! that are lost, repeated and out of order. Seeded; a failing seed is printed.
//!
//! `world` has the coordinator with its log and the partitions; `producer` the clients. What must hold is checked where it happens:
//! a producer that was shut out never gets an OK; records of one transaction have one outcome in all partitions, and the one that the
//! producer was told; no transaction is open past its timeout.

mod partition;
mod producer;
mod world;

use super::TransactionVersion;
use super::test_kit::Random;
use producer::Producer;
use world::World;

const SEEDS: u64 = 300;
const STEPS: usize = 3_000;
/// Of two transactional ids.
const PRODUCERS: usize = 4;

/// Each of the rules holds alone in its own story; what breaks exactly-once is what two of them do together.
#[test]
fn transactions_have_one_outcome_whatever_happens() {
    let mut committed = 0;
    for seed in 0..SEEDS {
        let version = if seed % 2 == 0 { TransactionVersion::Two } else { TransactionVersion::Zero };
        let mut world = World::new(seed, version);
        let mut producers: Vec<Producer> =
            (0..PRODUCERS).map(|number| Producer::new(format!("tx-{}", number % 2).into(), version)).collect();
        let mut random = Random(seed.wrapping_mul(77) + 1);
        for _ in 0..STEPS {
            match random.below(20) {
                0..12 => producers[random.below(PRODUCERS)].act(&mut world, &mut random),
                12..15 => world.some_becomes_stable(),
                15..18 => world.deliver_a_marker(),
                18 => world.time_passes(),
                _ if random.one_in(8) => world.crash(),
                _ => {}
            }
        }
        world.settle();
        committed += world.check_outcomes();
    }
    assert!(committed > 2 * SEEDS as usize, "{committed} transactions committed: the chaos tests nothing");
}
