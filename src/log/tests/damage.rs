//! What a log does about damage and failing disks: it says where, what it found and what to do, removes nothing, and serves what is sound.

use bytes::Bytes;
use ringlane_log::{AppendBatch, AppendError, DataDir, Log, LogId, LogOptions, OpenError, ShardLogs, ShardLogsOptions};
use ringlane_protocol::TopicId;
use ringlane_protocol::records::{BatchBuilder, BatchHeader, Compression};
use ringlane_runtime::sim::{DiskOptions, LocalMain, NodeId, Sim, SimOptions};
use std::cell::RefCell;
use std::future::Future;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

const LOG: &str = "/data/orders-0/00000000000000000000.log";
/// Of each batch: 20 KB.
const VALUE_BYTES: usize = 20_000;
const JOURNAL_FILE_BYTES: u64 = 256 << 10;

fn sim() -> (Sim, NodeId) {
    let mut sim = Sim::new(1, SimOptions::default());
    let node = sim.add_node();
    (sim, node)
}

fn run<T: 'static>(sim: &mut Sim, node: NodeId, work: impl Future<Output = T> + 'static) -> T {
    let result = Rc::new(RefCell::new(None));
    let into = result.clone();
    let main: LocalMain = Box::new(|| Box::pin(async move { into.replace(Some(work.await)).map_or((), drop) }));
    sim.start_local(node, vec![main]);
    assert!(sim.run_until(Duration::from_secs(600), |sim| !sim.is_running(node)), "it ends");
    result.take().expect("it ended")
}

fn batch(offset: i64) -> AppendBatch {
    let mut builder = BatchBuilder::new(Compression::None).base_offset(offset);
    builder.push(1_000 + offset, None, Some(&[offset as u8; VALUE_BYTES]), &[]);
    let bytes = Bytes::from(builder.finish().expect("builds"));
    AppendBatch::new(&BatchHeader::parse(&bytes).expect("was built"), bytes)
}

struct Opened {
    data_dir: DataDir,
    shard: ShardLogs,
    log: Log,
}

async fn open(topic_id: u8, options: LogOptions) -> Result<Opened, OpenError> {
    let data_dir = DataDir::open(Path::new("/data")).await?;
    let shard = ShardLogs::start(ShardLogsOptions {
        journal_file_bytes: JOURNAL_FILE_BYTES,
        ..ShardLogsOptions::of(&data_dir, [5; 16]).await
    });
    let id = LogId { topic: "orders".to_owned(), topic_id: TopicId([topic_id; 16]), partition: 0 };
    let log = shard.open(id, options, false, &mut ()).await?;
    shard.begin().await.expect("the journal begins");
    Ok(Opened { data_dir, shard, log })
}

/// Appends batches `from..to` and waits until they are stable.
async fn append(opened: &Opened, from: i64, to: i64) {
    for offset in from..to {
        opened.log.append(batch(offset)).expect("a sound log");
    }
    while opened.log.stable_offset() < to {
        opened.shard.next_stable().await;
    }
}

async fn close(opened: Opened) {
    opened.shard.close().await.expect("a sound log closes");
    opened.data_dir.close().await.expect("leaves its marker");
}

fn write_batches(sim: &mut Sim, node: NodeId, batches: i64, clean: bool) {
    run(sim, node, async move {
        let opened = open(7, LogOptions::default()).await.expect("opens");
        append(&opened, 0, batches).await;
        if clean {
            close(opened).await;
        }
    });
}

fn flip_in_batch(sim: &mut Sim, node: NodeId, batch: u64) {
    let position = batch * (VALUE_BYTES as u64 + 80) + 500;
    sim.flip_bit(node, Path::new(LOG), position * 8).expect("the file is there");
}

/// Cutting the log at a bad batch in its middle would silently delete acknowledged records behind it.
#[test]
fn damage_before_acknowledged_batches_takes_the_log_offline_and_removes_nothing() {
    let (mut sim, node) = sim();
    write_batches(&mut sim, node, 200, false);
    flip_in_batch(&mut sim, node, 10);
    let before = sim.file_content(node, Path::new(LOG)).unwrap();

    let refused = run(&mut sim, node, async { open(7, LogOptions::default()).await.err() }).expect("is refused");

    let OpenError::Corrupt { position, next_good: Some(_), .. } = &refused else { panic!("{refused}") };
    assert!(refused.to_string().contains(LOG) && refused.to_string().contains("move the folder away"), "{refused}");
    assert!(*position / (VALUE_BYTES as u64) == 10, "{refused}");
    assert_eq!(sim.file_content(node, Path::new(LOG)).unwrap(), before);
}

/// After an orderly stop there is no torn write: even the last batch must not be cut.
#[test]
fn after_an_orderly_stop_any_bad_batch_is_damage() {
    let (mut sim, node) = sim();
    write_batches(&mut sim, node, 5, true);
    flip_in_batch(&mut sim, node, 4);
    let refused = run(&mut sim, node, async { open(7, LogOptions::default()).await.err() });
    assert!(matches!(refused, Some(OpenError::Corrupt { next_good: None, .. })), "{refused:?}");
}

/// The last write of a crashed process may be torn; refusing to start for that would be an outage for nothing.
#[test]
fn after_a_crash_a_bad_last_batch_is_cut() {
    let (mut sim, node) = sim();
    write_batches(&mut sim, node, 5, false);
    flip_in_batch(&mut sim, node, 4);
    let end = run(&mut sim, node, async { open(7, LogOptions::default()).await.map(|opened| opened.log.end_offset()) });
    assert_eq!(end.expect("opens"), 4);
}

/// A topic deleted and made again under the same name must not show the old one's records.
#[test]
fn the_folder_of_another_topic_id_is_refused() {
    let (mut sim, node) = sim();
    write_batches(&mut sim, node, 5, true);
    let refused = run(&mut sim, node, async { open(8, LogOptions::default()).await.err() }).expect("is refused");
    assert!(matches!(refused, OpenError::OtherTopic { .. }), "{refused}");
    assert!(refused.to_string().contains("/data/orders-0"), "{refused}");
}

/// A full disk must be told to whoever appends, leave readers alone, lose nothing, and be over when there is space again.
#[test]
fn a_full_disk_refuses_appends_with_a_reason_until_there_is_space() {
    let (mut sim, node) = sim();
    let small = DiskOptions { capacity_bytes: 4 << 20, ..DiskOptions::default() };
    sim.set_disk(node, small);
    let stable = run(&mut sim, node, async {
        let opened = open(7, LogOptions::default()).await.expect("opens");
        let mut end = 0;
        let refused = loop {
            match opened.log.append(batch(end)) {
                Ok(()) => end += 1,
                Err(refused) => break refused,
            }
            // Somebody who waits for each ack, so that the disk has the time to fill.
            while opened.log.stable_offset() < end && opened.log.append(batch(end)).is_ok() {
                end += 1;
                ringlane_runtime::sleep(Duration::from_millis(20)).await;
            }
        };
        let AppendError::Full(full) = &refused else { panic!("{refused}") };
        assert!(full.to_string().contains("/data") && full.to_string().contains("appends are refused"), "{full}");
        let stable = opened.log.stable_offset();
        assert!(stable > 50, "most of the disk was used: {stable}");
        for offset in 0..stable {
            let data = opened.log.read(offset, stable, 1, true).await.expect("reads go on");
            assert_eq!(data.slices.concat(), batch(offset).bytes);
        }
        stable
    });
    sim.set_disk(node, DiskOptions::default());
    run(&mut sim, node, async move {
        let opened = open(7, LogOptions::default()).await.expect("opens");
        assert!(opened.log.end_offset() >= stable, "nothing acknowledged is lost");
        let end = opened.log.end_offset();
        append(&opened, end, end + 10).await;
        close(opened).await;
    });
}
