//! Which versions a broker serves.

use ringlane_protocol::ApiKey;
use ringlane_protocol::api_versions::ApiVersionsResponse;
use std::collections::BTreeMap;

/// Of one connection's broker. Before the broker has told, only ApiVersions itself is known.
#[derive(Debug, Default)]
pub(super) struct BrokerVersions {
    ranges: BTreeMap<i16, (i16, i16)>,
    features: BTreeMap<String, i16>,
}

impl BrokerVersions {
    pub(super) fn from(response: &ApiVersionsResponse<'_>) -> BrokerVersions {
        let ranges = response.api_keys.iter().map(|api| (api.api_key, (api.min_version, api.max_version)));
        let features = response.finalized_features.iter().map(|f| (f.name.to_string(), f.max_version_level));
        BrokerVersions { ranges: ranges.collect(), features: features.collect() }
    }

    /// 0 when it is not finalized.
    pub(super) fn feature(&self, name: &str) -> i16 {
        self.features.get(name).copied().unwrap_or_default()
    }

    /// The highest version that both sides know, at most `at_most`; else what the broker has, in words.
    pub(super) fn common(&self, key: ApiKey, at_most: i16) -> Result<i16, String> {
        let ours = key.versions();
        let &(min, max) = self.ranges.get(&key.code()).ok_or("none")?;
        let highest = max.min(ours.max).min(at_most);
        if highest >= min.max(ours.min) { Ok(highest) } else { Err(format!("{min} to {max}")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringlane_protocol::api_versions::ApiVersion;

    /// Asking in a version that the broker lacks gets the connection closed without a word.
    #[test]
    fn the_highest_common_version_is_taken_or_none() {
        let api = |key: ApiKey, min_version, max_version| ApiVersion { api_key: key.code(), min_version, max_version };
        let response = ApiVersionsResponse {
            api_keys: vec![api(ApiKey::Produce, 0, 9), api(ApiKey::Fetch, 19, 20), api(ApiKey::Metadata, 0, 99)],
            ..Default::default()
        };
        let versions = BrokerVersions::from(&response);
        assert_eq!(versions.common(ApiKey::Produce, i16::MAX), Ok(9));
        assert_eq!(versions.common(ApiKey::Produce, 7), Ok(7));
        assert_eq!(versions.common(ApiKey::Produce, 2), Err("0 to 9".into()), "we have none below 3");
        assert_eq!(versions.common(ApiKey::Fetch, i16::MAX), Err("19 to 20".into()));
        assert_eq!(versions.common(ApiKey::Metadata, i16::MAX), Ok(ApiKey::Metadata.versions().max));
        assert_eq!(versions.common(ApiKey::JoinGroup, i16::MAX), Err("none".into()));
    }
}
