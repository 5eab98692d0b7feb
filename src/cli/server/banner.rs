//! What a broker says when it serves: six lines for people on standard error, one line for scripts on standard output.

use std::io::Write;
use std::path::Path;

use ringlane_broker::Serving;
use ringlane_config::Config;

use crate::cores;

pub fn print(serving: &Serving, config: &Config, cpus: &[usize], direct: bool) {
    let data_dir = std::path::absolute(&serving.data_dir).unwrap_or_else(|_| serving.data_dir.clone());
    let file_system = mounts().as_deref().and_then(|mounts| file_system(mounts, &data_dir));
    let disk = format!(
        "{}, {}",
        file_system.as_deref().unwrap_or("unknown"),
        if direct { "direct I/O" } else { "page cache" }
    );
    eprint!("{}", lines(serving, config, cpus, &disk));
    let addresses: Vec<String> = serving.listeners.iter().map(|(_, address)| address.to_string()).collect();
    let mut out = std::io::stdout().lock();
    // Without a reader of that line the broker serves all the same.
    let _ = writeln!(out, "ringlane: serving on {}", addresses.join(", ")).and_then(|()| out.flush());
}

fn lines(serving: &Serving, config: &Config, cpus: &[usize], disk: &str) -> String {
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
    let memory_mib = config.broker.memory_shard_bytes >> 20;
    let listeners: Vec<String> =
        serving.listeners.iter().map(|(name, address)| format!("{name}://{address}")).collect();
    format!(
        "ringlane {}\n  data        {} ({disk})\n  durability  {durability}\n  shards      {} on CPUs {}, {memory_mib} MiB each\n  listeners   {}\n  cluster     {}, node {}\n",
        env!("CARGO_PKG_VERSION"),
        serving.data_dir.display(),
        serving.shards,
        cores::show(cpus),
        listeners.join(", "),
        serving.cluster_id,
        serving.node_id,
    )
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

        let text = lines(&serving, &Config::default(), &[0, 1], "ext4 on /dev/vda1");

        assert_eq!(text.lines().count(), 6);
        assert!(
            text.contains("survive power loss") && text.contains("2 on CPUs 0-1") && text.contains("node 3"),
            "{text}"
        );
        assert!(lines(&serving, &relaxed, &[0], "").contains("survive the end of the process"));
        assert!(lines(&serving, &Config::default(), &[0], "tmpfs on tmpfs, page cache").contains("none"));
    }
}
