//! The indexes of aborted transactions against a plain list of batches, over crashes: whatever a reader of committed records asks, it must
//! be told of every aborted transaction that the log still has, and of no other.
//!
//! `RINGLANE_LOG_SEEDS` sets how many seeds run (20), `RINGLANE_LOG_SEED` runs one.

use bytes::Bytes;
use ringlane_log::{AppendBatch, DataDir, EndMarker, Log, LogId, LogOptions, ShardLogs, ShardLogsOptions, Visitor};
use ringlane_protocol::TopicId;
use ringlane_protocol::records::{
    BatchBuilder, BatchHeader, Compression, ControlType, ProducerStamp, marker_batch, patch_base_offset,
};
use ringlane_protocol::storage::txn_index::AbortedTransaction;
use ringlane_runtime::sim::{LocalMain, Sim, SimOptions};
use ringlane_runtime::{random_u64, sleep};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

const SEEDS: u64 = 20;
const LIVES: u32 = 5;
const PRODUCERS: u64 = 4;

/// What a partition keeps, as plainly as it can be said: first offsets of open transactions by producer.
#[derive(Clone, Default, PartialEq, Debug)]
struct Open(BTreeMap<i64, i64>);

impl Open {
    fn note(&mut self, header: &BatchHeader) {
        if header.is_transactional() && !header.is_control() {
            self.0.entry(header.producer_id).or_insert(header.base_offset);
        }
    }

    fn end(&mut self, header: &BatchHeader, kind: ControlType) -> Option<AbortedTransaction> {
        let first_offset = self.0.remove(&header.producer_id)?;
        let aborted = AbortedTransaction {
            producer_id: header.producer_id,
            first_offset,
            last_offset: header.last_offset(),
            last_stable_offset: self.0.values().copied().min().unwrap_or(header.next_offset()),
        };
        (kind == ControlType::Abort).then_some(aborted)
    }

    fn encode(&self) -> Bytes {
        self.0.iter().flat_map(|(id, first)| [id.to_be_bytes(), first.to_be_bytes()].concat()).collect()
    }

    fn decode(state: &[u8]) -> Open {
        let (numbers, _) = state.as_chunks::<8>();
        Open(
            numbers
                .as_chunks::<2>()
                .0
                .iter()
                .map(|[id, first]| (i64::from_be_bytes(*id), i64::from_be_bytes(*first)))
                .collect(),
        )
    }
}

#[derive(Default)]
struct Model {
    batches: Vec<(BatchHeader, Option<ControlType>)>,
    /// Of the partition of this life.
    open: Open,
    truncating: bool,
}

impl Model {
    fn cut(&mut self, end_offset: i64) {
        self.batches.retain(|(header, _)| header.next_offset() <= end_offset);
        self.open = self.replayed().0;
    }

    /// All of the log, from its first batch on.
    fn replayed(&self) -> (Open, Vec<AbortedTransaction>) {
        let (mut open, mut aborted) = (Open::default(), Vec::new());
        for (header, marker) in &self.batches {
            open.note(header);
            aborted.extend(marker.and_then(|kind| open.end(header, kind)));
        }
        (open, aborted)
    }
}

struct Found<'a>(&'a mut Open);

impl Visitor for Found<'_> {
    fn state(&mut self, state: &[u8]) -> bool {
        *self.0 = Open::decode(state);
        true
    }
    fn batch(&mut self, header: &BatchHeader) {
        self.0.note(header);
    }
    fn marker(&mut self, header: &BatchHeader, marker: EndMarker) -> Option<AbortedTransaction> {
        self.0.end(header, marker.kind)
    }
    fn keeps_transactions(&self) -> bool {
        true
    }
}

async fn live(model: Rc<RefCell<Model>>, operations: u64, keeps_states: bool) {
    let data_dir = DataDir::open(Path::new("/data")).await.expect("opens");
    let options = ShardLogsOptions {
        journal_file_bytes: 64 << 10,
        journal_files_max: 3,
        ..ShardLogsOptions::of(&data_dir, [5; 16]).await
    };
    let logs = ShardLogs::start(options);
    if keeps_states {
        let model = model.clone();
        logs.keep_states(Rc::new(move |_| Some(model.borrow()).filter(|it| !it.truncating).map(|it| it.open.encode())));
    }
    let id = LogId { topic: "orders".to_owned(), topic_id: TopicId([7; 16]), partition: 0 };
    let segment_bytes = [1_000, 10_000, 100_000][(random_u64() % 3) as usize];
    let mut open = Open::default();
    let log = logs.open(id, LogOptions { segment_bytes, ..LogOptions::default() }, false, &mut Found(&mut open)).await;
    let log = log.expect("opens");
    model.borrow_mut().truncating = false;
    model.borrow_mut().cut(log.end_offset());
    assert_eq!(open, model.borrow().open, "open transactions");
    check(&log, &model).await;
    logs.begin().await.expect("begins");
    for _ in 0..operations {
        operate(&log, &model).await;
    }
    check(&log, &model).await;
    logs.close().await.expect("closes");
    data_dir.close().await.expect("leaves its marker");
}

async fn operate(log: &Log, model: &RefCell<Model>) {
    let producer = (random_u64() % PRODUCERS) as i64;
    match random_u64() % 100 {
        0..60 => append(log, model, data(producer), None),
        60..80 => {
            let kind = if random_u64().is_multiple_of(2) { ControlType::Abort } else { ControlType::Commit };
            append(log, model, marker_batch(kind, producer, 0, 1, 1_000), Some(kind));
        }
        80..81 => {
            let offset = log.end_offset() - (random_u64() % 30) as i64;
            model.borrow_mut().truncating = true;
            log.truncate_to(offset.max(0)).await.expect("truncates");
            let mut model = model.borrow_mut();
            model.truncating = false;
            model.cut(log.end_offset());
        }
        81..84 => check(log, model).await,
        _ => sleep(Duration::from_micros(random_u64() % 3_000)).await,
    }
}

fn data(producer: i64) -> Vec<u8> {
    let mut builder = BatchBuilder::new(Compression::None);
    builder.set_producer(ProducerStamp { id: producer, epoch: 0, base_sequence: 0 }, producer > 0);
    builder.push(1_000, None, Some(&vec![1; (random_u64() % 2_000) as usize]), &[]);
    builder.finish().expect("builds")
}

fn append(log: &Log, model: &RefCell<Model>, mut bytes: Vec<u8>, marker: Option<ControlType>) {
    patch_base_offset(&mut bytes, log.end_offset());
    let bytes = Bytes::from(bytes);
    let header = BatchHeader::parse(&bytes).expect("was built");
    log.append(AppendBatch::new(&header, bytes)).expect("appends");
    let mut model = model.borrow_mut();
    model.batches.push((header, marker));
    model.open.note(&header);
    if let Some(aborted) = marker.and_then(|kind| model.open.end(&header, kind)) {
        log.note_aborted(aborted);
    }
}

async fn check(log: &Log, model: &RefCell<Model>) {
    let end = log.end_offset();
    let ranges = [(0, end), (end / 2, end), (end / 3, end / 2), (random_u64() as i64 % (end + 1), end)];
    for (from, below) in ranges.map(|(from, below)| (from.abs(), below)) {
        let found = log.aborted_transactions(from, below).await.expect("reads");
        let (_, all) = model.borrow().replayed();
        let mut expected: Vec<_> =
            all.into_iter().filter(|one| one.last_offset >= from && one.first_offset < below).collect();
        // Kafka's reader stops where the index says that nothing further can matter.
        let enough = expected.iter().position(|one| one.last_stable_offset >= below);
        expected.truncate(enough.map_or(expected.len(), |at| at + 1));
        assert_eq!(found, expected, "{from}..{below} of {end}");
    }
}

/// Records of an aborted transaction that is forgotten are shown as committed; one too many hides what was committed.
#[test]
fn every_aborted_transaction_is_told_of_over_crashes() {
    let number_from = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let seeds = match number_from("RINGLANE_LOG_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number_from("RINGLANE_LOG_SEEDS").unwrap_or(SEEDS),
    };
    for seed in seeds {
        let mut sim = Sim::new(seed, SimOptions::default());
        let node = sim.add_node();
        let model = Rc::new(RefCell::new(Model::default()));
        let keeps_states = sim.random().chance(0.8);
        for _ in 0..LIVES {
            let (of_life, operations) = (model.clone(), sim.random().within(0..600));
            let main: LocalMain = Box::new(move || Box::pin(live(of_life, operations, keeps_states)));
            sim.start_local(node, vec![main]);
            let life = Duration::from_millis(sim.random().within(1..2_000));
            match sim.random().below(3) {
                0 => {
                    sim.run_until(Duration::from_secs(600), |sim| !sim.is_running(node));
                }
                1 => {
                    sim.run_until(life, |sim| !sim.is_running(node));
                    sim.crash(node);
                }
                _ => {
                    sim.run_until(life, |sim| !sim.is_running(node));
                    sim.kill(node);
                }
            }
            assert!(sim.panics().is_empty(), "seed {seed}: {:?}", sim.panics());
        }
    }
}
