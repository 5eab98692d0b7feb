//! CreateTopics (19): the controller decides; the answer comes when every shard serves the new partitions.

use super::Handled;
use super::auto_create::new_topic_id;
use super::request::Request;
use ringlane_config::Described;
use ringlane_metadata::controller::{CreateTopic, CreatedTopic};
use ringlane_metadata::{ControllerReply, ControllerRequest, Refused};
use ringlane_protocol::create_topics::{
    CreatableTopic, CreatableTopicConfigs, CreatableTopicResult, CreateTopicsRequest, CreateTopicsResponse,
};

/// First version whose answer lists the topic's settings.
const CONFIGS_FROM: i16 = 5;

pub async fn answer(request: Request) -> Handled {
    let (topics, validate_only) = {
        let body: CreateTopicsRequest = request.body()?;
        (body.topics.iter().map(create_topic).collect::<Vec<_>>(), body.validate_only)
    };
    let asked = ControllerRequest::CreateTopics { topics, validate_only };
    let outcome = request.shard().ask_controller(asked).await;
    let body: CreateTopicsRequest = request.body()?;
    let results = results_of(outcome, body.topics.len());
    let described: Vec<_> = body
        .topics
        .iter()
        .zip(&results)
        .map(|(topic, result)| if result.is_ok() { describe(&request, topic) } else { Vec::new() })
        .collect();
    let topics = body.topics.iter().zip(&results).zip(&described);
    let topics = topics.map(|((topic, result), described)| match result {
        Ok(created) => created_result(created, described),
        Err(refused) => CreatableTopicResult {
            name: topic.name,
            error_code: refused.code,
            error_message: Some(&refused.message),
            configs: Some(Vec::new()),
            ..Default::default()
        },
    });
    Ok(request.reply(&CreateTopicsResponse { throttle_time_ms: 0, topics: topics.collect() }))
}

fn create_topic(topic: &CreatableTopic<'_>) -> CreateTopic {
    let assigned = |assignment: &ringlane_protocol::create_topics::CreatableReplicaAssignment| {
        (assignment.partition_index, assignment.broker_ids.clone())
    };
    CreateTopic {
        name: topic.name.to_owned(),
        id: new_topic_id(),
        partitions: topic.num_partitions,
        replication_factor: topic.replication_factor,
        assignments: topic.assignments.iter().map(assigned).collect(),
        configs: topic.configs.iter().map(|set| (set.name.to_owned(), set.value.map(str::to_owned))).collect(),
    }
}

fn results_of(outcome: ControllerReply, count: usize) -> Vec<Result<CreatedTopic, Refused>> {
    match outcome {
        ControllerReply::CreateTopics(results) if results.len() == count => results,
        ControllerReply::Refused(refused) => vec![Err(refused); count],
        _ => vec![Err(super::answered_another()); count],
    }
}

fn describe(request: &Request, topic: &CreatableTopic<'_>) -> Vec<Described> {
    if request.version < CONFIGS_FROM {
        return Vec::new();
    }
    let set = topic.configs.iter().filter_map(|set| Some((set.name, set.value?)));
    request.shard().config.describe_topic(set)
}

fn created_result<'a>(created: &'a CreatedTopic, described: &'a [Described]) -> CreatableTopicResult<'a> {
    let config = |described: &'a Described| CreatableTopicConfigs {
        name: described.name,
        value: described.value.as_deref(),
        read_only: described.read_only,
        config_source: described.source as i8,
        is_sensitive: described.sensitive(),
    };
    CreatableTopicResult {
        name: &created.name,
        topic_id: created.id,
        num_partitions: created.partitions,
        replication_factor: created.replication_factor,
        configs: Some(described.iter().map(config).collect()),
        ..Default::default()
    }
}
