//! Heartbeat (12): a member is there, and learns whether its group rebalances.

use super::Handled;
use super::request::Request;
use ringlane_coordinator::group::{GroupReply, GroupRequest, Heartbeat};
use ringlane_protocol::ErrorCode;
use ringlane_protocol::heartbeat::{HeartbeatRequest, HeartbeatResponse};

pub async fn answer(request: Request) -> Handled {
    let asked = {
        let body: HeartbeatRequest = request.body()?;
        Heartbeat {
            group: body.group_id.to_owned(),
            generation: body.generation_id,
            member_id: body.member_id.to_owned(),
            instance_id: body.group_instance_id.map(str::to_owned),
        }
    };
    let group = asked.group.clone();
    let error_code = match request.shard().ask_group(&group, GroupRequest::Heartbeat(asked)).await {
        Ok(GroupReply::Heartbeat(code)) => code,
        Ok(_) => ErrorCode::UnknownServerError,
        // The member is as well as it was: it has its whole session when loading is done.
        Err(ErrorCode::CoordinatorLoadInProgress) => ErrorCode::None,
        Err(error) => error,
    };
    Ok(request.reply(&HeartbeatResponse { throttle_time_ms: 0, error_code }))
}
