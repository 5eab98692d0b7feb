//! An image as records, and back: what a snapshot file and a snapshot message hold.

use crate::image::{Image, LogPosition, METADATA_VERSION};
use crate::record::batch::{BatchError, read_record, write_record};
use crate::{ConfigResource, Record};
use ringlane_protocol::{Reader, Writer};
use std::sync::Arc;

/// Why bytes are not an image.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error(transparent)]
    Batch(#[from] BatchError),
    #[error(transparent)]
    Apply(#[from] crate::image::ApplyError),
}

impl Image {
    /// The records that make this image out of an empty one. The metadata version comes first: it says what the rest may contain.
    pub fn records(&self) -> impl Iterator<Item = Record> {
        let features = self.features.iter().filter(|(name, _)| ***name != *METADATA_VERSION);
        let features = self.features.get_key_value(METADATA_VERSION).into_iter().chain(features);
        let features = features.map(|(name, level)| Record::FeatureLevel { name: name.clone(), level: *level });
        let brokers = self.brokers.values().map(|broker| Record::RegisterBroker(broker.as_ref().clone()));
        let topics = self.topics.values().flat_map(|topic| {
            let id = topic.id;
            let states = topic.partitions.iter().cloned();
            let partitions =
                states.zip(0..).map(move |(state, partition)| Record::Partition { topic: id, partition, state });
            std::iter::once(Record::Topic { name: topic.name.clone(), id }).chain(partitions)
        });
        let configs = self.configs.iter().flat_map(|(resource, keys)| keys.iter().map(|pair| config(resource, pair)));
        let next = Some(self.next_producer_id).filter(|next| *next > 0);
        let producer_ids = next.map(|next| Record::ProducerIds { broker: -1, broker_epoch: -1, next });
        features.chain(brokers).chain(topics).chain(configs).chain(producer_ids)
    }

    /// The snapshot in pieces of about `bytes`, made as they are asked for: a large image is written with pauses in between.
    pub fn snapshot_pieces(&self, bytes: usize) -> impl Iterator<Item = Vec<u8>> {
        let mut records = self.records().peekable();
        let mut scratch = Writer::new();
        std::iter::from_fn(move || {
            records.peek()?;
            let mut piece = Writer::new();
            while piece.len() < bytes
                && let Some(record) = records.next()
            {
                write_record(&mut piece, &mut scratch, &record);
            }
            Some(piece.into_bytes())
        })
    }

    /// The whole snapshot.
    pub fn to_snapshot(&self) -> Vec<u8> {
        self.snapshot_pieces(usize::MAX).next().unwrap_or_default()
    }

    /// The image that was at `position` when `bytes` were made of it.
    pub fn from_snapshot(position: LogPosition, bytes: &[u8]) -> Result<Image, SnapshotError> {
        let mut image = Image::default();
        image.moved_to(position);
        let mut reader = Reader::new(bytes);
        while reader.remaining() > 0 {
            image.restore(&read_record(&mut reader)?)?;
        }
        Ok(image)
    }

    /// Equal images have equal hashes, on every machine. For comparing nodes and finding divergence, not for security: FNV-1a over the
    /// snapshot and its position.
    pub fn hash(&self) -> u64 {
        const PRIME: u64 = 0x0000_0100_0000_01b3;
        const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
        let position = [self.applied.term.to_be_bytes(), self.applied.index.to_be_bytes()].concat();
        let pieces = std::iter::once(position).chain(self.snapshot_pieces(64 << 10));
        pieces.flatten().fold(OFFSET_BASIS, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME))
    }
}

fn config(resource: &ConfigResource, (key, value): (&Arc<str>, &Arc<str>)) -> Record {
    Record::Config { resource: resource.clone(), key: key.clone(), value: Some(value.clone()) }
}
