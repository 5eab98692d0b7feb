//! What the journals of a stopped data directory have to give, before a start takes it.

use super::{FOLDER, RECORDS_PER_BATCH, batch, run, start, with_log};
use bytes::Bytes;
use ringlane_log::AppendBatch;
use ringlane_log::offline::verify::{self, VerifyOptions};
use ringlane_log::offline::{Directory, Finding, JournalEntry, Severity, journal_entries, journals};
use ringlane_protocol::records::BatchHeader;
use ringlane_runtime::sim::{NodeId, Sim, SimOptions};
use ringlane_runtime::{fs, sleep};
use std::path::{Path, PathBuf};
use std::time::Duration;

const APPENDED: i64 = 3;
const JOURNALS: &str = "/data/journal/0";

/// A directory whose process was killed while its last batches were in the journal only.
fn killed() -> (Sim, NodeId) {
    let mut sim = Sim::new(1, SimOptions::default());
    let node = sim.add_node();
    let _ = start(
        &mut sim,
        node,
        with_log(|_, log| async move {
            for number in 0..APPENDED {
                let bytes = Bytes::from(batch(number));
                let header = BatchHeader::parse(&bytes).expect("was built");
                log.append(AppendBatch::new(&header, bytes)).expect("appends");
                while log.stable_offset() < log.end_offset() {
                    sleep(Duration::from_millis(1)).await;
                }
            }
            sleep(Duration::from_secs(600)).await;
        }),
    );
    sim.run_for(Duration::from_millis(100));
    sim.kill(node);
    (sim, node)
}

/// What is found, and where the segments end.
fn looked_at(sim: &mut Sim, node: NodeId) -> (Vec<Finding>, i64) {
    run(sim, node, async {
        let directory = Directory::open(Path::new("/data")).await.expect("opens");
        let report = verify::partition(Path::new(FOLDER), VerifyOptions::default(), &mut |_| {}).await;
        let end_offset = report.end_offset;
        (journals(&directory, &[report]).await, end_offset)
    })
}

/// The first file that has entries.
fn dumped(sim: &mut Sim, node: NodeId) -> (PathBuf, Vec<JournalEntry>) {
    run(sim, node, async {
        for path in fs::read_dir(Path::new(JOURNALS)).await.expect("lists") {
            if path.extension().is_some_and(|extension| extension == "journal") {
                let entries = journal_entries(&path).await.expect("reads");
                if !entries.is_empty() {
                    return (path, entries);
                }
            }
        }
        panic!("no journal has an entry");
    })
}

/// Whoever looks at a log before its start sees it end too early, and must be told where the rest is.
#[test]
fn what_a_start_would_take_from_the_journal_is_told() {
    let (mut sim, node) = killed();
    let (findings, end_offset) = looked_at(&mut sim, node);
    let missing = APPENDED - end_offset / RECORDS_PER_BATCH;
    assert!(missing > 0, "the flusher was too fast");
    assert!(findings.iter().all(|finding| finding.severity == Severity::Note), "{findings:?}");
    let adds = format!("The next start adds {missing} of them, from offset {end_offset} on");
    assert!(findings.iter().any(|finding| finding.cure == adds), "{findings:?}");

    let (_, entries) = dumped(&mut sim, node);
    let offsets: Vec<_> =
        entries.iter().map(|entry| (entry.previous_end, entry.base_offset, entry.next_offset)).collect();
    let expected = (0..APPENDED).map(|n| n * RECORDS_PER_BATCH).map(|at| (at, at, at + RECORDS_PER_BATCH));
    assert_eq!(offsets, expected.collect::<Vec<_>>());
    assert!(entries.iter().all(|entry| entry.is_intact && entry.bytes as usize == batch(0).len()));
    assert_eq!(looked_at(&mut sim, node).0, findings, "a look changes nothing");
}

/// Damage in a journal costs acknowledged records; found before the start, there may still be a copy.
#[test]
fn damage_in_a_journal_is_found() {
    let (mut sim, node) = killed();
    let (path, entries) = dumped(&mut sim, node);
    sim.flip_bit(node, &path, (entries[0].position + 100) * 8).expect("flips");
    let (findings, _) = looked_at(&mut sim, node);
    let wrong: Vec<_> = findings.iter().filter(|finding| finding.severity == Severity::Wrong).collect();
    assert_eq!(wrong.len(), 1, "{findings:?}");
    assert!(wrong[0].found.contains("damaged or missing"), "{}", wrong[0].found);
    let (_, entries) = dumped(&mut sim, node);
    let intact: Vec<bool> = entries.iter().map(|entry| entry.is_intact).collect();
    assert_eq!(intact, [false, true, true]);
}
