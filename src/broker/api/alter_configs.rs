//! AlterConfigs (33): replaces all settings of a resource; what is not named goes back to its default. Old tools only: KIP-339 took its place.

use super::Handled;
use super::incremental_alter_configs::ask;
use super::request::Request;
use ringlane_metadata::controller::{AlterConfigs, AlterOp, ConfigChange};
use ringlane_protocol::alter_configs::{
    AlterConfigsRequest, AlterConfigsResource, AlterConfigsResourceResponse, AlterConfigsResponse,
};

pub async fn answer(request: Request) -> Handled {
    let (asked, validate_only) = {
        let body: AlterConfigsRequest = request.body()?;
        (body.resources.iter().map(|resource| Ok(replace_configs(resource))).collect(), body.validate_only)
    };
    let outcomes = ask(&request, asked, validate_only).await;
    let body: AlterConfigsRequest = request.body()?;
    let responses = body.resources.iter().zip(&outcomes).map(|(resource, outcome)| {
        let refused = outcome.as_ref().err();
        AlterConfigsResourceResponse {
            error_code: refused.map_or_else(Default::default, |refused| refused.code),
            error_message: refused.map(|refused| refused.message.as_str()),
            resource_type: resource.resource_type,
            resource_name: resource.resource_name,
        }
    });
    Ok(request.reply(&AlterConfigsResponse { throttle_time_ms: 0, responses: responses.collect() }))
}

fn replace_configs(resource: &AlterConfigsResource<'_>) -> AlterConfigs {
    let changes = resource.configs.iter().map(|config| ConfigChange {
        key: config.name.to_owned(),
        op: AlterOp::Set,
        value: config.value.map(str::to_owned),
    });
    AlterConfigs {
        kind: resource.resource_type,
        name: resource.resource_name.to_owned(),
        changes: changes.collect(),
        replace_all: true,
    }
}
