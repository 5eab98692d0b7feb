//! Stories about the files of a stopped broker: Kafka's own tool reads them, and `ringlane log` says what is in them.
#![expect(clippy::disallowed_methods, reason = "a test looks at files of the real machine")]

use std::path::{Path, PathBuf};

use crate::support::{Broker, Client, Ended, end_of, run};

const RINGLANE: &str = env!("CARGO_BIN_EXE_ringlane");
/// Small enough for several segments of each partition.
const SEGMENT_BYTES: &str = "log.segment.bytes=1048576";
const LINES: usize = 30_000;
/// What the tool says when it is not content; its exit code is 0 all the same.
const COMPLAINTS: [&str; 10] = [
    "Mismatches in",
    "Non-consecutive offsets in",
    "Found timestamp mismatch in",
    "Found out of order timestamp in",
    "indexed offsets are not found in",
    "invalid bytes at the end of",
    "Failed to decode",
    "isvalid: false",
    "orrupt",
    "Exception",
];

/// A data directory with records of every codec in two partitions, written by an idempotent producer, and closed in order.
fn stopped_broker() -> PathBuf {
    let broker = Broker::start(&["-o", SEGMENT_BYTES, "-o", "num.partitions=2"]);
    let brokers = ["--brokers", broker.address()];
    run(RINGLANE, &[&["topic", "create", "orders"][..], &brokers].concat(), "");
    let lines: String = (0..LINES).map(|i| format!("k{}:{}\n", i % 100, format!("value {i} ").repeat(20))).collect();
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        run(RINGLANE, &[&["produce", "orders", "-k", ":", "-z", codec][..], &brokers].concat(), &lines);
    }
    broker.stop_and_keep()
}

fn files_of(folder: &Path, endings: &[&str]) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("a partition's folder").map(|entry| entry.expect("an entry").path());
    let mut files: Vec<String> = entries.map(|path| path.to_string_lossy().into_owned()).collect();
    files.retain(|path| endings.iter().any(|ending| path.ends_with(ending)));
    files.sort();
    files
}

/// Operators have runbooks around Kafka's tool, and auditors believe no other: it must read our logs to the end, without a complaint.
#[test]
fn kafkas_own_dump_tool_reads_a_stopped_directory_without_a_complaint() {
    let data = stopped_broker();
    let mut records = 0;
    for partition in ["orders-0", "orders-1"] {
        let folder = data.join(partition);
        let files = files_of(&folder, &[".log", ".index", ".timeindex", ".snapshot", ".txnindex"]);
        let segments = files.iter().filter(|path| path.ends_with(".log")).count();
        let indexes = files.iter().filter(|path| path.ends_with("index")).count();
        assert!(segments >= 3 && indexes >= 2 * (segments - 1), "{files:?}");
        let dump =
            |options: &[&str]| Client::Java.run("DumpLogSegments", &[options, &["--files", &files.join(",")]].concat());

        let dumped = dump(&["--deep-iteration"]);
        let batches: Vec<&str> = dumped.lines().filter(|line| line.starts_with("baseOffset: ")).collect();
        assert!(batches.len() > 50 && batches.iter().all(|line| line.ends_with("isvalid: true")), "{dumped}");
        records += dumped.lines().filter(|line| line.starts_with("| offset: ")).count();
        for out in [dumped, dump(&["--index-sanity-check"]), dump(&["--verify-index-only"])] {
            let complaint = COMPLAINTS.iter().find(|complaint| out.contains(**complaint));
            assert_eq!(complaint, None, "{out}");
        }
    }
    assert_eq!(records, 5 * LINES);
    remove(&data);
}

/// The commands of a bad day: verify names the damage, dump shows it, repair says what it costs before it does anything, and the broker
/// starts on what is left.
#[test]
fn damage_is_found_shown_and_taken_out() {
    let data = stopped_broker();
    let at = ["--data", data.to_str().expect("text")];
    let verify = |arguments: &[&str]| end_of(RINGLANE, &[&["log", "verify"], arguments, &at].concat(), "");
    let sound = verify(&["--deep"]);
    assert_eq!(sound.code, Some(0), "{}{}", sound.out, sound.errors);
    assert!(
        sound.out.contains("orders-1") && sound.out.contains("sound") && !sound.out.contains("wrong"),
        "{}",
        sound.out
    );

    let first = &files_of(&data.join("orders-0"), &[".log"])[0];
    let batches = run(RINGLANE, &["log", "dump", first, "-f", "json", "-n", "2"], "");
    let position = number_behind(batches.lines().nth(1).expect("two batches"), "\"position\":");
    let offset = number_behind(batches.lines().nth(1).expect("two batches"), "\"base_offset\":");
    let mut bytes = std::fs::read(first).expect("reads");
    bytes[position + 100] ^= 1;
    std::fs::write(first, &bytes).expect("writes");

    let damaged = verify(&["orders-0"]);
    assert_eq!((damaged.code, damaged.out.contains("1 wrong")), (Some(1), true), "{}", damaged.out);
    assert!(damaged.out.contains(&format!("{first}: byte {position}: bad batch")), "{}", damaged.out);
    assert!(
        verify(&["orders-1"]).code == Some(0) && verify(&["orders-0", "-f", "json"]).out.contains("\"sound\":false")
    );
    let Ended { code, out, errors } = end_of(RINGLANE, &["log", "dump", first], "");
    assert!(code == Some(1) && out.contains("damage at byte") && errors.contains("1 damaged places"), "{errors}");

    let repair = |arguments: &[&str]| run(RINGLANE, &[&["log", "repair", "orders-0"], arguments, &at].concat(), "");
    let plan = repair(&["--truncate-at-damage"]);
    assert!(plan.contains(&format!(", then {offset}")) && plan.contains("Nothing was changed"), "{plan}");
    assert_eq!(std::fs::read(first).expect("reads"), bytes);
    assert!(repair(&["--drop-damaged", "--apply"]).contains("Done"));
    assert_eq!(verify(&[]).code, Some(0));
    assert!(repair(&["--indexes"]).contains("nothing to repair"));

    let record = run(
        RINGLANE,
        &["log", "dump", data.join("orders-0").to_str().expect("text"), "--from", "0", "--records", "-n", "1"],
        "",
    );
    assert!(record.contains("  0 at ") && record.contains("\"k"), "{record}");
    remove(&data);
}

/// Cutting files below a broker at work would lose what it acknowledges next.
#[test]
fn logs_of_a_running_broker_are_not_verified() {
    let broker = Broker::start(&[]);
    let data = broker.data();
    let refused = end_of(RINGLANE, &["log", "verify", "--data", data.to_str().expect("text")], "");
    assert_eq!(refused.code, Some(1));
    assert!(refused.errors.contains("in use by process"), "{}", refused.errors);
}

fn number_behind(line: &str, name: &str) -> usize {
    let digits = line.split(name).nth(1).expect("the field");
    digits.split(|c: char| !c.is_ascii_digit()).next().and_then(|digits| digits.parse().ok()).expect("a number")
}

fn remove(data: &Path) {
    std::fs::remove_dir_all(data.parent().expect("the test's directory")).expect("removes what the test made");
}
