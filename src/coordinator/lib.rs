//! Ringlane: groups and transactions as pure state machines
