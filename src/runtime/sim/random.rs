//! Random bytes of the running shard, as the facade's `random` calls them.

use crate::context::current_sim;

pub(crate) fn fill(bytes: &mut [u8]) {
    current_sim().fill_random(bytes);
}
