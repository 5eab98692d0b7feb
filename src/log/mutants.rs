//! Deliberately broken rules, so that the tests can show that they would notice. Compiled in with the feature `mutants` only.

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mutant {
    /// Offsets are reported stable when their write begins.
    StableBeforeWrite,
    /// In durable mode, writes are plain ones.
    WriteNotDurable,
    /// Recovery believes a batch whose CRC is wrong.
    TrustTornTail,
    /// Truncation leaves the old bytes in the file.
    KeepTruncatedBytes,
    /// The next segment is begun before this one is durable.
    RollWithoutSync,
    /// The journal is released before the segments are durable.
    ReleaseBeforeSync,
    /// What the journal has is appended again, whether the segments have it or not.
    ReplayTwice,
    /// Segments are deleted before the log start offset that says so is durable.
    LogStartNotDurable,
    /// What was read ahead outlives a truncation.
    KeepReadAhead,
    /// Cleaned segments take the place of old ones before that is durable.
    ExchangeWithoutSync,
    /// The cleaner takes records of aborted transactions for committed ones.
    ForgetAborted,
    /// The cleaner lets a marker go while batches of its transaction are there.
    MarkerBeforeData,
}

#[cfg(feature = "mutants")]
std::thread_local! {
    static SELECTED: std::cell::Cell<Option<Mutant>> = const { std::cell::Cell::new(None) };
}

/// Breaks one rule on this thread, or none.
#[cfg(feature = "mutants")]
pub fn select(mutant: Option<Mutant>) {
    SELECTED.set(mutant);
}

#[cfg(feature = "mutants")]
pub(crate) fn is_on(mutant: Mutant) -> bool {
    SELECTED.get() == Some(mutant)
}

#[cfg(not(feature = "mutants"))]
pub(crate) fn is_on(_mutant: Mutant) -> bool {
    false
}
