//! Byte budgets of one shard: who wants memory takes it here first and waits, first come first served, when there is none.

use std::rc::Rc;

/// A number of bytes that tasks of one shard share. Cheap to clone.
#[derive(Clone)]
pub struct Budget {
    _inner: Rc<()>,
}

impl Budget {
    /// A request larger than `bytes` would never be served: it is granted alone, when nothing else is held.
    pub fn new(name: &'static str, bytes: usize) -> Budget {
        let _ = (name, bytes);
        todo!()
    }
    pub async fn acquire(&self, bytes: usize) -> Permit {
        let _ = bytes;
        todo!()
    }
    pub fn try_acquire(&self, bytes: usize) -> Option<Permit> {
        let _ = bytes;
        todo!()
    }
    pub fn used_bytes(&self) -> usize {
        todo!()
    }
    pub fn limit_bytes(&self) -> usize {
        todo!()
    }
}

/// Bytes held; given back on drop.
pub struct Permit {
    _inner: (),
}

impl Permit {
    pub fn bytes(&self) -> usize {
        todo!()
    }
}
