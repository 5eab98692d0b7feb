//! One assigned partition: where it is read, what was fetched and not yet handed out. Pure: bytes in, records out.

use super::{ConsumerOptions, ConsumerRecord, IsolationLevel, StartAt};
use crate::ClientError;
use bytes::Bytes;
use ringlane_protocol::records::{Batch, ControlType, NO_PRODUCER_ID, Records, batches};
use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;

/// What one batch may unpack to: far above what Kafka's producers make of their 1 MiB requests, far below what a bomb could be.
const UNPACKED_BATCH_BYTES_MAX: usize = 256 << 20;

/// A transaction that was aborted (KIP-98): its records are not for readers of committed data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Aborted {
    pub(super) producer_id: i64,
    pub(super) first_offset: i64,
}

pub(super) struct Partition {
    pub(super) topic: Rc<str>,
    pub(super) index: i32,
    /// Where to begin, while that is not an offset yet.
    pub(super) start: Option<StartAt>,
    /// Grows with each assignment, so that an answer to an older one is recognised.
    pub(super) generation: u64,
    /// A fetch or an offset request is under way.
    pub(super) is_asking: bool,
    /// Offset of the next record to hand out.
    pub(super) position: i64,
    pub(super) end_offset: Option<i64>,
    /// Behind everything fetched.
    next_fetch_offset: i64,
    /// Whole batches, not looked at yet.
    fetched: Bytes,
    /// By first offset, for `fetched`.
    aborted: VecDeque<Aborted>,
    /// Producers inside an aborted transaction at this place of the log.
    aborting: BTreeSet<i64>,
    ready: VecDeque<ConsumerRecord>,
}

impl Partition {
    pub(super) fn new(topic: Rc<str>, index: i32, start: StartAt, generation: u64) -> Partition {
        let mut partition = Partition {
            topic,
            index,
            start: Some(start),
            generation,
            is_asking: false,
            position: 0,
            end_offset: None,
            next_fetch_offset: 0,
            fetched: Bytes::new(),
            aborted: VecDeque::new(),
            aborting: BTreeSet::new(),
            ready: VecDeque::new(),
        };
        if let StartAt::Offset(offset) = start {
            partition.begin_at(offset);
        }
        partition
    }

    pub(super) fn begin_at(&mut self, offset: i64) {
        self.start = None;
        (self.position, self.next_fetch_offset) = (offset, offset);
        self.fetched = Bytes::new();
        self.aborted.clear();
        self.aborting.clear();
        self.ready.clear();
    }

    /// The offset to fetch from, if a fetch is due.
    pub(super) fn wants_fetch(&self) -> Option<i64> {
        let has_all = self.fetched.is_empty() && self.ready.is_empty();
        (has_all && self.start.is_none() && !self.is_asking).then_some(self.next_fetch_offset)
    }

    pub(super) fn fetched(&mut self, records: Bytes, mut aborted: Vec<Aborted>, end_offset: i64) {
        aborted.sort_by_key(|transaction| transaction.first_offset);
        self.fetched = records;
        self.aborted = aborted.into();
        self.end_offset = Some(end_offset);
    }

    /// Moves up to `max` records to `into`.
    pub(super) fn take(
        &mut self,
        options: &ConsumerOptions,
        max: usize,
        into: &mut Vec<ConsumerRecord>,
    ) -> Result<(), ClientError> {
        let until = into.len() + max;
        while into.len() < until {
            match self.ready.pop_front() {
                Some(record) => {
                    self.position = record.offset + 1;
                    into.push(record);
                }
                None if self.fetched.is_empty() => break,
                None => self.unpack_next(options)?,
            }
        }
        if self.ready.is_empty() && self.fetched.is_empty() {
            // Behind what has no record to hand out: control batches, aborted or compacted records.
            self.position = self.position.max(self.next_fetch_offset);
        }
        Ok(())
    }

    /// Reads the next batch of `fetched` into `ready`.
    fn unpack_next(&mut self, options: &ConsumerOptions) -> Result<(), ClientError> {
        let data = self.fetched.clone();
        let batch = match batches(&data).next() {
            Some(Ok(batch)) => batch,
            Some(Err(error)) => return Err(self.corrupt(error)),
            None => {
                // An answer may end in the middle of a batch; it comes whole with the next one.
                self.fetched = Bytes::new();
                return Ok(());
            }
        };
        if options.check_crcs {
            batch.check_crc().map_err(|error| self.corrupt(error))?;
        }
        if !self.is_hidden(&batch, options)? {
            self.unpack(&data, &batch)?;
        }
        self.next_fetch_offset = batch.header.next_offset();
        self.fetched = data.slice(batch.bytes().len()..);
        Ok(())
    }

    /// Whether a batch is not for the application: a marker, or part of an aborted transaction (KIP-98).
    fn is_hidden(&mut self, batch: &Batch<'_>, options: &ConsumerOptions) -> Result<bool, ClientError> {
        let header = &batch.header;
        let last_offset = header.next_offset() - 1;
        while let Some(transaction) = self.aborted.pop_front_if(|t| t.first_offset <= last_offset) {
            self.aborting.insert(transaction.producer_id);
        }
        if header.attributes.is_control() {
            let mut records = Records::new(header, batch.body());
            let marker = records.next().transpose().map_err(|error| self.corrupt(error))?;
            let is_abort = marker.and_then(|record| ControlType::of(&record)) == Some(ControlType::Abort);
            if is_abort {
                self.aborting.remove(&header.producer_id);
            }
            return Ok(true);
        }
        Ok(options.isolation == IsolationLevel::ReadCommitted
            && header.producer_id != NO_PRODUCER_ID
            && header.is_transactional()
            && self.aborting.contains(&header.producer_id))
    }

    fn unpack(&mut self, data: &Bytes, batch: &Batch<'_>) -> Result<(), ClientError> {
        let header = &batch.header;
        let body = batch.uncompressed_body(UNPACKED_BATCH_BYTES_MAX).map_err(|error| self.corrupt(error))?;
        let body = match body {
            std::borrow::Cow::Borrowed(body) => data.slice_ref(body),
            std::borrow::Cow::Owned(body) => Bytes::from(body),
        };
        for record in Records::new(header, &body) {
            let record = record.map_err(|error| self.corrupt(error))?;
            let offset = record.offset(header);
            // Whole batches are sent, also when they begin before what was asked for.
            if offset < self.position {
                continue;
            }
            let own = |bytes: Option<&[u8]>| bytes.map(|bytes| body.slice_ref(bytes));
            self.ready.push_back(ConsumerRecord {
                topic: self.topic.clone(),
                partition: self.index,
                offset,
                leader_epoch: header.leader_epoch,
                timestamp: record.timestamp(header),
                timestamp_type: header.attributes.timestamp_type(),
                key: own(record.key),
                value: own(record.value),
                headers: record.headers.map(|header| (body.slice_ref(header.key), own(header.value))).collect(),
            });
        }
        Ok(())
    }

    fn corrupt(&self, reason: impl ToString) -> ClientError {
        ClientError::Corrupt {
            topic: self.topic.to_string(),
            partition: self.index,
            offset: self.next_fetch_offset,
            reason: reason.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringlane_protocol::records::{BatchBuilder, Compression, ProducerStamp, marker_batch, patch_base_offset};

    fn batch(base_offset: i64, count: usize, codec: Compression, producer_id: Option<i64>) -> Vec<u8> {
        let mut builder = BatchBuilder::new(codec);
        for i in 0..count {
            builder.push(1_000 + i as i64, Some(b"key"), Some(format!("value {i}").as_bytes()), &[]);
        }
        if let Some(id) = producer_id {
            builder.set_producer(ProducerStamp { id, epoch: 0, base_sequence: 0 }, true);
        }
        let mut bytes = builder.finish().expect("it compresses");
        patch_base_offset(&mut bytes, base_offset);
        bytes
    }

    fn at(offset: i64) -> Partition {
        Partition::new("t".into(), 0, StartAt::Offset(offset), 1)
    }

    fn offsets(partition: &mut Partition, options: &ConsumerOptions, max: usize) -> Vec<i64> {
        let mut records = Vec::new();
        partition.take(options, max, &mut records).expect("sound data");
        records.iter().map(|record| record.offset).collect()
    }

    /// Brokers send whole batches: what lies before the asked offset must be dropped, what is cut at the end asked for again.
    #[test]
    fn records_come_from_the_asked_offset_to_the_last_whole_batch() {
        let options = ConsumerOptions::default();
        for codec in Compression::ALL {
            let cut = batch(20, 5, codec, None);
            let data = [&batch(10, 5, codec, None)[..], &batch(15, 5, codec, None), &cut[..cut.len() - 3]].concat();
            let mut partition = at(12);
            partition.fetched(data.into(), vec![], 25);
            assert_eq!(partition.wants_fetch(), None);
            assert_eq!(offsets(&mut partition, &options, 2), [12, 13]);
            assert_eq!(partition.position, 14);
            assert_eq!(offsets(&mut partition, &options, 100), [14, 15, 16, 17, 18, 19]);
            assert_eq!((partition.position, partition.wants_fetch()), (20, Some(20)), "{codec:?}");
        }
    }

    /// A reader of committed data that got an aborted record would act on what never happened; one that stopped at a marker would
    /// never go on.
    #[test]
    fn aborted_transactions_are_hidden_from_readers_of_committed_data() {
        let mut abort = marker_batch(ControlType::Abort, 5, 0, 0, 1_000);
        patch_base_offset(&mut abort, 4);
        let data = [
            batch(0, 2, Compression::None, Some(5)),
            batch(2, 2, Compression::None, Some(6)),
            abort,
            batch(5, 1, Compression::None, Some(5)),
        ]
        .concat();
        let aborted = vec![Aborted { producer_id: 5, first_offset: 0 }];
        let committed = ConsumerOptions { isolation: IsolationLevel::ReadCommitted, ..Default::default() };
        let mut partition = at(0);
        partition.fetched(data.clone().into(), aborted, 6);
        assert_eq!(offsets(&mut partition, &committed, 100), [2, 3, 5]);
        assert_eq!(partition.position, 6);

        let mut partition = at(0);
        partition.fetched(data.into(), vec![], 6);
        assert_eq!(
            offsets(&mut partition, &ConsumerOptions::default(), 100),
            [0, 1, 2, 3, 5],
            "the marker is no record"
        );
    }

    /// Damage must be told with its place, not handed out and not be stepped over.
    #[test]
    fn a_wrong_crc_is_an_error_that_names_the_offset() {
        let mut data = batch(30, 3, Compression::None, None);
        *data.last_mut().expect("bytes") ^= 1;
        let mut partition = at(30);
        partition.fetched(data.into(), vec![], 33);
        let mut records = Vec::new();
        let error = partition.take(&ConsumerOptions::default(), 10, &mut records).expect_err("damaged");
        assert!(matches!(error, ClientError::Corrupt { offset: 30, .. }), "{error}");
        assert!(records.is_empty());
    }
}
