//! Control batches: the markers that end transactions.

/// What a control record says: its key is `version i16, type i16`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ControlType {
    Abort,
    Commit,
}
