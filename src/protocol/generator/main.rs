//! Writes `src/protocol/generated/` from `src/protocol/schema/`. A developer's tool; its output is committed, and
//! `tests/messages/committed.rs` tells when it is stale.
#![allow(clippy::disallowed_methods)] // Reads and writes the source tree, outside every shard.

mod emit;
mod files;
mod schema;

fn main() {
    let expected = files::expected();
    let stale = files::stale(&expected);
    for path in &stale {
        std::fs::create_dir_all(path.parent().expect("generated files lie in a folder")).expect("folder can be made");
        std::fs::write(path, &expected[path]).expect("generated file can be written");
    }
    println!("{} files written", stale.len());
}
