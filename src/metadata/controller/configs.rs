//! Changing configs (KIP-339: incrementally; AlterConfigs: replacing all keys of a resource).

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
    Append = 2,
    Subtract = 3,
}
