//! AlterShareGroupOffsets (91): where a share group without members shall begin. A group that is not there comes into being.

use super::Handled;
use super::request::Request;
use super::share_group_heartbeat::make_states;
use crate::shard::Shard;
use ringlane_coordinator::group::{ShareReply, ShareRequest};
use ringlane_coordinator::share_group::{AlterTopic, Altered, AlteredTopic, TopicPartitions};
use ringlane_protocol::ErrorCode;
use ringlane_protocol::alter_share_group_offsets::{
    AlterShareGroupOffsetsRequest, AlterShareGroupOffsetsResponse, AlterShareGroupOffsetsResponsePartition,
    AlterShareGroupOffsetsResponseTopic,
};
use std::collections::BTreeMap;
use std::rc::Rc;

pub async fn answer(request: Request) -> Handled {
    let (group, topics) = {
        let body: AlterShareGroupOffsetsRequest = request.body()?;
        let topics = body.topics.iter().map(|topic| AlterTopic {
            name: topic.topic_name.to_owned(),
            partitions: topic.partitions.iter().map(|asked| (asked.partition_index, asked.start_offset)).collect(),
        });
        (body.group_id.to_owned(), topics.collect())
    };
    let altered = alter(request.shard(), &group, topics).await;
    Ok(match &altered {
        Ok(topics) => {
            let responses = topics.iter().map(topic).collect();
            request.reply(&AlterShareGroupOffsetsResponse { responses, ..Default::default() })
        }
        Err((error_code, message)) => request.reply(&AlterShareGroupOffsetsResponse {
            error_code: *error_code,
            error_message: message.as_deref(),
            ..Default::default()
        }),
    })
}

fn topic(altered: &AlteredTopic) -> AlterShareGroupOffsetsResponseTopic<'_> {
    let partition =
        |(partition_index, _, error_code): &(i32, i64, ErrorCode)| AlterShareGroupOffsetsResponsePartition {
            partition_index: *partition_index,
            error_code: *error_code,
            error_message: None,
        };
    AlterShareGroupOffsetsResponseTopic {
        topic_name: &altered.name,
        topic_id: altered.topic_id,
        partitions: altered.partitions.iter().map(partition).collect(),
    }
}

async fn alter(
    shard: &Rc<Shard>,
    group: &str,
    topics: Vec<AlterTopic>,
) -> Result<Vec<AlteredTopic>, (ErrorCode, Option<String>)> {
    if group.is_empty() {
        return Err((ErrorCode::InvalidGroupId, None));
    }
    let plain = |error| (error, None);
    let asked = ShareRequest::AlterOffsets(group.to_owned(), topics);
    let Altered { state_epoch, mut topics } = match shard.ask_share_group(group, asked).await.map_err(plain)? {
        ShareReply::AlterOffsets(altered) => altered.map_err(|error| (error.code(), Some(error.to_string())))?,
        _ => return Err(plain(ErrorCode::UnknownServerError)),
    };
    let mut offsets = BTreeMap::new();
    let mut wanted = Vec::with_capacity(topics.len());
    for topic in &topics {
        let there = topic.partitions.iter().filter(|(_, _, error)| *error == ErrorCode::None);
        let there: Vec<(i32, i64)> = there.map(|(partition, offset, _)| (*partition, *offset)).collect();
        if !there.is_empty() {
            let partitions = there.iter().map(|(partition, _)| *partition).collect();
            wanted.push(TopicPartitions { topic_id: topic.topic_id, partitions });
            offsets.extend(there.into_iter().map(|(partition, offset)| ((topic.topic_id, partition), offset)));
        }
    }
    let offset = |topic, partition| offsets.get(&(topic, partition)).copied().unwrap_or(-1);
    match make_states(shard, &group.into(), state_epoch, &wanted, offset).await {
        Ok(()) => drop(shard.ask_share_group(group, ShareRequest::Initialized(group.to_owned(), wanted)).await),
        Err(error) => {
            // The group goes on wanting them: its first member has them made.
            let partitions = topics.iter_mut().flat_map(|topic| &mut topic.partitions);
            partitions.filter(|(_, _, code)| *code == ErrorCode::None).for_each(|(_, _, code)| *code = error);
        }
    }
    Ok(topics)
}
