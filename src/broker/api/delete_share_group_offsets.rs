//! DeleteShareGroupOffsets (92): a share group without members forgets topics. The group notes it, the share coordinator does it, the group notes
//! that it is done; DeleteGroups does the same with all topics of a share group.

use super::Handled;
use super::request::Request;
use crate::shard::Shard;
use futures::future::join_all;
use ringlane_coordinator::group::{ShareReply, ShareRequest};
use ringlane_coordinator::share_group::{DeletePlan, TopicPartitions};
use ringlane_coordinator::share_state::{ShareKey, ShareStateReply, ShareStateRequest};
use ringlane_protocol::delete_share_group_offsets::{
    DeleteShareGroupOffsetsRequest, DeleteShareGroupOffsetsResponse, DeleteShareGroupOffsetsResponseTopic,
};
use ringlane_protocol::{ErrorCode, TopicId};
use std::rc::Rc;
use std::sync::Arc;

struct Deleted {
    name: Arc<str>,
    id: TopicId,
    error: ErrorCode,
    message: Option<&'static str>,
}

pub async fn answer(request: Request) -> Handled {
    let (group, names) = {
        let body: DeleteShareGroupOffsetsRequest = request.body()?;
        let names = body.topics.iter().map(|topic| topic.topic_name.to_owned()).collect();
        (body.group_id.to_owned(), names)
    };
    let deleted = delete_offsets(request.shard(), &group, names).await;
    Ok(match &deleted {
        Ok(topics) => {
            let topic = |deleted: &'_ Deleted| (deleted.id, deleted.error, deleted.message);
            let responses = topics.iter().map(|deleted| {
                let (topic_id, error_code, error_message) = topic(deleted);
                DeleteShareGroupOffsetsResponseTopic { topic_name: &deleted.name, topic_id, error_code, error_message }
            });
            request.reply(&DeleteShareGroupOffsetsResponse { responses: responses.collect(), ..Default::default() })
        }
        Err((error_code, message)) => request.reply(&DeleteShareGroupOffsetsResponse {
            error_code: *error_code,
            error_message: message.as_deref(),
            ..Default::default()
        }),
    })
}

async fn delete_offsets(
    shard: &Rc<Shard>,
    group: &str,
    names: Vec<String>,
) -> Result<Vec<Deleted>, (ErrorCode, Option<String>)> {
    if group.is_empty() {
        return Err((ErrorCode::InvalidGroupId, None));
    }
    let asked = ShareRequest::DeleteOffsets(group.to_owned(), names);
    let plan = match shard.ask_share_group(group, asked).await.map_err(|error| (error, None))? {
        ShareReply::Delete(plan) => plan.map_err(|error| (error.code(), Some(error.to_string())))?.unwrap_or_default(),
        _ => return Err((ErrorCode::UnknownServerError, None)),
    };
    let refused = plan.refused.iter().map(|(name, message)| Deleted {
        name: name.as_str().into(),
        id: TopicId::ZERO,
        error: ErrorCode::UnknownTopicOrPartition,
        message: Some(message),
    });
    let mut deleted: Vec<Deleted> = refused.collect();
    let mut done = Vec::new();
    for (name, topic) in &plan.topics {
        let error = delete_states(shard, &group.into(), std::slice::from_ref(topic)).await.err();
        if error.is_none() {
            done.push(topic.topic_id);
        }
        let error = error.unwrap_or(ErrorCode::None);
        deleted.push(Deleted { name: name.clone(), id: topic.topic_id, error, message: None });
    }
    if !done.is_empty() {
        drop(shard.ask_share_group(group, ShareRequest::OffsetsDeleted(group.to_owned(), done)).await);
    }
    Ok(deleted)
}

/// Before a share group is deleted its states are. Of a group of another kind there is nothing to do.
pub async fn delete_all_states(shard: &Rc<Shard>, group: &str) -> Result<(), ErrorCode> {
    let plan = match shard.ask_share_group(group, ShareRequest::DeleteStates(group.to_owned())).await? {
        ShareReply::Delete(plan) => plan.map_err(|error| error.code())?,
        _ => return Err(ErrorCode::UnknownServerError),
    };
    let Some(DeletePlan { topics, .. }) = plan else { return Ok(()) };
    let topics: Vec<TopicPartitions> = topics.into_iter().map(|(_, topic)| topic).collect();
    delete_states(shard, &group.into(), &topics).await
}

async fn delete_states(shard: &Rc<Shard>, group: &Arc<str>, topics: &[TopicPartitions]) -> Result<(), ErrorCode> {
    let keys = topics.iter().flat_map(|topic| {
        let key = |partition: &i32| ShareKey { group: group.clone(), topic_id: topic.topic_id, partition: *partition };
        topic.partitions.iter().map(key)
    });
    let asked = keys.map(|key| shard.ask_share_state(ShareStateRequest::Delete { key }));
    for answer in join_all(asked).await {
        match answer? {
            ShareStateReply::Done(done) => done.map_err(|error| error.code())?,
            _ => return Err(ErrorCode::UnknownServerError),
        }
    }
    Ok(())
}
