//! FindCoordinator (10): there are no groups and no transactions yet, so no coordinator is available, and clients ask again later.

use super::Handled;
use super::request::Request;
use ringlane_protocol::ErrorCode;
use ringlane_protocol::find_coordinator::{Coordinator, FindCoordinatorRequest, FindCoordinatorResponse};

/// First version with several keys in one request.
const BATCHED_FROM: i16 = 4;
/// Groups, transactions, share groups.
const KEY_TYPES: std::ops::RangeInclusive<i8> = 0..=2;

const NOBODY: i32 = -1;

pub fn answer(request: &Request) -> Handled {
    let body: FindCoordinatorRequest = request.body()?;
    let (error_code, message) = match KEY_TYPES.contains(&body.key_type) {
        true => (ErrorCode::CoordinatorNotAvailable, "this broker has no coordinators yet"),
        false => (ErrorCode::InvalidRequest, "key type 0 (group), 1 (transaction) or 2 (share group) is expected"),
    };
    let error_message = Some(message);
    let coordinators = body.coordinator_keys.iter().map(|key| Coordinator {
        key,
        node_id: NOBODY,
        port: NOBODY,
        error_code,
        error_message,
        host: "",
    });
    let response = match request.version {
        BATCHED_FROM.. => FindCoordinatorResponse { coordinators: coordinators.collect(), ..Default::default() },
        _ => FindCoordinatorResponse { error_code, error_message, node_id: NOBODY, port: NOBODY, ..Default::default() },
    };
    Ok(request.reply(&response))
}
