//! Brokers coming and going.

use crate::controller::{Decision, Refused, election};
use crate::image::METADATA_VERSION;
use crate::record::BrokerRegistrationChange;
use crate::{Broker, BrokerId, Endpoint, FeatureRange, Image, Record, Uuid};
use ringlane_protocol::ErrorCode;
use std::sync::Arc;

/// A broker's introduction of itself. It starts fenced.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RegisterBroker {
    pub broker: BrokerId,
    /// New at each start of the process.
    pub incarnation: Uuid,
    pub endpoints: Vec<Endpoint>,
    pub features: Vec<FeatureRange>,
    pub rack: Option<String>,
    pub directories: Vec<Uuid>,
}

/// The registration's epoch is its log index. The broker ignores all metadata below it: a broker that lost its disk would otherwise
/// take up an old leadership.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BrokerRegistered {
    pub epoch: i64,
}

/// Registers a new incarnation, fenced. What the old one led is given to others first. The same id with the same directories takes over
/// at once: it is the same broker, restarted (Kafka would wait for the old session to run out).
pub fn register_broker(
    image: &Image,
    next_index: u64,
    asked: &RegisterBroker,
) -> Decision<Result<BrokerRegistered, Refused>> {
    if let Err(refused) = check_registration(image, asked) {
        return Decision::none(Err(refused));
    }
    if let Some(existing) = image.broker(asked.broker).filter(|broker| broker.incarnation == asked.incarnation) {
        return Decision::none(Ok(BrokerRegistered { epoch: existing.epoch }));
    }
    let broker = Broker {
        id: asked.broker,
        // Becomes the index of the entry.
        epoch: -1,
        incarnation: asked.incarnation,
        endpoints: asked.endpoints.clone(),
        features: asked.features.clone(),
        rack: asked.rack.as_deref().map(Arc::from),
        fenced: true,
        in_controlled_shutdown: false,
        directories: asked.directories.clone(),
    };
    let mut records = election::broker_leaves(image, asked.broker);
    records.push(Record::RegisterBroker(broker));
    Decision { records, answer: Ok(BrokerRegistered { epoch: next_index as i64 }) }
}

/// Lets a broker serve, and lead what nobody leads.
pub fn unfence_broker(image: &Image, broker: BrokerId, epoch: i64) -> Decision<Result<(), Refused>> {
    let existing = match check_epoch(image, broker, epoch) {
        Ok(existing) => existing,
        Err(refused) => return Decision::none(Err(refused)),
    };
    if !existing.fenced {
        return Decision::none(Ok(()));
    }
    let unfenced = BrokerRegistrationChange { broker, epoch, fenced: Some(false), ..Default::default() };
    let mut records = vec![Record::BrokerRegistrationChange(unfenced)];
    records.extend(election::broker_returns(image, broker));
    Decision { records, answer: Ok(()) }
}

/// The registration that a request with this epoch speaks for.
pub(super) fn check_epoch(image: &Image, id: BrokerId, epoch: i64) -> Result<&Arc<Broker>, Refused> {
    let broker = image
        .broker(id)
        .ok_or_else(|| Refused::new(ErrorCode::BrokerIdNotRegistered, format!("broker {id} is not registered")))?;
    if broker.epoch != epoch {
        let message = format!("broker {id} speaks with epoch {epoch}, but its registration has {}", broker.epoch);
        return Err(Refused::new(ErrorCode::StaleBrokerEpoch, message));
    }
    Ok(broker)
}

fn check_registration(image: &Image, asked: &RegisterBroker) -> Result<(), Refused> {
    let invalid = |message: String| Err(Refused::new(ErrorCode::InvalidRegistration, message));
    let id = asked.broker;
    if let Some(existing) = image.broker(id)
        && !existing.fenced
        && existing.incarnation != asked.incarnation
        && !existing.directories.iter().any(|directory| asked.directories.contains(directory))
    {
        let message = format!(
            "node id {id} is in use by a live broker with another data directory; give this one a node.id of its own"
        );
        return Err(Refused::new(ErrorCode::DuplicateBrokerRegistration, message));
    }
    if asked.directories.is_empty() {
        return invalid(format!("broker {id} registers without a data directory"));
    }
    for (i, directory) in asked.directories.iter().enumerate() {
        // The lowest hundred ids have meanings of their own in Kafka (unassigned, lost, migrating).
        if u128::from_be_bytes(directory.0) < 100 {
            return invalid(format!("directory id {directory} of broker {id} is reserved"));
        }
        if asked.directories[..i].contains(directory) {
            return invalid(format!("broker {id} names directory {directory} more than once"));
        }
        let owner = image.brokers().find(|other| other.id != id && other.directories.contains(directory));
        if let Some(owner) = owner {
            return invalid(format!(
                "directory {directory} belongs to broker {}, broker {id} cannot have it too: was a data directory copied?",
                owner.id
            ));
        }
    }
    if !asked.features.iter().any(|feature| feature.name == METADATA_VERSION) {
        return invalid(format!("broker {id} does not say which {METADATA_VERSION} it understands"));
    }
    for (name, level) in image.features() {
        let range = asked.features.iter().find(|feature| *feature.name == **name);
        let (min, max) = range.map_or((0, 0), |range| (range.min, range.max));
        if !(min..=max).contains(&level) {
            let message = format!(
                "the cluster runs {name} {level}, broker {id} understands {min} to {max}: upgrade the broker, or see kafka-features"
            );
            return Err(Refused::new(ErrorCode::UnsupportedVersion, message));
        }
    }
    Ok(())
}
