//! DescribeCluster (60): who the brokers are.

use super::Handled;
use super::metadata::{CLUSTER_OPERATIONS, NO_OPERATIONS};
use super::request::Request;
use ringlane_protocol::ErrorCode;
use ringlane_protocol::describe_cluster::{DescribeClusterBroker, DescribeClusterRequest, DescribeClusterResponse};

/// Endpoint types (KIP-919): this listener serves clients, never controllers.
const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

pub fn answer(request: &Request) -> Handled {
    let body: DescribeClusterRequest = request.body()?;
    let (error_code, error_message) = match body.endpoint_type {
        BROKERS => (ErrorCode::None, None),
        CONTROLLERS => {
            let message = "the request was sent to a broker endpoint and asks for a controller endpoint";
            (ErrorCode::MismatchedEndpointType, Some(message))
        }
        _ => (ErrorCode::UnsupportedEndpointType, Some("endpoint type 1 (brokers) is the only one served here")),
    };
    if error_code != ErrorCode::None {
        return Ok(request.reply(&DescribeClusterResponse { error_code, error_message, ..Default::default() }));
    }
    let shard = request.shard();
    let nodes = shard.nodes(&shard.image(), &request.connection);
    let brokers = nodes.iter().map(|node| DescribeClusterBroker {
        broker_id: node.id,
        host: &node.host,
        port: node.port,
        rack: node.rack.as_deref(),
        is_fenced: false,
    });
    let asked_operations = body.include_cluster_authorized_operations;
    Ok(request.reply(&DescribeClusterResponse {
        endpoint_type: BROKERS,
        cluster_id: &shard.identity.cluster_id,
        controller_id: shard.identity.node_id,
        brokers: brokers.collect(),
        cluster_authorized_operations: if asked_operations { CLUSTER_OPERATIONS } else { NO_OPERATIONS },
        ..Default::default()
    }))
}
