//! ApiVersions (18): which versions we serve, and who the client is (KIP-511).

use super::request::Request;
use super::{Handled, table};
use crate::net::{Answer, CloseReason};
use ringlane_metadata::FeatureRange;
use ringlane_protocol::api_versions::{
    ApiVersion, ApiVersionsRequest, ApiVersionsResponse, FinalizedFeatureKey, SupportedFeatureKey,
};
use ringlane_protocol::{ApiKey, ErrorCode, Versions, encode_response_frame};

/// First version whose client names its software.
const SOFTWARE_FROM: i16 = 3;
/// First version in whose answers features with minimum 0 may stand: older Java clients cannot read them (KAFKA-17492).
const ZERO_FEATURES_FROM: i16 = 4;
/// First version whose client says which broker it wants to talk to (KIP-1242).
const IDENTITY_FROM: i16 = 5;

pub fn answer(request: &Request) -> Handled {
    let body: ApiVersionsRequest = request.body()?;
    let error_code = check(request, &body);
    if error_code != ErrorCode::None {
        return Ok(request.reply(&ApiVersionsResponse { error_code, ..Default::default() }));
    }
    if request.version >= SOFTWARE_FROM {
        let software = (body.client_software_name.to_owned(), body.client_software_version.to_owned());
        tracing::debug!(peer = %request.connection.peer, name = software.0, version = software.1, "client software");
    }
    let image = request.shard().image();
    let own = image.broker(request.shard().identity.node_id);
    let levels: Vec<_> = image.features().map(|(name, level)| (name.clone(), level)).collect();
    let response = ApiVersionsResponse {
        error_code,
        api_keys: table::advertised().map(|(key, versions)| listed(key, versions)).collect(),
        supported_features: own.map_or_else(Vec::new, |own| supported_features(request.version, &own.features)),
        finalized_features_epoch: image.applied().index as i64,
        finalized_features: levels
            .iter()
            .filter(|(_, level)| *level > 0)
            .map(|(name, level)| FinalizedFeatureKey { name, max_version_level: *level, min_version_level: *level })
            .collect(),
        ..Default::default()
    };
    Ok(request.reply(&response))
}

/// A request in a version that we do not serve: for ApiVersions the client is told the range in the one form that every client reads, and may
/// ask again; any other ends the connection.
pub fn unsupported(request: Request) -> Result<(), CloseReason> {
    if request.key != ApiKey::ApiVersions {
        return Err(CloseReason::Unsupported { key: request.key.code(), version: request.version });
    }
    let body = ApiVersionsResponse {
        error_code: ErrorCode::UnsupportedVersion,
        api_keys: vec![listed(ApiKey::ApiVersions, ApiKey::ApiVersions.versions())],
        ..Default::default()
    };
    let correlation_id = request.correlation_id;
    let bytes = request.shard().encode(|writer| encode_response_frame(writer, 0, correlation_id, &body));
    request.connection.responses.open(0).answer(Answer::Send(bytes.into()));
    Ok(())
}

fn check(request: &Request, body: &ApiVersionsRequest) -> ErrorCode {
    let names = [body.client_software_name, body.client_software_version];
    if request.version >= SOFTWARE_FROM && !names.iter().all(|name| is_software_name(name)) {
        return ErrorCode::InvalidRequest;
    }
    let identity = &request.shard().identity;
    let other_cluster = body.cluster_id.is_some_and(|wanted| wanted != &*identity.cluster_id);
    let other_node = body.node_id >= 0 && body.node_id != identity.node_id;
    if request.version >= IDENTITY_FROM && (other_cluster || other_node) {
        // The client's addresses are stale: it must look for its cluster again.
        return ErrorCode::RebootstrapRequired;
    }
    ErrorCode::None
}

fn listed(key: ApiKey, versions: Versions) -> ApiVersion {
    ApiVersion { api_key: key.code(), min_version: versions.min, max_version: versions.max }
}

fn supported_features(version: i16, features: &[FeatureRange]) -> Vec<SupportedFeatureKey<'_>> {
    features
        .iter()
        .filter(|feature| feature.min > 0 || version >= ZERO_FEATURES_FROM)
        .map(|feature| SupportedFeatureKey { name: &feature.name, min_version: feature.min, max_version: feature.max })
        .collect()
}

/// `[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?` (KIP-511).
fn is_software_name(name: &str) -> bool {
    let is_end = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = name.as_bytes();
    is_end(bytes.first())
        && is_end(bytes.last())
        && bytes.iter().all(|&byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The name becomes a metric's label one day; whatever Kafka refuses must not get in.
    #[test]
    fn software_names_are_kafkas() {
        for good in ["a", "librdkafka", "apache-kafka-java", "2.16.0", "a-b.c"] {
            assert!(is_software_name(good), "{good}");
        }
        for bad in ["", "-a", "a-", "a b", ".", "ä", "a_b"] {
            assert!(!is_software_name(bad), "{bad}");
        }
    }
}
