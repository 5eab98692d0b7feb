//! Control batches: the markers that end transactions. One record each, never shown to applications.

use super::{BatchBuilder, Compression, ProducerStamp, Record};

/// What a control record says. Key: `version i16 = 0, type i16`; value: `version i16 = 0, coordinator epoch i32`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ControlType {
    Abort = 0,
    Commit = 1,
}

impl ControlType {
    /// `None` for control records of other kinds (Kafka's metadata log has some) and for damaged keys. Later key versions may grow.
    pub fn of(record: &Record<'_>) -> Option<ControlType> {
        let key = record.key?.first_chunk::<4>()?;
        if i16::from_be_bytes([key[0], key[1]]) < 0 {
            return None;
        }
        match i16::from_be_bytes([key[2], key[3]]) {
            0 => Some(ControlType::Abort),
            1 => Some(ControlType::Commit),
            _ => None,
        }
    }
}

/// The epoch of the transaction coordinator that wrote a marker.
pub fn marker_coordinator_epoch(record: &Record<'_>) -> Option<i32> {
    let value = record.value?.first_chunk::<6>()?;
    Some(i32::from_be_bytes([value[2], value[3], value[4], value[5]]))
}

/// The batch that ends a producer's transaction in one partition.
pub fn marker_batch(kind: ControlType, producer_id: i64, epoch: i16, coordinator_epoch: i32, now_ms: i64) -> Vec<u8> {
    let key = [[0, 0], (kind as i16).to_be_bytes()].concat();
    let value = [&0i16.to_be_bytes()[..], &coordinator_epoch.to_be_bytes()].concat();
    let mut builder = BatchBuilder::new(Compression::None);
    builder.set_producer(ProducerStamp { id: producer_id, epoch, base_sequence: super::NO_SEQUENCE }, true);
    builder.set_control();
    builder.push(now_ms, Some(&key), Some(&value), &[]);
    builder.finish().expect("an uncompressed batch cannot fail")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::{Batch, Records, check_batch};

    /// Clients drop aborted records by these markers: one that reads back differently turns an abort into a commit.
    #[test]
    fn a_marker_reads_back_as_what_it_was_written() {
        for kind in [ControlType::Abort, ControlType::Commit] {
            let bytes = marker_batch(kind, 4711, 3, 17, 1_000);
            let header = check_batch(&bytes).unwrap();
            assert!(header.is_control() && header.is_transactional());
            assert_eq!((header.producer_id, header.producer_epoch, header.base_sequence), (4711, 3, -1));

            let batch = Batch::parse(&bytes).unwrap();
            let record = Records::new(&header, batch.body()).next().unwrap().unwrap();
            assert_eq!(ControlType::of(&record), Some(kind));
            assert_eq!(marker_coordinator_epoch(&record), Some(17));
            assert_eq!(record.key, Some(&[0, 0, 0, kind as u8][..]));
        }
    }
}
