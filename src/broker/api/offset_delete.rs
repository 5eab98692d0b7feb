//! OffsetDelete (47): takes committed offsets back (KIP-496), of topics that the group does not read any more.

use super::Handled;
use super::request::Request;
use ringlane_coordinator::group::{DeleteOffsets, GroupReply, GroupRequest};
use ringlane_protocol::ErrorCode;
use ringlane_protocol::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteResponse, OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};

pub async fn answer(request: Request) -> Handled {
    let (asked, exists) = {
        let body: OffsetDeleteRequest = request.body()?;
        let image = request.shard().image();
        let mut topics = Vec::new();
        let mut exists = Vec::with_capacity(body.topics.len());
        for topic in &body.topics {
            let found = image.topic_by_name(topic.name);
            let has = |partition: i32| found.is_some_and(|found| found.partition(partition).is_some());
            exists.push(topic.partitions.iter().map(|asked| has(asked.partition_index)).collect::<Vec<_>>());
            let existing = topic.partitions.iter().map(|asked| asked.partition_index).filter(|asked| has(*asked));
            let existing: Vec<i32> = existing.collect();
            if !existing.is_empty() {
                topics.push((topic.name.to_owned(), existing));
            }
        }
        (DeleteOffsets { group: body.group_id.to_owned(), topics }, exists)
    };
    let group = asked.group.clone();
    let decided = match group.is_empty() {
        true => Err(ErrorCode::InvalidGroupId),
        false => match request.shard().ask_group(&group, GroupRequest::DeleteOffsets(asked)).await {
            Ok(GroupReply::DeleteOffsets(codes)) => codes,
            Ok(_) => Err(ErrorCode::UnknownServerError),
            Err(error) => Err(error),
        },
    };
    let body: OffsetDeleteRequest = request.body()?;
    let mut decided = match decided {
        Ok(codes) => codes.into_iter().flatten(),
        Err(error_code) => return Ok(request.reply(&OffsetDeleteResponse { error_code, ..Default::default() })),
    };
    let topics = body.topics.iter().zip(exists).map(|(topic, exists)| {
        let partitions = topic.partitions.iter().zip(exists).map(|(asked, exists)| OffsetDeleteResponsePartition {
            partition_index: asked.partition_index,
            error_code: match exists {
                true => decided.next().unwrap_or(ErrorCode::UnknownServerError),
                false => ErrorCode::UnknownTopicOrPartition,
            },
        });
        OffsetDeleteResponseTopic { name: topic.name, partitions: partitions.collect() }
    });
    Ok(request.reply(&OffsetDeleteResponse { topics: topics.collect(), ..Default::default() }))
}
