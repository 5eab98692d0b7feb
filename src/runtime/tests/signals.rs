//! Signals belong to the whole process, so this test has one of its own.

use ringlane_runtime::ring::{RingOptions, allowed_cores, run};
use ringlane_runtime::{Signal, next_signal, sleep};
use std::time::Duration;

/// Without this a broker would die of SIGTERM with its tail unsynced, and of SIGHUP or SIGUSR1 at all.
#[test]
fn each_signal_reaches_shard_0_once() {
    let cores = vec![allowed_cores()[0]; 2];
    let options = RingOptions { cores, pool_bytes_per_shard: 0, spin_us: 0 };
    let main = || async {
        for (number, expected) in [
            (libc::SIGTERM, Signal::Stop),
            (libc::SIGINT, Signal::Stop),
            (libc::SIGHUP, Signal::Reload),
            (libc::SIGUSR1, Signal::Report),
        ] {
            raise(number);
            assert_eq!(next_signal().await, expected);
        }
        // Also when nobody waits yet.
        raise(libc::SIGHUP);
        sleep(Duration::from_millis(20)).await;
        raise(libc::SIGTERM);
        assert_eq!((next_signal().await, next_signal().await), (Signal::Reload, Signal::Stop));
    };
    run(options, vec![Box::new(move || Box::pin(main())), Box::new(|| Box::pin(async {}))]).unwrap();
}

fn raise(signal: libc::c_int) {
    // SAFETY: sends a signal to this process, which handles it.
    assert_eq!(unsafe { libc::kill(libc::getpid(), signal) }, 0);
}
