//! Changing configs: incrementally (KIP-339), or replacing all keys of a resource (the older AlterConfigs).

use crate::controller::{Decision, Refused, refuse_repeated};
use crate::{ConfigResource, Image, Record, ResourceKind};
use ringlane_config::{Config, Kind, TOPIC_ROWS};
use ringlane_protocol::ErrorCode;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Longest value, as in Kafka: what fits a string of the protocol.
const VALUE_BYTES_MAX: usize = i16::MAX as usize;

/// The changes of one resource. `kind` and `name` as on the wire.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AlterConfigs {
    pub kind: i8,
    pub name: String,
    pub changes: Vec<ConfigChange>,
    /// AlterConfigs (33): keys that are not named lose their value.
    pub replace_all: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigChange {
    pub key: String,
    pub op: AlterOp,
    pub value: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AlterOp {
    Set = 0,
    Delete = 1,
    /// Adds elements to a list.
    Append = 2,
    /// Takes elements out of a list.
    Subtract = 3,
}

impl AlterOp {
    pub fn from_i8(value: i8) -> Option<AlterOp> {
        use AlterOp::*;
        [Set, Delete, Append, Subtract].into_iter().find(|op| *op as i8 == value)
    }
}

/// Changes what can be changed; each resource as a whole.
pub fn alter_configs(
    image: &Image,
    resources: &[AlterConfigs],
) -> Decision<Vec<(Option<ConfigResource>, Result<(), Refused>)>> {
    let key = |asked: &AlterConfigs| format!("{} (type {})", asked.name, asked.kind);
    let keys: Vec<String> = resources.iter().map(key).collect();
    let repeated = refuse_repeated(keys.iter().map(String::as_str));
    let mut records = Vec::new();
    let one = |asked: &AlterConfigs| {
        repeated(&key(asked))?;
        records.extend(alter_one(image, asked)?);
        Ok(())
    };
    let results: Vec<_> = resources.iter().map(one).collect();
    let named = resources.iter().map(|asked| {
        let kind = ResourceKind::from_i8(asked.kind)?;
        Some(ConfigResource { kind, name: Arc::from(asked.name.as_str()) })
    });
    Decision { records, answer: named.zip(results).collect() }
}

fn alter_one(image: &Image, asked: &AlterConfigs) -> Result<Vec<Record>, Refused> {
    let invalid = |message: String| Refused::new(ErrorCode::InvalidRequest, message);
    match ResourceKind::from_i8(asked.kind) {
        Some(ResourceKind::Topic) => {}
        Some(kind) => {
            let message =
                format!("configs of {kind:?} resources cannot be changed while the cluster runs; only a topic's can");
            return Err(invalid(message));
        }
        None => return Err(invalid(format!("resource type {} is not known", asked.kind))),
    }
    if image.topic_by_name(&asked.name).is_none() {
        let message = format!("there is no topic named {:?}", asked.name);
        return Err(Refused::new(ErrorCode::UnknownTopicOrPartition, message));
    }
    let resource = ConfigResource::topic(&asked.name);
    let wanted = wanted_values(image, &resource, asked)?;
    check_topic(&wanted.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect())?;
    Ok(difference(image, &resource, &wanted))
}

/// All keys of the resource as they shall be.
fn wanted_values(
    image: &Image,
    resource: &ConfigResource,
    asked: &AlterConfigs,
) -> Result<BTreeMap<String, String>, Refused> {
    refuse_repeated_keys(asked)?;
    let mut wanted: BTreeMap<String, String> = match asked.replace_all {
        true => BTreeMap::new(),
        false => image.configs(resource).map(|(key, value)| (key.to_string(), value.to_string())).collect(),
    };
    for ConfigChange { key, op, value } in &asked.changes {
        let given = || {
            let message = format!("{key}: a value is needed, null was given");
            value.clone().ok_or_else(|| Refused::new(ErrorCode::InvalidConfig, message))
        };
        match op {
            AlterOp::Set => drop(wanted.insert(key.clone(), given()?)),
            AlterOp::Delete => drop(wanted.remove(key)),
            AlterOp::Append | AlterOp::Subtract => {
                let mut elements = list_elements(key, wanted.get(key))?;
                for element in given()?.split(',') {
                    elements.retain(|existing| *op == AlterOp::Append || existing != element);
                    if *op == AlterOp::Append && !elements.iter().any(|existing| existing == element) {
                        elements.push(element.to_string());
                    }
                }
                wanted.insert(key.clone(), elements.join(","));
            }
        }
    }
    Ok(wanted)
}

fn refuse_repeated_keys(asked: &AlterConfigs) -> Result<(), Refused> {
    let repeated = refuse_repeated(asked.changes.iter().map(|change| change.key.as_str()));
    asked.changes.iter().try_for_each(|change| repeated(&change.key))
}

/// The elements of a list key: those set, or else the default's.
fn list_elements(key: &str, set: Option<&String>) -> Result<Vec<String>, Refused> {
    let row = TOPIC_ROWS.iter().find(|row| row.name == key && row.kind == Kind::List);
    let row = row.ok_or_else(|| {
        let message =
            format!("{key} is not a list: nothing can be appended to it or subtracted from it, set it instead");
        Refused::new(ErrorCode::InvalidConfig, message)
    })?;
    let text = set.map(String::as_str).or(row.default).unwrap_or_default();
    Ok(text.split(',').filter(|element| !element.is_empty()).map(str::to_string).collect())
}

/// The records that lead from what is set to what is wanted.
fn difference(image: &Image, resource: &ConfigResource, wanted: &BTreeMap<String, String>) -> Vec<Record> {
    let record = |key: &str, value: Option<&String>| Record::Config {
        resource: resource.clone(),
        key: Arc::from(key),
        value: value.map(|value| Arc::from(value.as_str())),
    };
    let gone =
        image.configs(resource).filter(|(key, _)| !wanted.contains_key(&***key)).map(|(key, _)| record(key, None));
    let changed = wanted
        .iter()
        .filter(|(key, value)| image.config(resource, key).map(|set| &**set) != Some(value.as_str()))
        .map(|(key, value)| record(key, Some(value)));
    gone.chain(changed).collect()
}

/// Whether a topic may have these settings.
pub(super) fn check_topic(wanted: &BTreeMap<&str, &str>) -> Result<(), Refused> {
    let refused = |message: String| Err(Refused::new(ErrorCode::InvalidConfig, message));
    for (key, value) in wanted {
        if value.len() > VALUE_BYTES_MAX {
            return refused(format!("{key}: a value of {} bytes, at most {VALUE_BYTES_MAX} are possible", value.len()));
        }
        if let Err(error) = Config::check_topic(key, value) {
            return refused(error.to_string());
        }
    }
    Ok(())
}
