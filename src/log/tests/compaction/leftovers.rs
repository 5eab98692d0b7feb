//! Folders as Kafka, or we, leave them when the machine stops in the middle of an exchange of segments.

use super::life::batch_of;
use ringlane_log::{DataDir, EveryBatch, LogId, LogOptions, OpenError, ShardLogs, ShardLogsOptions};
use ringlane_protocol::TopicId;
use ringlane_protocol::records::BatchHeader;
use ringlane_runtime::fs;
use ringlane_runtime::sim::{LocalMain, Sim, SimOptions};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

const FOLDER: &str = "/data/table-0";

/// The single-record batches at `offsets`.
fn batches(offsets: impl IntoIterator<Item = i64>) -> Vec<u8> {
    offsets.into_iter().flat_map(|offset| batch_of(offset, &format!("key-{offset}")).bytes.to_vec()).collect()
}

/// Opens a folder with `files`; the offsets in the log and the names that are left, without those of index and metadata files.
async fn open(files: &[(&str, Vec<u8>)]) -> (Result<Vec<i64>, OpenError>, BTreeSet<String>) {
    let folder = Path::new(FOLDER);
    if fs::exists(folder).await.expect("looks") {
        fs::remove_dir_all(folder).await.expect("removes");
    }
    fs::create_dir_all(folder).await.expect("creates");
    for (name, content) in files {
        let (base, kind) = name.split_once('.').expect("a base and a kind");
        fs::write_atomic(&folder.join(format!("{base:0>20}.{kind}")), content).await.expect("writes");
    }
    let data_dir = DataDir::open(Path::new("/data")).await.expect("opens");
    let logs = ShardLogs::start(ShardLogsOptions::of(&data_dir, [5; 16]).await);
    let id = LogId { topic: "table".to_owned(), topic_id: TopicId([7; 16]), partition: 0 };
    let mut found = Vec::new();
    let opened = logs
        .open(id, LogOptions::default(), false, &mut EveryBatch(|header: &BatchHeader| found.push(header.base_offset)))
        .await;
    let left = fs::read_dir(folder).await.expect("lists").into_iter().filter_map(|path| {
        let name = path.file_name()?.to_str()?.trim_start_matches('0').to_owned();
        (!name.ends_with("index") && !name.starts_with("partition")).then_some(name)
    });
    (opened.map(|_| found), left.collect())
}

fn names(names: &str) -> BTreeSet<String> {
    names.split_whitespace().map(str::to_owned).collect()
}

/// A start that takes old and new segment gives every record twice; one that takes neither has lost them.
#[test]
fn a_start_takes_either_the_old_segments_or_the_new_one() {
    let mut sim = Sim::new(1, SimOptions::default());
    let node = sim.add_node();
    let is_done = Rc::new(Cell::new(false));
    let main: LocalMain = {
        let is_done = is_done.clone();
        Box::new(move || {
            Box::pin(async move {
                let old = || vec![("0.log", batches(0..10)), ("10.log", batches(10..20)), ("20.log", batches(20..30))];
                let with = |more: &[(&'static str, Vec<u8>)]| [old(), more.to_vec()].concat();
                let cleaned = batches([3, 7, 19]);

                let (opened, left) = open(&with(&[("0.log.cleaned", cleaned.clone()), ("0.index.swap", vec![])])).await;
                assert_eq!(opened.expect("opens"), (0..30).collect::<Vec<_>>(), "it had not begun to count");
                assert_eq!(left, names(".log 10.log 20.log"));

                let (opened, left) = open(&with(&[("0.log.swap", cleaned.clone()), ("0.index.swap", vec![])])).await;
                assert_eq!(opened.expect("opens"), [vec![3, 7, 19], (20..30).collect()].concat());
                assert_eq!(left, names(".log 20.log"));

                let half =
                    [("0.log.swap", cleaned.clone()), ("0.log.deleted", batches(0..10)), ("20.log", batches(20..30))];
                let (opened, left) = open(&half).await;
                assert_eq!(opened.expect("opens"), [vec![3, 7, 19], (20..30).collect()].concat());
                assert_eq!(left, names(".log 20.log"));

                let mut damaged = cleaned;
                damaged[150] ^= 1;
                let (opened, left) = open(&with(&[("0.log.swap", damaged)])).await;
                let error = opened.expect_err("a segment that is damaged replaces nothing").to_string();
                assert!(error.contains("00000000000000000000.log.swap") && error.contains("CRC"), "{error}");
                assert_eq!(left, names(".log 10.log 20.log .log.swap"));
                is_done.set(true);
            })
        })
    };
    sim.start_local(node, vec![main]);
    sim.run_until(Duration::from_secs(100), |_| is_done.get());
    assert!(is_done.get(), "the test did not end");
}
