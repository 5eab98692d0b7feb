//! Finalized feature levels: what the whole cluster has agreed to use.

use crate::image::METADATA_VERSION;
use crate::{FeatureRange, Image, Record};
use std::sync::Arc;

/// The features that this program understands. Level 29 of the metadata is Kafka's 4.2-IV1: its record versions are the ones that
/// `record` writes.
const SUPPORTED: [(&str, i16, i16); 1] = [(METADATA_VERSION, 29, 29)];

/// What a broker of this version says in its registration and in ApiVersions.
pub fn supported() -> Vec<FeatureRange> {
    SUPPORTED.iter().map(|(name, min, max)| FeatureRange { name: name.to_string(), min: *min, max: *max }).collect()
}

/// The first records of a new cluster; none when it already has a metadata version.
pub fn bootstrap(image: &Image) -> Vec<Record> {
    if image.feature(METADATA_VERSION).is_some() {
        return Vec::new();
    }
    SUPPORTED.iter().map(|(name, _, level)| Record::FeatureLevel { name: Arc::from(*name), level: *level }).collect()
}
