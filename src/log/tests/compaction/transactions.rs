//! The transactions of the model: which have ended, how, and what a consumer of committed records makes of a log.

use super::model::{Known, records_of};
use ringlane_protocol::records::BatchHeader;
use std::collections::{BTreeMap, BTreeSet};

/// Producers from this one on send transactions only.
pub const FIRST_TRANSACTIONAL: i64 = 4;
/// The last one, of whom nothing is kept: its state has expired.
pub const FORGOTTEN: i64 = 6;
const ABORT: &[u8] = &[0, 0, 0, 0];

#[derive(Default)]
pub struct Ledger {
    /// First offset, and the records, of each producer's open transaction.
    open: BTreeMap<i64, (i64, Vec<i64>)>,
    /// Producer, first offset and marker of those that ended.
    ended: Vec<(i64, i64, i64)>,
    aborted: BTreeSet<i64>,
    committed: BTreeSet<i64>,
    markers: BTreeSet<i64>,
    epochs: BTreeMap<i64, i16>,
}

impl Ledger {
    pub fn begin_again(&mut self) {
        *self = Ledger::default();
    }

    /// Takes in the next batch; answers which records count from now on.
    pub fn note<'a>(&mut self, header: &BatchHeader, records: impl Iterator<Item = (i64, &'a Known)>) -> Vec<i64> {
        let records: Vec<_> = records.collect();
        let offsets: Vec<i64> = records.iter().map(|(offset, _)| *offset).collect();
        self.epochs.insert(header.producer_id, header.producer_epoch);
        let counting = if header.is_control() {
            let [(marker, known)] = records[..] else { panic!("a marker is one record") };
            self.markers.insert(marker);
            let Some((first, of_transaction)) = self.open.remove(&header.producer_id) else { return Vec::new() };
            self.ended.push((header.producer_id, first, marker));
            if known.key == ABORT {
                self.aborted.extend(of_transaction);
                return Vec::new();
            }
            of_transaction
        } else if header.is_transactional() {
            let open = self.open.entry(header.producer_id).or_insert((header.base_offset, Vec::new()));
            open.1.extend(offsets);
            return Vec::new();
        } else {
            offsets
        };
        self.committed.extend(&counting);
        counting
    }

    /// Producers and first offsets.
    pub fn open(&self) -> BTreeMap<i64, i64> {
        self.open.iter().map(|(producer, (first, _))| (*producer, *first)).collect()
    }

    pub fn last_stable_offset(&self, stable: i64) -> i64 {
        self.open.values().map(|(first, _)| *first).fold(stable, i64::min)
    }

    /// Producers whose transaction has begun, but not ended, for one who reads up to `below`.
    pub fn undecided_at(&self, below: i64) -> BTreeSet<i64> {
        let cut = self.ended.iter().filter(|(_, first, marker)| *first < below && *marker >= below);
        let open = self.open.iter().filter(|(_, (first, _))| *first < below);
        cut.map(|(producer, ..)| *producer).chain(open.map(|(producer, _)| *producer)).collect()
    }

    pub fn is_aborted(&self, offset: i64) -> bool {
        self.aborted.contains(&offset)
    }

    pub fn is_committed(&self, offset: i64) -> bool {
        self.committed.contains(&offset)
    }

    pub fn is_marker(&self, offset: i64) -> bool {
        self.markers.contains(&offset)
    }

    pub fn is_forgotten(&self, producer: i64) -> bool {
        producer == FORGOTTEN
    }

    pub fn epoch(&self, producer: i64) -> i16 {
        self.epochs.get(&producer).copied().unwrap_or(0)
    }

    /// What a start takes for open transactions when it finds these batches.
    pub fn open_in(headers: &[BatchHeader]) -> BTreeMap<i64, i64> {
        let mut open = BTreeMap::new();
        for header in headers.iter().filter(|header| header.is_transactional()) {
            match header.is_control() {
                true => _ = open.remove(&header.producer_id),
                false => _ = open.entry(header.producer_id).or_insert(header.base_offset),
            }
        }
        open
    }
}

/// The records that a consumer of committed ones sees, by the markers in the log itself, and the producers of what has no marker.
pub fn committed(live: &[Vec<u8>]) -> (BTreeMap<i64, Known>, BTreeSet<i64>) {
    let mut view = BTreeMap::new();
    let mut open: BTreeMap<i64, Vec<(i64, Known)>> = BTreeMap::new();
    for slice in live {
        let mut rest = &slice[..];
        while !rest.is_empty() {
            let header = BatchHeader::parse(rest).expect("was compared");
            let records = records_of(rest);
            rest = &rest[header.size()..];
            if header.is_control() {
                let ended = open.remove(&header.producer_id).unwrap_or_default();
                if records.first().is_some_and(|(_, marker)| marker.key != ABORT) {
                    view.extend(ended);
                }
            } else if header.is_transactional() {
                open.entry(header.producer_id).or_default().extend(records);
            } else {
                view.extend(records);
            }
        }
    }
    (view, open.into_keys().collect())
}
