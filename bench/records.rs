//! What one produced batch costs in CPU, part by part: `cargo bench -p ringlane-bench --bench records`.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use ringlane_partition::{TopicConfig, prepare_batch};
use ringlane_protocol::records::{Batch, BatchBuilder, BatchHeader, Compression, Records, check_batch, check_crc};
use ringlane_runtime::Buffer;
use std::hint::black_box;

const RECORDS: usize = 100;
const VALUE_BYTES: usize = 90;

fn batch(codec: Compression) -> Vec<u8> {
    let mut builder = BatchBuilder::new(codec);
    for i in 0..RECORDS {
        builder.push(1_000 + i as i64, Some(b"key-0001"), Some(&[b'v'; VALUE_BYTES]), &[]);
    }
    builder.finish().expect("records of a few bytes")
}

fn records(criterion: &mut Criterion) {
    let bytes = batch(Compression::None);
    let header = check_batch(&bytes).expect("just built");
    let body = Batch::parse(&bytes).expect("just built").body();
    let topic = TopicConfig::default();

    let mut group = criterion.benchmark_group("batch of 100 records, 10 KB");
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("header", |b| b.iter(|| BatchHeader::parse(black_box(&bytes))));
    group.bench_function("crc", |b| b.iter(|| check_crc(black_box(&header), black_box(&bytes))));
    group.bench_function("walk", |b| {
        b.iter(|| Records::new(&header, black_box(body)).map(|r| r.map_or(0, |r| r.offset_delta)).sum::<i32>())
    });
    group.bench_function("prepare", |b| {
        let buffer = || Buffer::copy_from(&bytes);
        b.iter_batched(buffer, |buffer| prepare_batch(buffer, 13, &topic, 2_000), BatchSize::SmallInput)
    });
    group.bench_function("prepare lz4, header only", |b| {
        let bytes = batch(Compression::Lz4);
        let buffer = || Buffer::copy_from(&bytes);
        b.iter_batched(buffer, |buffer| prepare_batch(buffer, 13, &topic, 2_000), BatchSize::SmallInput)
    });
    group.bench_function("build", |b| b.iter(|| batch(black_box(Compression::None))));
    group.finish();
}

criterion_group!(benches, records);
criterion_main!(benches);
