//! What producers and consumers know over several lives of one broker, and what must hold of it.

use super::{Home, stamped};
use ringlane_partition::Acks;
use ringlane_protocol::ErrorCode;
use ringlane_protocol::records::{Records, batches};
use ringlane_runtime::sim::Seed;
use ringlane_runtime::{sleep, spawn};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

const PRODUCERS: i64 = 3;

/// A record: producer and sequence.
type Record = (i64, i32);

#[derive(Default)]
struct Known {
    /// What a client was told: offset by record.
    acknowledged: BTreeMap<Record, i64>,
    /// What a client was shown: record by offset.
    seen: BTreeMap<i64, Record>,
    /// The next sequence of each producer. The one that is not acknowledged yet is sent again after a crash.
    next_sequence: BTreeMap<i64, i32>,
}

#[derive(Clone, Default)]
pub struct Story {
    known: Rc<RefCell<Known>>,
}

impl Story {
    pub fn acknowledged(&self) -> usize {
        self.known.borrow().acknowledged.len()
    }

    /// The whole log, read from its start.
    pub async fn check(&self, home: &Home) {
        let mut from = 0;
        loop {
            let read = home.read_from(from).await;
            assert_eq!(read.error, ErrorCode::None);
            let Some(end) = self.see(&read.slices, from) else { break };
            from = end;
        }
        let known = self.known.borrow();
        let mut by_record = BTreeMap::new();
        for (offset, record) in known.seen.range(..from) {
            assert_eq!(by_record.insert(*record, *offset), None, "{record:?} is stored twice, once at {offset}");
        }
        assert_eq!(known.seen.range(from..).next(), None, "what a reader had seen is gone");
        for (record, offset) in &known.acknowledged {
            assert_eq!(by_record.get(record), Some(offset), "{record:?} was acknowledged");
        }
    }

    /// Notes what was read. The offset behind it; `None` if it was nothing.
    fn see(&self, slices: &[bytes::Bytes], from: i64) -> Option<i64> {
        let mut known = self.known.borrow_mut();
        let mut end = None;
        let all = slices.concat();
        for batch in batches(&all) {
            let batch = batch.expect("stored batches are sound");
            batch.check_crc().unwrap();
            assert_eq!(batch.header.base_offset, end.unwrap_or(from), "offsets have no gaps");
            for record in Records::new(&batch.header, batch.body()) {
                let record = record.unwrap();
                let text = std::str::from_utf8(record.value.unwrap()).unwrap();
                let (id, sequence) = text.split_once(' ').unwrap();
                let is = (id.parse().unwrap(), sequence.parse().unwrap());
                let was = *known.seen.entry(record.offset(&batch.header)).or_insert(is);
                assert_eq!(is, was, "another record at an offset that was seen before");
            }
            end = Some(batch.header.next_offset());
        }
        end
    }

    fn next_sequence(&self, producer: i64) -> i32 {
        self.known.borrow().next_sequence.get(&producer).copied().unwrap_or(0)
    }

    fn acknowledge(&self, producer: i64, sequence: i32, offset: i64) {
        let mut known = self.known.borrow_mut();
        known.next_sequence.insert(producer, sequence + 1);
        let before = known.acknowledged.insert((producer, sequence), offset);
        assert_eq!(before, None);
    }
}

/// Produces and consumes until the crash.
pub async fn random_life(home: Home, story: Story, seed: u64) {
    let tasks: Vec<_> = (0..PRODUCERS)
        .map(|producer| {
            spawn("producer", produce(home.clone(), story.clone(), producer, Seed::new(seed).derive(producer as u64)))
        })
        .collect();
    let reader = spawn("reader", consume(home, story, Seed::new(seed).derive(99)));
    for task in tasks {
        task.await.unwrap();
    }
    reader.await.unwrap();
}

async fn produce(home: Home, story: Story, producer: i64, mut random: Seed) {
    loop {
        let sequence = story.next_sequence(producer);
        let acks = if random.chance(0.5) { Acks::All } else { Acks::Leader };
        let sending = home.start_append(acks, 30_000, stamped(producer, 0, sequence));
        // Sometimes the client did not wait for its answer: the same batch twice in flight.
        let again = random.chance(0.2).then(|| home.start_append(acks, 30_000, stamped(producer, 0, sequence)));
        let result = sending.await;
        assert_eq!(result.error(), ErrorCode::None, "{:?}", result.failure);
        if let Some(again) = again {
            assert_eq!(again.await.base_offset, result.base_offset);
        }
        story.acknowledge(producer, sequence, result.base_offset);
        if random.chance(0.3) {
            sleep(Duration::from_millis(random.below(20))).await;
        }
    }
}

async fn consume(home: Home, story: Story, mut random: Seed) {
    let mut at = 0;
    loop {
        let read = home.read_waiting(at, random.below(50) as i32, 1, None).await;
        assert_eq!(read.error, ErrorCode::None);
        assert!(read.high_watermark >= at, "the high watermark went back");
        at = story.see(&read.slices, at).unwrap_or(at);
        if random.chance(0.1) {
            at = 0;
        }
        sleep(Duration::from_millis(1)).await;
    }
}
