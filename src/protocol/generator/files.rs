//! Which files there should be, and which differ from what is there.

use crate::{emit, schema};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Every API of every schema file, by key.
pub fn apis() -> Vec<schema::Api> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(Path::new(ROOT).join("schema"))
        .expect("src/protocol/schema is readable")
        .map(|entry| entry.expect("src/protocol/schema is readable").path())
        .collect();
    paths.sort();
    let texts = paths.iter().map(|path| std::fs::read_to_string(path).expect("a schema is readable text"));
    let mut apis: Vec<schema::Api> = texts.flat_map(|text| schema::parse(&text)).collect();
    apis.sort_by_key(|api| api.key);
    apis
}

/// Path and content of every generated file.
pub fn expected() -> BTreeMap<PathBuf, String> {
    let folder = Path::new(ROOT).join("generated");
    let apis = apis();
    let modules = apis.iter().map(|api| (folder.join(api.module() + ".rs"), emit::module(api)));
    modules.chain([(folder.join("mod.rs"), emit::index(&apis))]).collect()
}

pub fn stale(expected: &BTreeMap<PathBuf, String>) -> Vec<PathBuf> {
    let differs = |path: &Path, content: &str| std::fs::read_to_string(path).is_ok_and(|found| found == content);
    expected.iter().filter(|(path, content)| !differs(path, content)).map(|(path, _)| path.clone()).collect()
}
