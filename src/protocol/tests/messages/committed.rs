//! The committed messages are those of the schemas, and the schemas those of the api key table.
use crate::files;
use ringlane_protocol::ApiKey;

/// Without this an edit of a schema, or by hand of a generated file, would not be what runs.
#[test]
fn committed_messages_are_what_the_schemas_say() {
    let stale = files::stale(&files::expected());
    assert!(stale.is_empty(), "run `cargo run -p ringlane-protocol --example generate`: these are stale: {stale:#?}");
}

/// The header of an API's schema decides the form of its messages, the table that of its headers: they must agree.
#[test]
fn schemas_agree_with_the_table_of_api_keys() {
    let apis = files::apis();
    let keys: Vec<ApiKey> = apis.iter().map(|api| ApiKey::from_i16(api.key).expect("a known key")).collect();
    let of_brokers: Vec<ApiKey> = ApiKey::ALL.iter().copied().filter(|key| key.on_broker_listener()).collect();
    assert_eq!(keys, of_brokers);
    for (api, key) in apis.iter().zip(keys) {
        assert_eq!(api.name, key.name());
        assert_eq!((api.versions.from, api.versions.to), (key.versions().min, key.versions().max), "{key}");
        assert_eq!(api.flexible_from.unwrap_or(i16::MAX), key.flexible_from(), "{key}");
        let listeners = if key.listeners() == ringlane_protocol::Listeners::Both { "BC" } else { "B" };
        assert_eq!(api.listeners, listeners, "{key}");
    }
}
