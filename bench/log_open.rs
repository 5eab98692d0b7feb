//! What opening logs costs: one with many segments, and many with one, after an orderly stop; beside the calls that one listing of the
//! folder stands for, in the same run.
//!
//! `cargo bench -p ringlane-bench --bench log_open [-- DIR [SEGMENTS [PARTITIONS]]]`.

use bytes::Bytes;
use ringlane_log::{DataDir, LogId, LogOptions, ShardLogs, ShardLogsOptions};
use ringlane_protocol::TopicId;
use ringlane_protocol::records::{BatchBuilder, Compression};
use ringlane_runtime::ring::{self, RingOptions};
use ringlane_runtime::{BLOCK_BYTES, Buffer, Durability, File, FileMode, ShardMain, fs, now};
use std::path::{Path, PathBuf};
use std::rc::Rc;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let directory = PathBuf::from(arguments.first().map_or("target/log-open", String::as_str));
    let number = |at: usize, default| arguments.get(at).map_or(default, |text| text.parse().expect("a number"));
    let (segments, partitions) = (number(1, 20_000), number(2, 2_000));
    let main: ShardMain = Box::new(move || {
        Box::pin(async move {
            many_segments(&directory.join("segments"), segments).await;
            many_partitions(&directory.join("partitions"), partitions as i32).await;
            fs::remove_dir_all(&directory).await.expect("the bench's own directory");
        })
    });
    let cores = ring::allowed_cores().into_iter().take(1).collect();
    ring::run(RingOptions { cores, pool_bytes_per_shard: 512 << 20, ..RingOptions::default() }, vec![main])
        .expect("the shard starts");
}

fn id(partition: i32) -> LogId {
    LogId { topic: "orders".to_owned(), topic_id: TopicId([7; 16]), partition }
}

/// Opens the logs and stops in order; how long the opening took.
async fn open_and_close(directory: &Path, partitions: i32) -> f64 {
    let data_dir = DataDir::open(directory).await.expect("opens");
    let logs = ShardLogs::start(ShardLogsOptions::of(&data_dir, [5; 16]).await);
    logs.keep_states(Rc::new(|_| Some(Bytes::new())));
    let began = now();
    for partition in 0..partitions {
        logs.open(id(partition), LogOptions::default(), false, &mut ()).await.expect("opens");
    }
    let took_ms = began.elapsed().as_secs_f64() * 1e3;
    logs.begin().await.expect("begins");
    logs.close().await.expect("closes");
    data_dir.close().await.expect("leaves its marker");
    took_ms
}

async fn many_segments(directory: &Path, segments: u64) {
    let folder = directory.join("orders-0");
    fs::create_dir_all(&folder).await.expect("creates");
    for offset in 0..segments {
        let mut builder = BatchBuilder::new(Compression::None).base_offset(offset as i64);
        builder.push(1_000, None, Some(b"value"), &[]);
        let bytes = builder.finish().expect("builds");
        let mut block = Buffer::take(BLOCK_BYTES);
        block.fill(0);
        block[..bytes.len()].copy_from_slice(&bytes);
        let path = folder.join(format!("{offset:020}.log"));
        let file = File::open(&path, FileMode::CreateNew).await.expect("creates");
        file.write_at(block, 0, Durability::Written).await.0.expect("writes");
        file.set_len(bytes.len() as u64).await.expect("cuts");
    }
    let first_ms = open_and_close(directory, 1).await;
    let again_ms = open_and_close(directory, 1).await;

    let began = now();
    for offset in 0..segments {
        let file = File::open(&folder.join(format!("{offset:020}.log")), FileMode::Read).await.expect("opens");
        file.len().await.expect("has a size");
    }
    let one_by_one_ms = began.elapsed().as_secs_f64() * 1e3;
    let began = now();
    fs::list(&folder).await.expect("lists");
    let list_ms = began.elapsed().as_secs_f64() * 1e3;
    println!("one log of {segments} segments: opened in {again_ms:.0} ms (in {first_ms:.0} ms without a checkpoint)");
    println!("  one listing of it {list_ms:.0} ms; its segments opened and asked one by one {one_by_one_ms:.0} ms");
}

async fn many_partitions(directory: &Path, partitions: i32) {
    fs::create_dir_all(directory).await.expect("creates");
    let first_ms = open_and_close(directory, partitions).await;
    let again_ms = open_and_close(directory, partitions).await;
    println!(
        "{partitions} logs of one segment: created in {first_ms:.0} ms, opened one after the other in {again_ms:.0} ms"
    );
}
