//! How batches and records look in `ringlane log dump`: lines of fixed columns for people, documents for scripts.

use ringlane_log::offline::{Damage, StoredBatch};
use ringlane_protocol::records::{BatchHeader, ControlType, Record, TimestampType, marker_coordinator_epoch};
use serde::Serialize;

use super::super::consume::{Bytes, JsonHeader};

pub const BATCH_HEADER: &str = concat!(
    "OFFSETS                  POSITION      BYTES  RECORDS  CODEC   EPOCH  ",
    "PRODUCER             MAX-TIMESTAMP  CRC32C      IS\n"
);

#[derive(Serialize)]
pub struct BatchRow {
    #[serde(rename = "type")]
    kind: &'static str,
    base_offset: i64,
    last_offset: i64,
    position: u64,
    bytes: usize,
    records: i32,
    codec: &'static str,
    leader_epoch: i32,
    producer_id: Option<i64>,
    producer_epoch: Option<i16>,
    base_sequence: Option<i32>,
    last_sequence: Option<i32>,
    max_timestamp: i64,
    timestamp_type: &'static str,
    crc: u32,
    transactional: bool,
    control: bool,
    delete_horizon: Option<i64>,
}

impl From<&StoredBatch> for BatchRow {
    fn from(batch: &StoredBatch) -> BatchRow {
        let header = &batch.header;
        let has_producer = header.has_producer();
        BatchRow {
            kind: "batch",
            base_offset: header.base_offset,
            last_offset: header.last_offset(),
            position: batch.position,
            bytes: header.size(),
            records: header.records_count,
            codec: header.attributes.compression().map_or("unknown", |codec| codec.name()),
            leader_epoch: header.leader_epoch,
            producer_id: has_producer.then_some(header.producer_id),
            producer_epoch: has_producer.then_some(header.producer_epoch),
            base_sequence: (has_producer && header.base_sequence >= 0).then_some(header.base_sequence),
            last_sequence: (has_producer && header.base_sequence >= 0).then(|| header.last_sequence()),
            max_timestamp: header.max_timestamp,
            timestamp_type: match header.attributes.timestamp_type() {
                TimestampType::CreateTime => "CreateTime",
                TimestampType::LogAppendTime => "LogAppendTime",
            },
            crc: header.crc,
            transactional: header.is_transactional(),
            control: header.is_control(),
            delete_horizon: header.attributes.has_delete_horizon().then_some(header.base_timestamp),
        }
    }
}

impl BatchRow {
    pub fn text(&self) -> String {
        let offsets = format!("{}-{}", self.base_offset, self.last_offset);
        let producer = match (self.producer_id, self.producer_epoch) {
            (Some(id), Some(epoch)) => match (self.base_sequence, self.last_sequence) {
                (Some(first), Some(last)) => format!("{id}/{epoch} {first}-{last}"),
                _ => format!("{id}/{epoch}"),
            },
            _ => "-".to_owned(),
        };
        let mut is = Vec::new();
        is.extend(self.transactional.then_some("transactional"));
        is.extend(self.control.then_some("control"));
        is.extend((self.timestamp_type != "CreateTime").then_some("LogAppendTime"));
        is.extend(self.delete_horizon.map(|_| "with-delete-horizon"));
        let line = format!(
            "{offsets:<22} {:>10} {:>10} {:>8}  {:<6} {:>6}  {producer:<19} {:>14}  {:#010x}  {}",
            self.position,
            self.bytes,
            self.records,
            self.codec,
            self.leader_epoch,
            self.max_timestamp,
            self.crc,
            is.join(",")
        );
        format!("{}\n", line.trim_end())
    }
}

#[derive(Serialize)]
pub struct RecordRow<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    offset: i64,
    timestamp: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    marker: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    coordinator_epoch: Option<i32>,
    key: Option<Bytes<'a>>,
    value: Option<Bytes<'a>>,
    headers: Vec<JsonHeader<'a>>,
}

impl<'a> RecordRow<'a> {
    pub fn new(batch: &BatchHeader, record: &Record<'a>) -> RecordRow<'a> {
        let marker = batch.is_control().then(|| ControlType::of(record)).flatten();
        RecordRow {
            kind: "record",
            offset: record.offset(batch),
            timestamp: record.timestamp(batch),
            marker: marker.map(|kind| match kind {
                ControlType::Abort => "abort",
                ControlType::Commit => "commit",
            }),
            coordinator_epoch: marker.and_then(|_| marker_coordinator_epoch(record)),
            key: record.key.map(Bytes::from),
            value: record.value.map(Bytes::from),
            headers: record
                .headers
                .map(|header| JsonHeader { key: Bytes::from(header.key), value: header.value.map(Bytes::from) })
                .collect(),
        }
    }

    pub fn text(&self) -> String {
        if let Some(marker) = self.marker {
            let epoch = self.coordinator_epoch.unwrap_or(-1);
            return format!("  {} at {}: {marker} marker, coordinator epoch {epoch}\n", self.offset, self.timestamp);
        }
        let mut line =
            format!("  {} at {}: {} = {}", self.offset, self.timestamp, shown(&self.key), shown(&self.value));
        for JsonHeader { key, value } in &self.headers {
            line.push_str(&format!("; {}: {}", in_quotes(key), shown(value)));
        }
        line.push('\n');
        line
    }
}

fn shown(bytes: &Option<Bytes<'_>>) -> String {
    bytes.as_ref().map_or_else(|| "null".to_owned(), in_quotes)
}

fn in_quotes(bytes: &Bytes<'_>) -> String {
    match bytes {
        Bytes::Text(text) => format!("{text:?}"),
        Bytes::Binary { hex } => format!("0x{hex}"),
    }
}

#[derive(Serialize)]
pub struct DamageRow<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    position: u64,
    bytes: u64,
    found: &'a str,
    from_offset: i64,
    next_offset: Option<i64>,
}

impl<'a> From<&'a Damage> for DamageRow<'a> {
    fn from(damage: &'a Damage) -> DamageRow<'a> {
        DamageRow {
            kind: "damage",
            position: damage.position,
            bytes: damage.end - damage.position,
            found: &damage.found,
            from_offset: damage.from_offset,
            next_offset: damage.next_offset,
        }
    }
}

impl DamageRow<'_> {
    pub fn text(&self) -> String {
        let next =
            self.next_offset.map_or_else(|| "nothing good follows".to_owned(), |next| format!("offset {next} follows"));
        format!("damage at byte {}, {} bytes: {}; {next}\n", self.position, self.bytes, self.found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringlane_protocol::records::{Batch, BatchBuilder, Compression, Records, marker_batch};

    fn stored(bytes: &[u8]) -> StoredBatch {
        StoredBatch { position: 7, header: BatchHeader::parse(bytes).unwrap() }
    }

    /// People compare these lines with what the producer logged; columns that run into each other cannot be read by anybody.
    #[test]
    fn lines_have_their_columns_and_bytes_are_kept_apart_from_text() {
        let mut builder = BatchBuilder::new(Compression::None).base_offset(4711);
        builder.push(1_700_000_000_000, Some(b"k\n"), Some(&[0xff, 0]), &[]);
        builder.push(1_700_000_000_001, None, None, &[]);
        let bytes = builder.finish().unwrap();
        let row = BatchRow::from(&stored(&bytes));
        assert_eq!(
            row.text().split_whitespace().take(6).collect::<Vec<_>>()[..3],
            ["4711-4712", "7", &bytes.len().to_string()]
        );
        assert_eq!(row.text().find("1700000000001").map(|at| at + 13), BATCH_HEADER.find("TIMESTAMP").map(|at| at + 9));

        let batch = Batch::parse(&bytes).unwrap();
        let records: Vec<_> = Records::new(&batch.header, batch.body()).map(|record| record.unwrap()).collect();
        let lines: Vec<_> = records.iter().map(|record| RecordRow::new(&batch.header, record).text()).collect();
        assert_eq!(lines[0], "  4711 at 1700000000000: \"k\\n\" = 0xff00\n");
        assert_eq!(lines[1], "  4712 at 1700000000001: null = null\n");
    }

    /// Whoever looks for a lost transaction looks for its marker.
    #[test]
    fn markers_are_named() {
        let bytes = marker_batch(ControlType::Abort, 9, 2, 5, 1_000);
        let batch = Batch::parse(&bytes).unwrap();
        let record = Records::new(&batch.header, batch.body()).next().unwrap().unwrap();
        assert_eq!(RecordRow::new(&batch.header, &record).text(), "  0 at 1000: abort marker, coordinator epoch 5\n");
        assert!(BatchRow::from(&stored(&bytes)).text().ends_with("transactional,control\n"));
    }
}
