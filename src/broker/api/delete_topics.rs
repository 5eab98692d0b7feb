//! DeleteTopics (20): by name, or by id from version 6 on.

use super::Handled;
use super::request::Request;
use ringlane_metadata::controller::{DeleteTopic, DeletedTopic};
use ringlane_metadata::{ControllerReply, ControllerRequest, Refused};
use ringlane_protocol::delete_topics::{DeletableTopicResult, DeleteTopicsRequest, DeleteTopicsResponse};
use ringlane_protocol::{ErrorCode, TopicId};

/// First version whose client knows TOPIC_DELETION_DISABLED.
const DELETION_DISABLED_FROM: i16 = 3;

pub async fn answer(request: Request) -> Handled {
    let asked = asked(&request)?;
    let outcome = request.shard().ask_controller(ControllerRequest::DeleteTopics { topics: asked.clone() }).await;
    let results = results_of(outcome, asked.len());
    let responses = asked.iter().zip(&results).map(|(asked, result)| match result {
        Ok(deleted) => DeletableTopicResult { name: Some(&deleted.name), topic_id: deleted.id, ..Default::default() },
        Err(refused) => DeletableTopicResult {
            name: asked.name.as_deref(),
            topic_id: asked.id,
            error_code: code(refused.code, request.version),
            error_message: Some(&refused.message),
        },
    });
    Ok(request.reply(&DeleteTopicsResponse { throttle_time_ms: 0, responses: responses.collect() }))
}

fn code(error: ErrorCode, version: i16) -> ErrorCode {
    match error {
        ErrorCode::TopicDeletionDisabled if version < DELETION_DISABLED_FROM => ErrorCode::InvalidRequest,
        other => other,
    }
}

fn asked(request: &Request) -> Result<Vec<DeleteTopic>, crate::net::CloseReason> {
    let body: DeleteTopicsRequest = request.body()?;
    let by_state =
        body.topics.iter().map(|topic| DeleteTopic { name: topic.name.map(str::to_owned), id: topic.topic_id });
    let by_name = body.topic_names.iter().map(|name| DeleteTopic { name: Some((*name).to_owned()), id: TopicId::ZERO });
    Ok(by_state.chain(by_name).collect())
}

fn results_of(outcome: ControllerReply, count: usize) -> Vec<Result<DeletedTopic, Refused>> {
    match outcome {
        ControllerReply::DeleteTopics(results) if results.len() == count => results,
        ControllerReply::Refused(refused) => vec![Err(refused); count],
        _ => vec![Err(super::answered_another()); count],
    }
}
