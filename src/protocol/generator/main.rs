//! Writes `src/protocol/generated/` from `src/protocol/schema/`. A developer's tool; its output is committed, and
//! `tests/generated.rs` tells when it is stale.
#![allow(clippy::disallowed_methods)] // Reads and writes the source tree, outside every shard.

mod emit;
mod files;
mod schema;

fn main() {
    let written = files::write_stale(&files::expected());
    println!("{} files written", written.len());
}
