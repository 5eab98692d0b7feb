//! Damage to a stopped log, and the ways out: what `verify` says of it, what a repair takes away, and that a crash in the middle of a repair
//! costs no more than doing it again.

mod journals;

use bytes::Bytes;
use ringlane_log::offline::repair::{self, Remedy, RepairPlan};
use ringlane_log::offline::verify::{self, VerifyOptions};
use ringlane_log::offline::{Directory, OfflineError, PartitionReport, Severity};
use ringlane_log::{AppendBatch, DataDir, LogId, LogOptions, RetentionOptions, ShardLogs, ShardLogsOptions};
use ringlane_protocol::TopicId;
use ringlane_protocol::records::{BatchBuilder, BatchHeader, Compression, batches};
use ringlane_runtime::fs;
use ringlane_runtime::sim::{LocalMain, NodeId, Sim, SimOptions};
use std::cell::RefCell;
use std::future::Future;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

const FOLDER: &str = "/data/orders-0";
const BATCHES: i64 = 200;
const RECORDS_PER_BATCH: i64 = 10;
/// Of each batch: 20 KB, so that a segment of 1 MiB has some fifty.
const VALUE_BYTES: usize = 2_000;
/// Moments of a repair at which the power goes.
const CRASHES: u32 = 40;
const OPTIONS: LogOptions = LogOptions {
    segment_bytes: 1 << 20,
    stable_mode: ringlane_log::StableMode::Durable,
    flush_ms: 100,
    segment_ms: i64::MAX,
    segment_index_bytes: 1 << 20,
    index_interval_bytes: 4096,
    uses_reserve: false,
    retention: RetentionOptions::DEFAULT,
};

fn batch(number: i64) -> Vec<u8> {
    let mut builder = BatchBuilder::new(Compression::None).base_offset(number * RECORDS_PER_BATCH);
    for _ in 0..RECORDS_PER_BATCH {
        builder.push(1_000 + number, None, Some(&[number as u8; VALUE_BYTES]), &[]);
    }
    builder.finish().expect("builds")
}

fn run<T: 'static>(sim: &mut Sim, node: NodeId, work: impl Future<Output = T> + 'static) -> T {
    let result = start(sim, node, work);
    assert!(sim.run_until(Duration::from_secs(600), |sim| !sim.is_running(node)), "it ends");
    result.take().expect("it ended")
}

fn start<T: 'static>(sim: &mut Sim, node: NodeId, work: impl Future<Output = T> + 'static) -> Rc<RefCell<Option<T>>> {
    let result = Rc::new(RefCell::new(None));
    let into = result.clone();
    let main: LocalMain = Box::new(|| Box::pin(async move { into.replace(Some(work.await)).map_or((), drop) }));
    sim.start_local(node, vec![main]);
    result
}

async fn with_log<T, F: Future<Output = T>>(work: impl FnOnce(ShardLogs, ringlane_log::Log) -> F) -> T {
    let data_dir = DataDir::open(Path::new("/data")).await.expect("opens");
    let options = ShardLogsOptions { journal_file_bytes: 256 << 10, ..ShardLogsOptions::of(&data_dir, [5; 16]).await };
    let shard = ShardLogs::start(options);
    let id = LogId { topic: "orders".to_owned(), topic_id: TopicId([7; 16]), partition: 0 };
    let log = shard.open(id, OPTIONS, false, &mut ()).await.expect("opens");
    shard.begin().await.expect("the journal begins");
    let result = work(shard.clone(), log).await;
    shard.close().await.expect("closes");
    data_dir.close().await.expect("leaves its marker");
    result
}

/// A node with four segments, stopped in order.
fn stopped(seed: u64) -> (Sim, NodeId) {
    let mut sim = Sim::new(seed, SimOptions::default());
    let node = sim.add_node();
    run(
        &mut sim,
        node,
        with_log(|shard, log| async move {
            for number in 0..BATCHES {
                let bytes = Bytes::from(batch(number));
                log.append(AppendBatch::new(&BatchHeader::parse(&bytes).expect("was built"), bytes)).expect("appends");
            }
            while log.stable_offset() < log.end_offset() {
                shard.next_stable().await;
            }
        }),
    );
    (sim, node)
}

fn segment_bases(sim: &Sim, node: NodeId) -> Vec<i64> {
    let entries = sim.directory_entries(node, Path::new(FOLDER)).expect("is there");
    let name = |path: &Path| path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
    entries.iter().filter_map(|path| name(path)?.strip_suffix(".log")?.parse().ok()).collect()
}

fn file(base: i64, kind: &str) -> String {
    format!("{FOLDER}/{base:020}.{kind}")
}

/// Flips a bit in the batch with this number; gives its segment and position.
fn damage(sim: &mut Sim, node: NodeId, number: i64) -> (i64, u64) {
    let base = *segment_bases(sim, node).iter().rfind(|base| **base <= number * RECORDS_PER_BATCH).expect("is there");
    let before: usize = (base / RECORDS_PER_BATCH..number).map(|number| batch(number).len()).sum();
    sim.flip_bit(node, Path::new(&file(base, "log")), (before as u64 + 500) * 8).expect("flips");
    (base, before as u64)
}

fn verified(sim: &mut Sim, node: NodeId) -> PartitionReport {
    run(sim, node, async {
        let directory = Directory::open(Path::new("/data")).await.expect("nobody has it");
        let folder = directory.partition("orders-0").await.expect("is there");
        let options = VerifyOptions { deep: true, stopped_clean: directory.stopped_clean() };
        verify::partition(&folder, options, &mut |_| {}).await
    })
}

fn wrong(report: &PartitionReport) -> Vec<String> {
    let wrong = report.findings.iter().filter(|finding| finding.severity == Severity::Wrong);
    wrong.map(ToString::to_string).collect()
}

async fn repaired(remedy: Remedy) -> RepairPlan {
    let plan = repair::plan(Path::new(FOLDER), remedy).await.expect("plans");
    repair::apply(&plan, &mut |_| {}).await.expect("applies");
    plan
}

/// Numbers of the batches that a broker finds, each byte for byte as it was.
fn numbers_found(sim: &mut Sim, node: NodeId) -> Vec<i64> {
    run(
        sim,
        node,
        with_log(|_, log| async move {
            let mut numbers = Vec::new();
            let mut from = log.start_offset();
            while from < log.end_offset() {
                let data = log.read(from, log.end_offset(), 100_000, true).await.expect("reads");
                let bytes = data.slices.concat();
                for found in batches(&bytes).map(|batch| batch.expect("a whole batch")) {
                    let number = found.header.base_offset / RECORDS_PER_BATCH;
                    assert_eq!(found.bytes(), batch(number));
                    numbers.push(number);
                    from = found.header.next_offset();
                }
            }
            numbers
        }),
    )
}

/// A check that cries wolf is switched off.
#[test]
fn a_log_that_was_stopped_in_order_is_sound() {
    let (mut sim, node) = stopped(1);
    let report = verified(&mut sim, node);
    assert_eq!(report.findings, []);
    assert_eq!((report.batches, report.records, report.end_offset), (200, 2_000, 2_000));
    assert_eq!(report.segments, 4);
}

/// A broker that starts while its logs are being cut would write into them.
#[test]
fn a_directory_in_use_is_refused_with_its_holder() {
    let (mut sim, node) = stopped(1);
    let refused = run(&mut sim, node, with_log(|_, _| async { Directory::open(Path::new("/data")).await.err() }));
    let Some(OfflineError::InUse { .. }) = &refused else { panic!("{refused:?}") };
    assert!(refused.unwrap().to_string().contains("locked by process"));
}

/// Each kind of damage has its place and its way out in the message; otherwise the only way out that people find is to delete the topic.
#[test]
fn damage_is_named_with_its_place_and_cure() {
    let (mut sim, node) = stopped(1);
    let (base, position) = damage(&mut sim, node, 70);
    let found = wrong(&verified(&mut sim, node));
    assert_eq!(found.len(), 1, "{found:?}");
    let place = format!("{}: byte {position}: bad batch: its CRC32C", file(base, "log"));
    assert!(found[0].starts_with(&place) && found[0].contains("from offset 700 to offset 710"), "{}", found[0]);
    assert!(found[0].contains("ringlane log repair"), "{}", found[0]);

    let (mut sim, node) = stopped(1);
    sim.flip_bit(node, Path::new(&file(0, "index")), 6 * 8).expect("flips");
    let second = segment_bases(&sim, node)[1];
    run(&mut sim, node, async move {
        let other = fs::read(Path::new(&file(0, "timeindex"))).await.expect("reads");
        fs::write_atomic(Path::new(&file(second, "timeindex")), &other).await.expect("writes");
        for (name, content) in [
            ("00000000000000000400.snapshot", &b"\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00"[..]),
            ("leader-epoch-checkpoint", b"0\n1\n0 99999\n"),
            ("00000000000000000000.txnindex", b"\x00\x01"),
            ("notes.txt", b"?"),
        ] {
            fs::write_atomic(&Path::new(FOLDER).join(name), content).await.expect("writes");
        }
    });
    let report = verified(&mut sim, node);
    let found = wrong(&report);
    for (name, what) in [
        ("00000000000000000000.index", "--indexes"),
        ("00000000000000000400.snapshot", "CRC32C"),
        ("leader-epoch-checkpoint", "begins at 99999, but the log ends at 2000"),
        ("00000000000000000000.txnindex", "format version 1"),
    ] {
        assert!(found.iter().any(|found| found.contains(name) && found.contains(what)), "{name}: {found:?}");
    }
    assert!(found.iter().any(|found| found.contains(&file(second, "timeindex"))), "{found:?}");
    assert!(report.findings.iter().any(|note| note.severity == Severity::Note && note.found == "unknown file"));
}

/// A power cut leaves a torn end; called damage, it would send people to restore a log that the next start mends by itself.
#[test]
fn a_write_cut_short_is_no_damage_without_an_orderly_stop() {
    let (mut sim, node) = stopped(1);
    damage(&mut sim, node, BATCHES - 1);
    assert_eq!(wrong(&verified(&mut sim, node)).len(), 1, "it was stopped in order");
    run(&mut sim, node, async { fs::remove_file(Path::new("/data/clean-shutdown")).await.expect("removes") });
    let report = verified(&mut sim, node);
    assert!(report.is_sound(), "{:?}", report.findings);
    assert!(report.findings.iter().any(|note| note.found.contains("bad batch")), "{:?}", report.findings);
}

/// The broker must start on what a repair left, with everything that the repair said it would keep, and nothing else.
#[test]
fn a_repaired_log_holds_what_was_promised() {
    for (remedy, kept) in [
        (Remedy::TruncateAtDamage, (0..70).collect::<Vec<i64>>()),
        (Remedy::DropDamaged, (0..BATCHES).filter(|number| ![70, 71, 130].contains(number)).collect()),
    ] {
        let (mut sim, node) = stopped(1);
        let (base, position) = damage(&mut sim, node, 70);
        damage(&mut sim, node, 71);
        damage(&mut sim, node, 130);
        let before = sim.file_content(node, Path::new(&file(base, "log"))).expect("is there");

        let plan = run(&mut sim, node, async move { repair::plan(Path::new(FOLDER), remedy).await.expect("plans") });
        assert_eq!(sim.file_content(node, Path::new(&file(base, "log"))).unwrap(), before, "a plan changes nothing");
        let batch_bytes = batch(70).len() as u64;
        assert_eq!(plan.lost.damaged_bytes, 3 * batch_bytes);
        let good_lost = BATCHES - 3 - kept.len() as i64;
        assert_eq!(plan.lost.good_records as i64, good_lost * RECORDS_PER_BATCH);
        assert_eq!(plan.lost.good_bytes as i64, good_lost * batch_bytes as i64);
        assert_eq!(plan.end_offset, (2_000, (kept[kept.len() - 1] + 1) * RECORDS_PER_BATCH));

        run(&mut sim, node, repaired(remedy));
        let report = verified(&mut sim, node);
        assert_eq!(wrong(&report), Vec::<String>::new(), "{remedy:?}");
        let saved = sim.file_content(node, Path::new(&format!("{}.{position}.cut", file(base, "log")))).expect("kept");
        let end = if remedy == Remedy::DropDamaged { position + 2 * batch_bytes } else { before.len() as u64 };
        assert_eq!(saved, before[position as usize..end as usize]);
        assert_eq!(numbers_found(&mut sim, node), kept, "{remedy:?}");
    }
}

/// Indexes that lead nowhere are made anew, and nothing else is touched.
#[test]
fn indexes_are_made_anew_as_the_log_had_them() {
    let (mut sim, node) = stopped(1);
    let second = segment_bases(&sim, node)[1];
    let right = [file(0, "index"), file(second, "timeindex")];
    let before: Vec<_> = right.iter().map(|path| sim.file_content(node, Path::new(path)).expect("is there")).collect();
    sim.flip_bit(node, Path::new(&right[0]), 6 * 8).expect("flips");
    let removed = right[1].clone();
    run(&mut sim, node, async move { fs::remove_file(Path::new(&removed)).await.expect("removes") });
    assert_eq!(wrong(&verified(&mut sim, node)).len(), 2);

    let plan = run(&mut sim, node, repaired(Remedy::Indexes));

    assert_eq!(plan.actions.len(), 2, "{:?}", plan.actions);
    for (path, before) in right.iter().zip(before) {
        assert_eq!(sim.file_content(node, Path::new(path)).expect("is there"), before);
    }
    assert_eq!(verified(&mut sim, node).findings, []);
}

/// The machine that needs a repair is one that crashes. Whatever moment the power goes, the same repair again must come to the same end.
#[test]
fn a_repair_that_is_cut_short_is_done_again() {
    for (remedy, kept) in [
        (Remedy::TruncateAtDamage, (0..70).collect::<Vec<i64>>()),
        (Remedy::DropDamaged, (0..BATCHES).filter(|number| ![70, 130].contains(number)).collect()),
    ] {
        let (mut sim, node) = stopped(0);
        damage(&mut sim, node, 70);
        damage(&mut sim, node, 130);
        let began = sim.now();
        run(&mut sim, node, repaired(remedy));
        let whole = sim.now().since(began);
        for seed in 0..CRASHES {
            let (mut sim, node) = stopped(seed.into());
            damage(&mut sim, node, 70);
            damage(&mut sim, node, 130);
            let ended = start(&mut sim, node, repaired(remedy));
            sim.run_for(whole * seed / CRASHES);
            assert!(ended.borrow().is_none() || seed > CRASHES / 2, "the moments do not reach over the whole repair");
            sim.crash(node);
            run(&mut sim, node, repaired(remedy));
            // An index that went before its segment changed is the one thing that a second repair cannot see.
            run(&mut sim, node, repaired(Remedy::Indexes));
            assert_eq!(wrong(&verified(&mut sim, node)), Vec::<String>::new(), "{remedy:?}, seed {seed}");
            assert_eq!(numbers_found(&mut sim, node), kept, "{remedy:?}, seed {seed}");
        }
    }
}
