//! `meta.properties`: which Kafka node a data directory belongs to. Read only: our own directories say it in `ringlane.properties`.
//!
//! ```text
//! version=1
//! cluster.id=bLpkkYdhRFe0HuJwoiepCQ
//! node.id=1                             broker.id in version 0
//! directory.id=R7elbLb6_8D4CljoZQAVyw   since Kafka 3.7
//! ```

use super::FileError;

pub const FILE_NAME: &str = "meta.properties";
/// Left by Kafka's orderly stop; it holds the broker epoch.
pub const CLEAN_SHUTDOWN: &str = ".kafka_cleanshutdown";

const VERSION_MAX: i16 = 1;

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MetaProperties {
    pub cluster_id: Option<String>,
    pub node_id: i32,
    pub directory_id: Option<String>,
}

pub fn decode(content: &[u8]) -> Result<MetaProperties, FileError> {
    let text = str::from_utf8(content).map_err(|_| FileError::Line { line: 1, what: "the file is not text" })?;
    let value = |wanted: &str| {
        let entries = (1..).zip(text.lines()).filter(|(_, line)| !line.trim_start().starts_with(['#', '!']));
        let mut pairs = entries.filter_map(|(line, text)| text.split_once('=').map(|(key, value)| (line, key, value)));
        pairs.find(|(_, key, _)| key.trim() == wanted).map(|(line, _, value)| (line, value.trim().to_owned()))
    };
    let (line, version) = value("version").ok_or(FileError::Line { line: 1, what: "there is no version" })?;
    match version.parse().map_err(|_| FileError::Line { line, what: "the version is not a number" })? {
        0..=VERSION_MAX => {}
        found => return Err(FileError::Version { known: VERSION_MAX, found }),
    }
    let node_id = value("node.id").or_else(|| value("broker.id"));
    let (line, node_id) = node_id.ok_or(FileError::Line { line: 1, what: "there is neither node.id nor broker.id" })?;
    Ok(MetaProperties {
        node_id: node_id.parse().map_err(|_| FileError::Line { line, what: "the node's id is not a number" })?,
        cluster_id: value("cluster.id").map(|(_, id)| id),
        directory_id: value("directory.id").map(|(_, id)| id),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever points a command at Kafka's directory must be told whose it is, not that something of ours is missing.
    #[test]
    fn both_versions_are_read_and_damage_is_told() {
        let now = b"#\n#Tue Nov 24 13:21:02 UTC 2026\nnode.id=1\ndirectory.id=R7elbLb6_8D4CljoZQAVyw\nversion=1\n\
            cluster.id=bLpkkYdhRFe0HuJwoiepCQ\n";
        let expected = MetaProperties {
            cluster_id: Some("bLpkkYdhRFe0HuJwoiepCQ".to_owned()),
            node_id: 1,
            directory_id: Some("R7elbLb6_8D4CljoZQAVyw".to_owned()),
        };
        assert_eq!(decode(now), Ok(expected));
        let zookeeper = MetaProperties { cluster_id: None, node_id: 7, directory_id: None };
        assert_eq!(decode(b"version=0\nbroker.id=7\n"), Ok(zookeeper));
        for (content, expected) in [
            (&b""[..], "there is no version"),
            (b"version=2\nnode.id=1\n", "format version 2"),
            (b"version=1\n", "neither node.id nor broker.id"),
            (b"version=1\nnode.id=x\n", "line 2: the node's id"),
            (b"\xff", "not text"),
        ] {
            let error = decode(content).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
