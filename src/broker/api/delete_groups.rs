//! DeleteGroups (42): groups without members go, with all that they have committed.

use super::Handled;
use super::delete_share_group_offsets::delete_all_states;
use super::request::Request;
use ringlane_coordinator::group::{GroupReply, GroupRequest};
use ringlane_protocol::ErrorCode;
use ringlane_protocol::delete_groups::{DeletableGroupResult, DeleteGroupsRequest, DeleteGroupsResponse};
use std::collections::BTreeSet;

pub async fn answer(request: Request) -> Handled {
    let groups: BTreeSet<String> = {
        let body: DeleteGroupsRequest = request.body()?;
        body.groups_names.iter().map(|group| group.to_string()).collect()
    };
    let mut results = Vec::with_capacity(groups.len());
    for group in groups {
        let code = delete(&request, &group).await;
        results.push((group, code));
    }
    let results = results.iter().map(|(group_id, error_code)| DeletableGroupResult {
        group_id,
        error_code: *error_code,
        error_message: None,
    });
    Ok(request.reply(&DeleteGroupsResponse { throttle_time_ms: 0, results: results.collect() }))
}

async fn delete(request: &Request, group: &str) -> ErrorCode {
    // Behind a share group that is gone nobody would look for its states.
    if let Err(error) = delete_all_states(request.shard(), group).await {
        return error;
    }
    match request.shard().ask_group(group, GroupRequest::Delete(vec![group.to_owned()])).await {
        Ok(GroupReply::Delete(codes)) => codes.first().copied().unwrap_or(ErrorCode::UnknownServerError),
        Ok(_) => ErrorCode::UnknownServerError,
        Err(error) => error,
    }
}
