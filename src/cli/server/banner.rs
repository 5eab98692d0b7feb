//! What a broker says when it serves: six lines for people on standard error, one line for scripts on standard output.

use std::io::Write;
use std::path::Path;

use ringlane_broker::Serving;
use ringlane_config::Config;

use crate::args::Format;
use crate::cores;

pub fn print(serving: &Serving, config: &Config, cpus: &[usize], direct: bool, format: Format) {
    let data_dir = std::path::absolute(&serving.data_dir).unwrap_or_else(|_| serving.data_dir.clone());
    let file_system = mounts().as_deref().and_then(|mounts| file_system(mounts, &data_dir));
    let (file_system, way) =
        (file_system.as_deref().unwrap_or("unknown"), if direct { "direct I/O" } else { "page cache" });
    let lines = lines(serving, config, cpus, &format!("{file_system}, {way}"));
    match format {
        Format::Text => eprintln!("{}", text(&lines)),
        Format::Json => tracing::info!(banner = ?lines, "ringlane {} serves", env!("CARGO_PKG_VERSION")),
    }
    let addresses: Vec<String> = serving.listeners.iter().map(|(_, address)| address.to_string()).collect();
    let mut out = std::io::stdout().lock();
    // Without a reader of that line the broker serves all the same.
    let _ = writeln!(out, "ringlane: serving on {}", addresses.join(", ")).and_then(|()| out.flush());
}

fn text(lines: &[(&str, String)]) -> String {
    let lines: Vec<String> = lines.iter().map(|(name, value)| format!("  {name:<11} {value}")).collect();
    format!("ringlane {}\n{}", env!("CARGO_PKG_VERSION"), lines.join("\n"))
}

fn lines(serving: &Serving, config: &Config, cpus: &[usize], disk: &str) -> [(&'static str, String); 5] {
    let durability = match config.topic_defaults.durable() {
        _ if disk.starts_with("tmpfs") => {
            "none: the data is in memory (tmpfs) and gone with the machine's power".to_owned()
        }
        true => "an ack means that records survive power loss (flush.messages=1)".to_owned(),
        false => format!(
            "an ack means that records survive the end of the process; power loss costs up to {} ms (flush.ms)",
            config.topic_defaults.flush_ms
        ),
    };
    let listeners: Vec<String> =
        serving.listeners.iter().map(|(name, address)| format!("{name}://{address}")).collect();
    let memory_mib = config.broker.memory_shard_bytes >> 20;
    [
        ("data", format!("{} ({disk})", serving.data_dir.display())),
        ("durability", durability),
        ("shards", format!("{} on CPUs {}, {memory_mib} MiB each", serving.shards, cores::show(cpus))),
        ("listeners", listeners.join(", ")),
        ("cluster", format!("{}, node {}", serving.cluster_id, serving.node_id)),
    ]
}

/// Linux's table of mounts.
#[expect(clippy::disallowed_methods, reason = "/proc answers from memory; once, while the broker starts")]
fn mounts() -> Option<String> {
    std::fs::read_to_string("/proc/self/mounts").ok()
}

/// `ext4 on /dev/vda1`: of the mounts that hold `path`, the deepest, and of those the last, which hides the others.
fn file_system(mounts: &str, path: &Path) -> Option<String> {
    let (device, kind, _) = mounts
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ');
            let (device, point, kind) = (words.next()?, words.next()?, words.next()?);
            path.starts_with(point).then_some((device, kind, point.len()))
        })
        .max_by_key(|(_, _, depth)| *depth)?;
    Some(format!("{kind} on {device}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A broker whose data lies on tmpfs by mistake must not say that it lies on the root disk.
    #[test]
    fn the_deepest_and_latest_mount_is_named() {
        let mounts = "/dev/vda1 / ext4 rw 0 0\n/dev/vdb /data xfs rw 0 0\ntmpfs /data/tmp tmpfs rw 0 0\n/dev/vdc /data xfs rw 0 0\n";
        let of = |path: &str| file_system(mounts, Path::new(path)).unwrap();
        assert_eq!(of("/srv"), "ext4 on /dev/vda1");
        assert_eq!(of("/data/kafka"), "xfs on /dev/vdc");
        assert_eq!(of("/data/tmp/x"), "tmpfs on tmpfs");
        assert_eq!(of("/database"), "ext4 on /dev/vda1");
    }

    /// The durability in force must be in front of whoever starts a broker, and there are six lines to read.
    #[test]
    fn the_banner_has_six_lines_and_names_the_durability() {
        let serving = Serving {
            node_id: 3,
            cluster_id: "q1Sh-9_ISia_zwGINzRvyQ".to_owned(),
            data_dir: "/data".into(),
            shards: 2,
            listeners: vec![("PLAINTEXT".to_owned(), "127.0.0.1:9092".parse().unwrap())],
        };
        let (relaxed, _) = Config::builder().set("log.flush.interval.messages", "1000").build().unwrap();
        let banner = |config: &Config, disk: &str| text(&lines(&serving, config, &[0, 1], disk));

        let durable = banner(&Config::default(), "ext4 on /dev/vda1, direct I/O");
        assert_eq!(durable.lines().count(), 6);
        for part in ["survive power loss", "2 on CPUs 0-1", "node 3", "(ext4 on /dev/vda1, direct I/O)"] {
            assert!(durable.contains(part), "{durable}");
        }
        assert!(banner(&relaxed, "ext4").contains("survive the end of the process"));
        assert!(banner(&Config::default(), "tmpfs on tmpfs").contains("none"));
    }
}
