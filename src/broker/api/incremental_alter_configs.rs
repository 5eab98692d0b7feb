//! IncrementalAlterConfigs (44): sets, deletes, appends to and subtracts from single settings (KIP-339).

use super::Handled;
use super::request::Request;
use ringlane_metadata::controller::{AlterConfigs, AlterOp, ConfigChange};
use ringlane_metadata::{ControllerReply, ControllerRequest, Refused};
use ringlane_protocol::ErrorCode;
use ringlane_protocol::incremental_alter_configs::{
    AlterConfigsResource, AlterConfigsResourceResponse, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};

pub async fn answer(request: Request) -> Handled {
    let (asked, validate_only) = {
        let body: IncrementalAlterConfigsRequest = request.body()?;
        (body.resources.iter().map(alter_configs).collect::<Vec<_>>(), body.validate_only)
    };
    let outcomes = ask(&request, asked, validate_only).await;
    let body: IncrementalAlterConfigsRequest = request.body()?;
    let responses = body.resources.iter().zip(&outcomes).map(|(resource, outcome)| {
        let refused = outcome.as_ref().err();
        AlterConfigsResourceResponse {
            error_code: refused.map_or_else(Default::default, |refused| refused.code),
            error_message: refused.map(|refused| refused.message.as_str()),
            resource_type: resource.resource_type,
            resource_name: resource.resource_name,
        }
    });
    Ok(request.reply(&IncrementalAlterConfigsResponse { throttle_time_ms: 0, responses: responses.collect() }))
}

/// What the controller makes of those resources that could be understood; the others keep their own refusal. In the order of the request.
pub async fn ask(
    request: &Request,
    asked: Vec<Result<AlterConfigs, Refused>>,
    validate_only: bool,
) -> Vec<Result<(), Refused>> {
    let resources: Vec<AlterConfigs> = asked.iter().filter_map(|one| one.as_ref().ok().cloned()).collect();
    let count = resources.len();
    let reply = request.shard().ask_controller(ControllerRequest::AlterConfigs { resources, validate_only }).await;
    let mut decided = match reply {
        ControllerReply::AlterConfigs(results) if results.len() == count => {
            results.into_iter().map(|(_, result)| result).collect()
        }
        ControllerReply::Refused(refused) => vec![Err(refused); count],
        _ => vec![Err(super::answered_another()); count],
    }
    .into_iter();
    let outcome = |one: Result<AlterConfigs, Refused>| match one {
        Ok(_) => decided.next().unwrap_or_else(|| Err(super::answered_another())),
        Err(refused) => Err(refused),
    };
    asked.into_iter().map(outcome).collect()
}

fn alter_configs(resource: &AlterConfigsResource<'_>) -> Result<AlterConfigs, Refused> {
    let changes = resource.configs.iter().map(|config| {
        let op = AlterOp::from_i8(config.config_operation).ok_or_else(|| Refused {
            code: ErrorCode::InvalidRequest,
            message: format!(
                "{}: operation {} is not known; there are 0 (set) to 3 (subtract)",
                config.name, config.config_operation
            ),
        })?;
        Ok(ConfigChange { key: config.name.to_owned(), op, value: config.value.map(str::to_owned) })
    });
    Ok(AlterConfigs {
        kind: resource.resource_type,
        name: resource.resource_name.to_owned(),
        changes: changes.collect::<Result<_, Refused>>()?,
        replace_all: false,
    })
}
