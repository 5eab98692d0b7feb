//! Our record batches against crate `kafka-protocol`, an independent implementation: each side reads what the other wrote.

use bytes::{Bytes, BytesMut};
use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records as oracle;
use ringlane_protocol::records::{
    Batch, BatchBuilder, Compression, ProducerStamp, RecordHeader, Records, check_batch, recompress,
};

const SEED: u64 = 0x51ab_0c3d;

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
    fn bytes(&mut self, bytes_max: u64) -> Vec<u8> {
        (0..self.below(bytes_max)).map(|_| self.below(40) as u8 + b'0').collect()
    }
    fn maybe(&mut self, bytes_max: u64) -> Option<Vec<u8>> {
        (self.below(4) > 0).then(|| self.bytes(bytes_max))
    }
}

#[derive(Debug, PartialEq)]
struct Plain {
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

fn random_records(random: &mut Random) -> Vec<Plain> {
    (0..1 + random.below(80))
        .map(|_| Plain {
            timestamp: 1_700_000_000_000 + random.below(100_000) as i64 - 50_000,
            key: random.maybe(40),
            value: random.maybe(3_000),
            // The oracle keeps headers in a map: distinct names only.
            headers: (0..random.below(3)).map(|i| (format!("name-{i}").into_bytes(), random.maybe(20))).collect(),
        })
        .collect()
}

fn ours_to_plain(bytes: &[u8]) -> Vec<Plain> {
    let header = check_batch(bytes).unwrap();
    let body = Batch::parse(bytes).unwrap().uncompressed_body(1 << 24).unwrap();
    Records::new(&header, &body)
        .map(|record| {
            let record = record.unwrap();
            Plain {
                timestamp: record.timestamp(&header),
                key: record.key.map(<[u8]>::to_vec),
                value: record.value.map(<[u8]>::to_vec),
                headers: record.headers.map(|h| (h.key.to_vec(), h.value.map(<[u8]>::to_vec))).collect(),
            }
        })
        .collect()
}

fn oracle_to_plain(record: &oracle::Record) -> Plain {
    Plain {
        timestamp: record.timestamp,
        key: record.key.as_ref().map(|bytes| bytes.to_vec()),
        value: record.value.as_ref().map(|bytes| bytes.to_vec()),
        headers: record
            .headers
            .iter()
            .map(|(name, value)| (name.as_bytes().to_vec(), value.as_ref().map(|bytes| bytes.to_vec())))
            .collect(),
    }
}

fn codecs() -> [(Compression, oracle::Compression); 5] {
    [
        (Compression::None, oracle::Compression::None),
        (Compression::Gzip, oracle::Compression::Gzip),
        (Compression::Snappy, oracle::Compression::Snappy),
        (Compression::Lz4, oracle::Compression::Lz4),
        (Compression::Zstd, oracle::Compression::Zstd),
    ]
}

fn build(records: &[Plain], codec: Compression) -> Vec<u8> {
    let mut builder = BatchBuilder::new(codec).base_offset(900).leader_epoch(3);
    builder.set_producer(ProducerStamp { id: 77, epoch: 2, base_sequence: 1_000 }, true);
    for record in records {
        let headers: Vec<_> =
            record.headers.iter().map(|(key, value)| RecordHeader { key, value: value.as_deref() }).collect();
        let before = builder.uncompressed_size();
        let size = builder.record_size(record.timestamp, record.key.as_deref(), record.value.as_deref(), &headers);
        builder.push(record.timestamp, record.key.as_deref(), record.value.as_deref(), &headers);
        assert_eq!(builder.uncompressed_size(), before + size, "the producer fills batches by this size");
    }
    builder.finish().unwrap()
}

/// What our producer sends must be a batch to everybody else, in every codec.
#[test]
fn the_oracle_reads_what_we_write() {
    let mut random = Random(SEED);
    for round in 0..60 {
        let (codec, oracle_codec) = codecs()[round % 5];
        let records = random_records(&mut random);
        let bytes = build(&records, codec);

        let mut input = Bytes::from(bytes.clone());
        let read = oracle::RecordBatchDecoder::decode(&mut input).unwrap();
        assert_eq!(read.compression, oracle_codec);
        assert_eq!(read.records.iter().map(oracle_to_plain).collect::<Vec<_>>(), records, "seed {SEED:#x}, {codec:?}");
        for (i, record) in read.records.iter().enumerate() {
            assert_eq!((record.offset, record.sequence), (900 + i as i64, 1_000 + i as i32));
            assert_eq!((record.producer_id, record.producer_epoch, record.partition_leader_epoch), (77, 2, 3));
            assert!(record.transactional && !record.control);
        }

        // A topic with a compression type of its own rewrites the batch: the records and the rest of the header stay.
        let header = check_batch(&bytes).unwrap();
        let plain = Batch::parse(&bytes).unwrap().uncompressed_body(1 << 24).unwrap();
        for (target, _) in codecs() {
            let again = recompress(&header, &plain, target).unwrap();
            assert_eq!(ours_to_plain(&again), records);
            let header_again = check_batch(&again).unwrap();
            assert_eq!(header_again.attributes.compression(), Some(target));
            assert_eq!(header_again.last_sequence(), header.last_sequence());
        }
    }
}

/// Snappy and LZ4 have more than one form in the wild: what another implementation writes must be read.
#[test]
fn we_read_what_the_oracle_writes() {
    let mut random = Random(SEED ^ 0xffff);
    for round in 0..60 {
        let (codec, oracle_codec) = codecs()[round % 5];
        let records = random_records(&mut random);
        let theirs: Vec<_> = records
            .iter()
            .enumerate()
            .map(|(i, record)| oracle::Record {
                transactional: false,
                control: false,
                delete_horizon: false,
                partition_leader_epoch: 0,
                producer_id: 5,
                producer_epoch: 1,
                timestamp_type: oracle::TimestampType::Creation,
                offset: i as i64,
                sequence: i as i32,
                timestamp: record.timestamp,
                key: record.key.clone().map(Bytes::from),
                value: record.value.clone().map(Bytes::from),
                headers: record
                    .headers
                    .iter()
                    .map(|(name, value)| {
                        let name = StrBytes::from_string(String::from_utf8(name.clone()).unwrap());
                        (name, value.clone().map(Bytes::from))
                    })
                    .collect::<IndexMap<_, _>>(),
            })
            .collect();
        let mut bytes = BytesMut::new();
        let options = oracle::RecordEncodeOptions { version: 2, compression: oracle_codec };
        oracle::RecordBatchEncoder::encode(&mut bytes, &theirs, &options).unwrap();

        let header = check_batch(&bytes).unwrap();
        assert_eq!(header.attributes.compression(), Some(codec));
        assert_eq!((header.producer_id, header.base_sequence, header.size()), (5, 0, bytes.len()));
        assert_eq!(ours_to_plain(&bytes), records, "seed {:#x}, {codec:?}", SEED ^ 0xffff);
    }
}
