//! Finalized feature levels: what the whole cluster has agreed to use.

use crate::image::METADATA_VERSION;
use crate::{FeatureRange, Image};

/// `group.version`: 1 is consumer groups of the new protocol (KIP-848).
const GROUP_VERSION: &str = "group.version";
/// `share.version`: 1 is share groups (KIP-932).
const SHARE_VERSION: &str = "share.version";
/// `transaction.version`: 2 is what Kafka 4.0 and later run.
const TRANSACTION_VERSION: &str = "transaction.version";

/// The features that this program understands. Level 29 of the metadata is Kafka's 4.2-IV1: its record versions are the ones that
/// `record` writes. Transactions of level 2 bump the producer's epoch at every end (KIP-890).
const SUPPORTED: &[(&str, i16, i16)] =
    &[(METADATA_VERSION, 29, 29), (GROUP_VERSION, 0, 1), (SHARE_VERSION, 0, 1), (TRANSACTION_VERSION, 0, 2)];

/// What a broker of this version says in its registration and in ApiVersions.
pub fn supported() -> Vec<FeatureRange> {
    SUPPORTED.iter().map(|(name, min, max)| FeatureRange { name: name.to_string(), min: *min, max: *max }).collect()
}

/// What a new cluster starts with.
pub fn newest() -> impl Iterator<Item = (&'static str, i16)> {
    SUPPORTED.iter().map(|(name, _, level)| (*name, *level))
}

/// Whether this program may work with an image: every feature in force is one that it understands.
pub fn check(image: &Image) -> Result<(), String> {
    for (name, level) in image.features() {
        let known = SUPPORTED.iter().find(|(known, _, _)| *known == &**name);
        let (min, max) = known.map_or((0, 0), |(_, min, max)| (*min, *max));
        if !(min..=max).contains(&level) {
            return Err(format!(
                "the cluster runs {name} {level}, this ringlane understands {min} to {max}: start the version that it was last run with"
            ));
        }
    }
    Ok(())
}
