//! CreatePartitions (37): more partitions for topics that exist.

use super::Handled;
use super::request::Request;
use ringlane_metadata::controller::CreatePartitions;
use ringlane_metadata::{ControllerReply, ControllerRequest, Refused};
use ringlane_protocol::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic, CreatePartitionsTopicResult,
};

pub async fn answer(request: Request) -> Handled {
    let (topics, validate_only) = {
        let body: CreatePartitionsRequest = request.body()?;
        (body.topics.iter().map(create_partitions).collect::<Vec<_>>(), body.validate_only)
    };
    let asked = ControllerRequest::CreatePartitions { topics, validate_only };
    let outcome = request.shard().ask_controller(asked).await;
    let body: CreatePartitionsRequest = request.body()?;
    let outcomes = results_of(outcome, body.topics.len());
    let results = body.topics.iter().zip(&outcomes).map(|(topic, outcome)| {
        let refused = outcome.as_ref().err();
        CreatePartitionsTopicResult {
            name: topic.name,
            error_code: refused.map_or_else(Default::default, |refused| refused.code),
            error_message: refused.map(|refused| refused.message.as_str()),
        }
    });
    Ok(request.reply(&CreatePartitionsResponse { throttle_time_ms: 0, results: results.collect() }))
}

fn create_partitions(topic: &CreatePartitionsTopic<'_>) -> CreatePartitions {
    let assignments = topic.assignments.as_ref();
    CreatePartitions {
        name: topic.name.to_owned(),
        count: topic.count,
        assignments: assignments.map(|all| all.iter().map(|assignment| assignment.broker_ids.clone()).collect()),
    }
}

fn results_of(outcome: ControllerReply, count: usize) -> Vec<Result<(), Refused>> {
    match outcome {
        ControllerReply::CreatePartitions(results) if results.len() == count => results,
        ControllerReply::Refused(refused) => vec![Err(refused); count],
        _ => vec![Err(super::answered_another()); count],
    }
}
