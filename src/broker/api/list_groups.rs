//! ListGroups (16): the groups that this broker coordinates. Clients ask every broker and put the lists together.

use super::Handled;
use super::request::Request;
use crate::mesh::{ShardReply, ShardRequest};
use ringlane_coordinator::group::{GroupReply, GroupRequest, ListGroups, ListedGroup as Listed};
use ringlane_protocol::ErrorCode;
use ringlane_protocol::list_groups::{ListGroupsRequest, ListGroupsResponse, ListedGroup};

pub async fn answer(request: Request) -> Handled {
    let filter = {
        let body: ListGroupsRequest = request.body()?;
        let owned = |names: &[&str]| names.iter().map(|name| name.to_string()).collect();
        ListGroups { states: owned(&body.states_filter), types: owned(&body.types_filter) }
    };
    let (error_code, found) = match list(&request, filter).await {
        Ok(found) => (ErrorCode::None, found),
        Err(error) => (error, Vec::new()),
    };
    let groups = found.iter().map(|group| ListedGroup {
        group_id: &group.group,
        protocol_type: &group.protocol_type,
        group_state: group.state,
        group_type: group.kind,
    });
    Ok(request.reply(&ListGroupsResponse { throttle_time_ms: 0, error_code, groups: groups.collect() }))
}

/// All coordinators at the same time. One that still loads makes the list incomplete, and that is said; one that has just moved is another
/// broker's to list.
async fn list(request: &Request, filter: ListGroups) -> Result<Vec<Listed>, ErrorCode> {
    let shard = request.shard();
    let mut calls = Vec::new();
    for at in shard.coordinated() {
        let home = shard.placement.home(at.topic_id, at.partition);
        let call = crate::coordinator::GroupCall {
            at,
            request: GroupRequest::List(filter.clone()),
            via: crate::coordinator::ReplyVia::Lane,
            guard: None,
        };
        calls.push(shard.call(home, ShardRequest::Group(call)).await);
    }
    let mut found = Vec::new();
    for called in calls {
        match called.await {
            Some(ShardReply::Group(Ok(GroupReply::List(groups)))) => found.extend(groups),
            Some(ShardReply::Group(Err(ErrorCode::NotCoordinator))) | None => {}
            Some(ShardReply::Group(Err(error))) => return Err(error),
            Some(_) => return Err(ErrorCode::UnknownServerError),
        }
    }
    Ok(found)
}
