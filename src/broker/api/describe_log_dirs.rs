//! DescribeLogDirs (35): what lies in each data directory, and how much room is left there (KIP-113, KIP-827).

use super::Handled;
use super::request::Request;
use crate::mesh::{ShardReply, ShardRequest};
use crate::shard::Shard;
use ringlane_log::DataDirState;
use ringlane_partition::{LogSize, TopicPartition};
use ringlane_protocol::ErrorCode;
use ringlane_protocol::describe_log_dirs::{
    DescribeLogDirsPartition, DescribeLogDirsRequest, DescribeLogDirsResponse, DescribeLogDirsResult,
    DescribeLogDirsTopic,
};
use ringlane_runtime::{ShardId, fs, shard_count};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::rc::Rc;

/// "Not known", of a directory that cannot be asked.
const NO_SPACE_KNOWN: i64 = -1;

/// One data directory as the answer has it.
struct Dir {
    error: ErrorCode,
    name: String,
    /// Partition and bytes, by topic.
    topics: BTreeMap<String, Vec<(i32, u64)>>,
    total_bytes: i64,
    usable_bytes: i64,
}

pub async fn answer(request: Request) -> Handled {
    let wanted = wanted(&request)?;
    let mut dirs = BTreeMap::new();
    for dir in request.shard().data_dirs() {
        dirs.insert(dir.path.clone(), describe(dir).await);
    }
    place(request.shard(), &wanted, sizes(request.shard()).await, &mut dirs);
    let results = dirs.values().map(|dir| DescribeLogDirsResult {
        error_code: dir.error,
        log_dir: &dir.name,
        topics: dir.topics.iter().map(|(name, partitions)| topic(name, partitions)).collect(),
        total_bytes: dir.total_bytes,
        usable_bytes: dir.usable_bytes,
        is_cordoned: false,
    });
    Ok(request.reply(&DescribeLogDirsResponse { results: results.collect(), ..Default::default() }))
}

/// The partitions that were asked for, names and numbers; `None` is all. What does not exist is simply not in the answer.
type Wanted = Option<BTreeSet<(String, i32)>>;

fn wanted(request: &Request) -> Result<Wanted, crate::net::CloseReason> {
    let body: DescribeLogDirsRequest = request.body()?;
    let pairs = |topics: Vec<_>| -> BTreeSet<(String, i32)> {
        let of = |topic: ringlane_protocol::describe_log_dirs::DescribableLogDirTopic<'_>| {
            let name = topic.topic.to_owned();
            topic.partitions.into_iter().map(move |partition| (name.clone(), partition))
        };
        topics.into_iter().flat_map(of).collect()
    };
    Ok(body.topics.map(pairs))
}

async fn describe(dir: DataDirState) -> Dir {
    let space = match &dir.failure {
        Some(failure) => Err(failure.clone()),
        None => fs::space(&dir.path).await.map_err(|error| error.to_string()),
    };
    // Kafka names directories in full, and its tools compare them.
    let name = std::path::absolute(&dir.path).unwrap_or(dir.path).to_string_lossy().into_owned();
    let (error, total_bytes, usable_bytes) = match space {
        Ok((usable_bytes, total_bytes)) => (ErrorCode::None, wire(total_bytes), wire(usable_bytes)),
        Err(failure) => {
            tracing::warn!(dir = %name, "data directory not described: {failure}");
            (ErrorCode::KafkaStorageError, NO_SPACE_KNOWN, NO_SPACE_KNOWN)
        }
    };
    Dir { error, name, topics: BTreeMap::new(), total_bytes, usable_bytes }
}

/// Sizes of all partitions, from all shards at the same time.
async fn sizes(shard: &Rc<Shard>) -> Vec<LogSize> {
    let mut calls = Vec::new();
    for to in 0..shard_count() {
        calls.push(shard.call(ShardId(to as u16), ShardRequest::LogSizes).await);
    }
    let mut sizes = Vec::new();
    for called in calls {
        // No reply: that shard is stopping, and so are we.
        if let Some(ShardReply::LogSizes(reply)) = called.await {
            sizes.extend(reply.sizes);
        }
    }
    sizes
}

/// Puts each partition that was asked for into its directory. A failed directory shows none, as in Kafka.
fn place(shard: &Rc<Shard>, wanted: &Wanted, sizes: Vec<LogSize>, dirs: &mut BTreeMap<PathBuf, Dir>) {
    let image = shard.image();
    for LogSize { at: TopicPartition { topic_id, partition }, data_dir, bytes } in sizes {
        let Some(topic) = image.topic(topic_id) else { continue };
        let key = (topic.name.to_string(), partition);
        let is_wanted = wanted.as_ref().is_none_or(|wanted| wanted.contains(&key));
        let dir = dirs.get_mut(&data_dir).filter(|dir| is_wanted && dir.error == ErrorCode::None);
        if let Some(dir) = dir {
            dir.topics.entry(key.0).or_default().push((partition, bytes));
        }
    }
    let topics = dirs.values_mut().flat_map(|dir| dir.topics.values_mut());
    topics.for_each(|partitions| partitions.sort_unstable());
}

fn topic<'a>(name: &'a str, partitions: &[(i32, u64)]) -> DescribeLogDirsTopic<'a> {
    let partition = |&(partition_index, bytes): &(i32, u64)| DescribeLogDirsPartition {
        partition_index,
        partition_size: wire(bytes),
        offset_lag: 0,
        is_future_key: false,
    };
    DescribeLogDirsTopic { name, partitions: partitions.iter().map(partition).collect() }
}

fn wire(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
