//! Signals.
pub(crate) async fn next_signal() -> crate::Signal {
    todo!()
}
