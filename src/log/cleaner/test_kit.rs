//! What the cleaner's unit tests share: a shard to run in.

use ringlane_runtime::sim::{LocalMain, Sim, SimOptions};
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

/// Runs `test` on a simulated shard, where there is randomness.
pub fn in_simulator(test: impl FnOnce() + 'static) {
    let mut sim = Sim::new(1, SimOptions::default());
    let node = sim.add_node();
    let done = Rc::new(Cell::new(false));
    let main: LocalMain = {
        let done = done.clone();
        Box::new(move || {
            Box::pin(async move {
                test();
                done.set(true);
            })
        })
    };
    sim.start_local(node, vec![main]);
    sim.run_until(Duration::from_secs(1), |sim| !sim.is_running(node));
    assert!(done.get(), "the test did not end");
}
