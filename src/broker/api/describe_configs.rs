//! DescribeConfigs (32): every setting with its value, source, type and the levels below it. Tools and Connect rely on the list being whole.

use super::Handled;
use super::auto_create::check_name;
use super::request::Request;
use crate::shard::Shard;
use ringlane_config::Described;
use ringlane_metadata::ResourceKind;
use ringlane_protocol::ErrorCode;
use ringlane_protocol::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult, DescribeConfigsResponse,
    DescribeConfigsResult, DescribeConfigsSynonym,
};

/// One resource's settings, or why there are none.
type Found = Result<Vec<Described>, (ErrorCode, String)>;

pub fn answer(request: &Request) -> Handled {
    let body: DescribeConfigsRequest = request.body()?;
    let found: Vec<Found> = body.resources.iter().map(|resource| describe(request.shard(), resource)).collect();
    let results = body.resources.iter().zip(&found).map(|(resource, found)| {
        let refused = found.as_ref().err();
        let described = found.as_deref().unwrap_or_default();
        DescribeConfigsResult {
            error_code: refused.map_or_else(Default::default, |(code, _)| *code),
            error_message: refused.map(|(_, message)| message.as_str()),
            resource_type: resource.resource_type,
            resource_name: resource.resource_name,
            configs: described.iter().map(|described| result(described, &body)).collect(),
        }
    });
    Ok(request.reply(&DescribeConfigsResponse { throttle_time_ms: 0, results: results.collect() }))
}

fn describe(shard: &Shard, resource: &DescribeConfigsResource<'_>) -> Found {
    let mut described = match ResourceKind::from_i8(resource.resource_type) {
        Some(ResourceKind::Topic) => describe_topic(shard, resource.resource_name),
        Some(ResourceKind::Broker) => describe_broker(shard, resource.resource_name),
        // Loggers, client metrics and groups have no settings here yet.
        Some(_) => Ok(Vec::new()),
        None => {
            let message = format!("resource type {} does not exist", resource.resource_type);
            Err((ErrorCode::InvalidRequest, message))
        }
    }?;
    if let Some(keys) = resource.configuration_keys.as_ref().filter(|keys| !keys.is_empty()) {
        described.retain(|described| keys.contains(&described.name));
    }
    Ok(described)
}

fn describe_topic(shard: &Shard, name: &str) -> Found {
    check_name(name).map_err(|code| (code, format!("{name:?} is not a topic name")))?;
    let image = shard.image();
    if image.topic_by_name(name).is_none() {
        return Err((ErrorCode::UnknownTopicOrPartition, format!("there is no topic named {name:?}")));
    }
    Ok(shard.config.describe_topic(image.topic_configs(name).map(|(key, value)| (&**key, &**value))))
}

fn describe_broker(shard: &Shard, name: &str) -> Found {
    let own = shard.identity.node_id;
    match name.parse::<i32>() {
        // What is set for all brokers together: nothing can be, yet.
        _ if name.is_empty() => Ok(Vec::new()),
        Ok(id) if id == own => Ok(shard.config.describe_broker()),
        Ok(id) => Err((ErrorCode::InvalidRequest, format!("this is broker {own}; ask broker {id} about broker {id}"))),
        Err(_) => Err((ErrorCode::InvalidRequest, format!("{name:?} is not a broker id: a whole number is expected"))),
    }
}

fn result<'a>(described: &'a Described, asked: &DescribeConfigsRequest<'_>) -> DescribeConfigsResourceResult<'a> {
    let synonym = |synonym: &'a ringlane_config::Synonym| DescribeConfigsSynonym {
        name: synonym.name,
        value: synonym.value.as_deref(),
        source: synonym.source as i8,
    };
    DescribeConfigsResourceResult {
        name: described.name,
        value: described.value.as_deref(),
        read_only: described.read_only,
        config_source: described.source as i8,
        is_sensitive: described.sensitive(),
        synonyms: if asked.include_synonyms { described.synonyms.iter().map(synonym).collect() } else { Vec::new() },
        config_type: described.kind().wire_code(),
        documentation: asked.include_documentation.then_some(described.row.doc),
    }
}
