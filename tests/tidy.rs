//! The style as a test (`/src` layers, words that belong to one room, file lengths, unfinished code, the README's map). Each message
//! says what to write instead.
#![expect(clippy::disallowed_methods, reason = "reads the repository, not the broker's data")]

use std::fs;
use std::path::{Path, PathBuf};

/// The rooms, each of which may depend only on those before it.
const LAYERS: [&str; 11] = [
    "protocol",
    "config",
    "metrics",
    "runtime",
    "log",
    "partition",
    "coordinator",
    "metadata",
    "client",
    "broker",
    "cli",
];

/// A file past this is a folder of rooms that nobody has made yet.
const LINES_MAX: usize = 800;
/// Files that may be longer, and why.
const LONG_FILES: &[(&str, &str)] = &[];

/// A crate that depends on one below it makes a circle that the compiler sees only when it is closed.
#[test]
fn crates_depend_only_on_the_layers_above() {
    let mut wrong = Vec::new();
    for (at, room) in LAYERS.iter().enumerate() {
        let manifest = read(&root().join(format!("src/{room}/Cargo.toml")));
        for name in dependencies(&manifest) {
            let Some(used) = name.strip_prefix("ringlane-") else { continue };
            if !LAYERS[..at].contains(&used) {
                wrong.push(format!("src/{room} depends on {used}: move what it needs into {room} or a crate above it"));
            }
        }
    }
    for room in rooms() {
        if !LAYERS.contains(&room.as_str()) {
            wrong.push(format!("src/{room} is in no layer: give it a place in LAYERS and in the README's map"));
        }
    }
    report(wrong);
}

/// The engine can be replaced, and the broker run in the simulator, only while one room knows the machine.
#[test]
fn only_the_runtime_knows_the_machine() {
    let mut wrong = Vec::new();
    for room in rooms().iter().filter(|room| *room != "runtime") {
        for name in dependencies(&read(&root().join(format!("src/{room}/Cargo.toml")))) {
            if ["glommio", "libc", "io-uring", "core_affinity", "tokio", "nix", "rustix"].contains(&name.as_str()) {
                wrong.push(format!(
                    "src/{room}/Cargo.toml names {name}: add what you need to src/runtime and call that"
                ));
            }
        }
    }
    for source in sources() {
        if source.path.starts_with("src/runtime/") {
            continue;
        }
        for (number, line) in source.code_lines() {
            let at = format!("{}:{number}", source.path);
            if ["glommio::", "libc::", "io_uring::"].iter().any(|word| line.contains(word)) {
                wrong.push(format!("{at} names the machine: call ringlane_runtime instead"));
            }
            if words(&line).any(|word| word == "unsafe") {
                wrong.push(format!("{at} has unsafe code: it belongs to src/runtime, behind a safe function"));
            }
        }
    }
    report(wrong);
}

/// What is unfinished looks finished to whoever calls it.
#[test]
fn nothing_is_left_unfinished() {
    let marks = [
        ("todo!(", "write it, or leave the function out"),
        ("unimplemented!(", "write it, or return an error"),
        ("dbg!(", "use tracing::debug!"),
        ("#[ignore", "make the test pass, or delete it"),
        ("allow(dead_code", "delete what nobody calls"),
        ("allow(unused", "delete what nobody uses"),
    ];
    let mut wrong = Vec::new();
    for source in sources() {
        for (number, line) in source.code_lines() {
            for (mark, instead) in marks.iter().filter(|(mark, _)| line.contains(mark)) {
                wrong.push(format!("{}:{number}: {mark} - {instead}", source.path));
            }
        }
    }
    report(wrong);
}

/// A reader who opens a file in the middle must learn from its first line what it owns.
#[test]
fn files_are_short_and_say_what_they_are() {
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| !source.path.contains("/generated/")) {
        let lines = source.text.lines().count();
        if lines > LINES_MAX && !LONG_FILES.iter().any(|(path, _)| *path == source.path) {
            wrong.push(format!("{}: {lines} lines; make it a folder of the same name with rooms inside", source.path));
        }
        if !source.text.starts_with("//!") {
            wrong
                .push(format!("{}: open it with //! what it owns, which shard it lives on, who calls it", source.path));
        }
    }
    for (path, _) in LONG_FILES {
        if !root().join(path).is_file() {
            wrong.push(format!("{path} is gone: take it off LONG_FILES"));
        }
    }
    report(wrong);
}

/// A map that lacks a room is one that nobody trusts.
#[test]
fn the_readme_names_every_room() {
    let readme = read(&root().join("README.md"));
    let missing = rooms().into_iter().filter(|room| !readme.contains(&format!("`src/{room}`")));
    report(missing.map(|room| format!("README.md: the map lacks `src/{room}`")).collect());
}

/// A dependency without a reason in the README is one that nobody weighed.
#[test]
fn the_readme_gives_a_reason_for_every_dependency() {
    let readme = read(&root().join("README.md"));
    let mut wrong = Vec::new();
    for room in rooms() {
        for name in dependencies(&read(&root().join(format!("src/{room}/Cargo.toml")))) {
            if !name.starts_with("ringlane-") && !readme.contains(&format!("`{name}`")) {
                wrong.push(format!("README.md: the table of dependencies lacks `{name}` (src/{room})"));
            }
        }
    }
    report(wrong);
}

struct Source {
    /// From the repository's root.
    path: String,
    text: String,
}

impl Source {
    /// Numbered lines without comments and without what stands between quotes.
    fn code_lines(&self) -> impl Iterator<Item = (usize, String)> {
        self.text.lines().enumerate().map(|(at, line)| {
            let unquoted: String = line.split('"').step_by(2).collect();
            (at + 1, unquoted.split("//").next().unwrap_or_default().to_owned())
        })
    }
}

/// Every Rust file of the repository.
fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    for folder in ["src", "tests", "bench"] {
        collect(&root().join(folder), &mut found);
    }
    assert!(found.len() > 20, "the sources are not where this test looks");
    found.sort();
    let relative = |path: &Path| path.strip_prefix(root()).expect("found below it").to_string_lossy().into_owned();
    found.into_iter().map(|path| Source { path: relative(&path), text: read(&path) }).collect()
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of the repository") {
        let path = entry.expect("an entry of a folder").path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Folders of `src` that are crates.
fn rooms() -> Vec<String> {
    let entries = fs::read_dir(root().join("src")).expect("src");
    let mut rooms: Vec<String> = entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            entry.path().join("Cargo.toml").is_file().then(|| entry.file_name().to_string_lossy().into_owned())
        })
        .collect();
    rooms.sort();
    rooms
}

/// Names under `[dependencies]`; tests may use what they like.
fn dependencies(manifest: &str) -> Vec<String> {
    let lines = manifest.lines().skip_while(|line| line.trim() != "[dependencies]").skip(1);
    let names = lines.take_while(|line| !line.starts_with('[')).filter_map(|line| line.split(['.', '=', ' ']).next());
    names.filter(|name| !name.is_empty() && !name.starts_with('#')).map(str::to_owned).collect()
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_alphanumeric() && c != '_')
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn report(wrong: Vec<String>) {
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}
