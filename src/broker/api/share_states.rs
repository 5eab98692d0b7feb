//! The share coordinator over the wire: InitializeShareGroupState (83), ReadShareGroupState (84), WriteShareGroupState (85),
//! DeleteShareGroupState (86), ReadShareGroupStateSummary (87). Brokers ask it; ours does so without a connection. One file for five keys, which
//! are one machine's requests and differ in nothing but their fields.

use super::Handled;
use super::request::Request;
use crate::shard::Shard;
use futures::future::join_all;
use ringlane_coordinator::share_partition::{RecordState, StateBatch};
use ringlane_coordinator::share_state::{ShareKey, ShareStateReply, ShareStateRequest, StoredState, StoredSummary};
use ringlane_protocol::{
    ErrorCode, TopicId, delete_share_group_state as delete, initialize_share_group_state as initialize,
    read_share_group_state as read, read_share_group_state_summary as summary, write_share_group_state as write,
};
use std::rc::Rc;
use std::sync::Arc;

/// A code with its message.
type Failed = (ErrorCode, Option<String>);

/// What one partition of a request asks for, by topic.
type Asked = Vec<(TopicId, Vec<(i32, Result<ShareStateRequest, ErrorCode>)>)>;
type Answered<T> = Vec<(TopicId, Vec<(i32, Result<T, Failed>)>)>;

/// All partitions at the same time, on whatever shards their states are.
async fn ask<T>(
    shard: &Rc<Shard>,
    asked: Asked,
    take: fn(ShareStateReply) -> Option<Result<T, Failed>>,
) -> Answered<T> {
    let one = |(partition, request): (i32, Result<ShareStateRequest, ErrorCode>)| async move {
        let answer = match request {
            Ok(request) => shard.ask_share_state_once(request).await,
            Err(error) => Err(error),
        };
        let answer = match answer {
            Ok(reply) => take(reply).unwrap_or(Err((ErrorCode::UnknownServerError, None))),
            Err(error) => Err((error, None)),
        };
        (partition, answer)
    };
    let topic = |(topic, partitions): (TopicId, Vec<(i32, Result<ShareStateRequest, ErrorCode>)>)| async move {
        (topic, join_all(partitions.into_iter().map(one)).await)
    };
    join_all(asked.into_iter().map(topic)).await
}

fn done(reply: ShareStateReply) -> Option<Result<(), Failed>> {
    match reply {
        ShareStateReply::Done(done) => Some(done.map_err(|error| (error.code(), Some(error.to_string())))),
        _ => None,
    }
}

fn stored(reply: ShareStateReply) -> Option<Result<StoredState, Failed>> {
    match reply {
        ShareStateReply::Read(read) => Some(read.map_err(|error| (error.code(), Some(error.to_string())))),
        _ => None,
    }
}

pub fn summary_of(reply: ShareStateReply) -> Option<Result<StoredSummary, (ErrorCode, Option<String>)>> {
    match reply {
        ShareStateReply::Summary(summary) => Some(summary.map_err(|error| (error.code(), Some(error.to_string())))),
        _ => None,
    }
}

/// `key` of each partition, checked.
fn key(group: &Arc<str>, topic_id: TopicId, partition: i32) -> Result<ShareKey, ErrorCode> {
    match group.is_empty() || topic_id.is_zero() {
        true => Err(ErrorCode::InvalidRequest),
        false => Ok(ShareKey { group: group.clone(), topic_id, partition }),
    }
}

pub async fn initialize(request: Request) -> Handled {
    let asked: Asked = {
        let body: initialize::InitializeShareGroupStateRequest = request.body()?;
        let group: Arc<str> = body.group_id.into();
        let partition = |id: TopicId, asked: &initialize::PartitionData| {
            let request = key(&group, id, asked.partition).map(|key| ShareStateRequest::Initialize {
                key,
                state_epoch: asked.state_epoch,
                start_offset: asked.start_offset,
            });
            (asked.partition, request)
        };
        let topics = body.topics.iter().map(|topic| {
            (topic.topic_id, topic.partitions.iter().map(|asked| partition(topic.topic_id, asked)).collect())
        });
        topics.collect()
    };
    let answered = ask(request.shard(), asked, done).await;
    let results = answered.iter().map(|(topic_id, partitions)| initialize::InitializeStateResult {
        topic_id: *topic_id,
        partitions: partitions
            .iter()
            .map(|(partition, answer)| {
                let (error_code, error_message) = failure(answer);
                initialize::PartitionResult { partition: *partition, error_code, error_message }
            })
            .collect(),
    });
    Ok(request.reply(&initialize::InitializeShareGroupStateResponse { results: results.collect() }))
}

pub async fn read(request: Request) -> Handled {
    let asked: Asked = {
        let body: read::ReadShareGroupStateRequest = request.body()?;
        let group: Arc<str> = body.group_id.into();
        let partition = |id: TopicId, asked: &read::PartitionData| {
            let leader_epoch = asked.leader_epoch;
            let request = key(&group, id, asked.partition).map(|key| ShareStateRequest::Read { key, leader_epoch });
            (asked.partition, request)
        };
        let topics = body.topics.iter().map(|topic| {
            (topic.topic_id, topic.partitions.iter().map(|asked| partition(topic.topic_id, asked)).collect())
        });
        topics.collect()
    };
    let answered = ask(request.shard(), asked, stored).await;
    let nothing = StoredState::default();
    let results = answered.iter().map(|(topic_id, partitions)| read::ReadStateResult {
        topic_id: *topic_id,
        partitions: partitions
            .iter()
            .map(|(partition, answer)| {
                let (error_code, error_message) = failure(answer);
                let state = answer.as_ref().unwrap_or(&nothing);
                read::PartitionResult {
                    partition: *partition,
                    error_code,
                    error_message,
                    state_epoch: state.state_epoch,
                    start_offset: state.start_offset,
                    state_batches: state.batches.iter().map(batch_of).collect(),
                }
            })
            .collect(),
    });
    Ok(request.reply(&read::ReadShareGroupStateResponse { results: results.collect() }))
}

fn batch_of(batch: &StateBatch) -> read::StateBatch {
    read::StateBatch {
        first_offset: batch.first_offset,
        last_offset: batch.last_offset,
        delivery_state: batch.state.code(),
        delivery_count: batch.delivery_count,
    }
}

pub async fn write(request: Request) -> Handled {
    let asked: Asked = {
        let body: write::WriteShareGroupStateRequest = request.body()?;
        let group: Arc<str> = body.group_id.into();
        let partition = |id: TopicId, asked: &write::PartitionData| {
            let request = key(&group, id, asked.partition).and_then(|key| {
                let batches = asked.state_batches.iter().map(parse).collect::<Option<Vec<_>>>();
                Ok(ShareStateRequest::Write {
                    key,
                    state_epoch: asked.state_epoch,
                    leader_epoch: asked.leader_epoch,
                    start_offset: asked.start_offset,
                    delivery_complete_count: asked.delivery_complete_count,
                    batches: batches.ok_or(ErrorCode::InvalidRequest)?,
                })
            });
            (asked.partition, request)
        };
        let topics = body.topics.iter().map(|topic| {
            (topic.topic_id, topic.partitions.iter().map(|asked| partition(topic.topic_id, asked)).collect())
        });
        topics.collect()
    };
    let answered = ask(request.shard(), asked, done).await;
    let results = answered.iter().map(|(topic_id, partitions)| write::WriteStateResult {
        topic_id: *topic_id,
        partitions: partitions
            .iter()
            .map(|(partition, answer)| {
                let (error_code, error_message) = failure(answer);
                write::PartitionResult { partition: *partition, error_code, error_message }
            })
            .collect(),
    });
    Ok(request.reply(&write::WriteShareGroupStateResponse { results: results.collect() }))
}

/// `None`: not a batch that a share partition has.
fn parse(batch: &write::StateBatch) -> Option<StateBatch> {
    let state = RecordState::from_code(batch.delivery_state).filter(|state| *state != RecordState::Acquired)?;
    let is_in_order = (0..=batch.last_offset).contains(&batch.first_offset);
    is_in_order.then_some(StateBatch {
        first_offset: batch.first_offset,
        last_offset: batch.last_offset,
        state,
        delivery_count: batch.delivery_count,
    })
}

pub async fn delete(request: Request) -> Handled {
    let asked: Asked = {
        let body: delete::DeleteShareGroupStateRequest = request.body()?;
        let group: Arc<str> = body.group_id.into();
        let partition = |id: TopicId, asked: &delete::PartitionData| {
            (asked.partition, key(&group, id, asked.partition).map(|key| ShareStateRequest::Delete { key }))
        };
        let topics = body.topics.iter().map(|topic| {
            (topic.topic_id, topic.partitions.iter().map(|asked| partition(topic.topic_id, asked)).collect())
        });
        topics.collect()
    };
    let answered = ask(request.shard(), asked, done).await;
    let results = answered.iter().map(|(topic_id, partitions)| delete::DeleteStateResult {
        topic_id: *topic_id,
        partitions: partitions
            .iter()
            .map(|(partition, answer)| {
                let (error_code, error_message) = failure(answer);
                delete::PartitionResult { partition: *partition, error_code, error_message }
            })
            .collect(),
    });
    Ok(request.reply(&delete::DeleteShareGroupStateResponse { results: results.collect() }))
}

pub async fn summary(request: Request) -> Handled {
    let asked: Asked = {
        let body: summary::ReadShareGroupStateSummaryRequest = request.body()?;
        let group: Arc<str> = body.group_id.into();
        let partition = |id: TopicId, asked: &summary::PartitionData| {
            (asked.partition, key(&group, id, asked.partition).map(|key| ShareStateRequest::Summary { key }))
        };
        let topics = body.topics.iter().map(|topic| {
            (topic.topic_id, topic.partitions.iter().map(|asked| partition(topic.topic_id, asked)).collect())
        });
        topics.collect()
    };
    let answered = ask(request.shard(), asked, summary_of).await;
    let results = answered.iter().map(|(topic_id, partitions)| summary::ReadStateSummaryResult {
        topic_id: *topic_id,
        partitions: partitions
            .iter()
            .map(|(partition, answer)| {
                let (error_code, error_message) = failure(answer);
                let found = answer.as_ref().ok();
                summary::PartitionResult {
                    partition: *partition,
                    error_code,
                    error_message,
                    state_epoch: found.map_or(0, |found| found.state_epoch),
                    leader_epoch: found.map_or(0, |found| found.leader_epoch),
                    start_offset: found.map_or(-1, |found| found.start_offset),
                    delivery_complete_count: found.map_or(-1, |found| found.delivery_complete_count),
                }
            })
            .collect(),
    });
    Ok(request.reply(&summary::ReadShareGroupStateSummaryResponse { results: results.collect() }))
}

fn failure<T>(answer: &Result<T, Failed>) -> (ErrorCode, Option<&str>) {
    match answer {
        Ok(_) => (ErrorCode::None, None),
        Err((error, message)) => (*error, message.as_deref()),
    }
}
