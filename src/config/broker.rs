//! The broker's own keys. Defaults are Kafka's unless the documentation says why not; keys that Kafka lacks stand under `shard.`,
//! `io.` and `memory.`.

use crate::listener::Endpoint;
use crate::row::Valid::{Any, EachOf, Range};
use crate::table::table;

const INT_MAX: i64 = i32::MAX as i64;
const LONG_MAX: i64 = i64::MAX;
/// By name, or by Kafka's class.
const ASSIGNORS: &[&str] = &[
    "uniform",
    "range",
    "org.apache.kafka.coordinator.group.assignor.UniformAssignor",
    "org.apache.kafka.coordinator.group.assignor.RangeAssignor",
];

table! {
    /// Settings of the broker, whole: what was given, then the defaults.
    BrokerConfig, BROKER_ROWS;

    add_partitions_to_txn_retry_backoff_max_ms: u64 = "add.partitions.to.txn.retry.backoff.max.ms", Int, Some("100"), Range(0, INT_MAX), High, Restart, &[],
        "How long a produce request waits for the end of its producer's last transaction before the client is told to try again.";
    add_partitions_to_txn_retry_backoff_ms: u64 = "add.partitions.to.txn.retry.backoff.ms", Int, Some("20"), Range(1, INT_MAX), High, Restart, &[],
        "How often it looks whether that transaction has ended.";
    advertised_listeners: Vec<Endpoint> = "advertised.listeners", List, Some(""), Any, High, Restart, &[],
        "Addresses that clients are told to connect to: NAME://HOST:PORT,... Unset: the address at which each client has reached the broker.";
    auto_create_topics_enable: bool = "auto.create.topics.enable", Boolean, Some("true"), Any, High, Restart, &[],
        "Whether a topic is created when a client first asks for it.";
    broker_rack: Option<String> = "broker.rack", String, None, Any, Medium, Restart, &[],
        "Rack of this broker, for replica placement and for reads from the nearest replica.";
    connections_max_idle_ms: i64 = "connections.max.idle.ms", Long, Some("600000"), Any, Medium, Restart, &[],
        "A connection without a request for this long is closed.";
    default_replication_factor: i32 = "default.replication.factor", Int, Some("1"), Range(1, INT_MAX), Medium, Restart, &[],
        "Replicas of a topic that is created without a number.";
    delete_topic_enable: bool = "delete.topic.enable", Boolean, Some("true"), Any, High, Restart, &[],
        "Whether topics can be deleted.";
    fetch_max_bytes: usize = "fetch.max.bytes", Int, Some("57671680"), Range(1024, INT_MAX), Medium, Restart, &[],
        "Most bytes in one fetch response, whatever the client asks for; the first batch is sent whole even if it is larger.";
    group_consumer_assignment_interval_ms: i32 = "group.consumer.assignment.interval.ms", Int, Some("1000"), Range(0, INT_MAX), Medium, Restart,
        &[],
        "Least time between two assignments of a consumer group (KIP-848): members that come together are assigned together.";
    group_consumer_assignors: Vec<String> = "group.consumer.assignors", List, Some("uniform,range"), EachOf(ASSIGNORS), Medium, Restart, &[],
        "Assignors that members of consumer groups may ask for; the first is for groups whose members ask for none.";
    group_consumer_heartbeat_interval_ms: i32 = "group.consumer.heartbeat.interval.ms", Int, Some("5000"), Range(1, INT_MAX), Medium, Restart,
        &[],
        "How often members of consumer groups are told to send heartbeats.";
    group_consumer_max_size: usize = "group.consumer.max.size", Int, Some("2147483647"), Range(1, INT_MAX), Medium, Restart, &[],
        "Most members of one consumer group.";
    group_consumer_regex_refresh_interval_ms: i64 = "group.consumer.regex.refresh.interval.ms", Int, Some("600000"), Range(10_000, INT_MAX), Medium, Restart,
        &[],
        "How often subscriptions by pattern are matched again although no topic has come or gone.";
    group_consumer_session_timeout_ms: i32 = "group.consumer.session.timeout.ms", Int, Some("45000"), Range(1, INT_MAX), Medium, Restart, &[],
        "A member of a consumer group that has not been heard of for this long is given up.";
    group_initial_rebalance_delay_ms: i32 = "group.initial.rebalance.delay.ms", Int, Some("3000"), Range(0, INT_MAX), Medium, Restart, &[],
        "How long the first rebalance of an empty group waits for more members; it is extended while they keep coming, up to their rebalance timeout.";
    group_max_session_timeout_ms: i32 = "group.max.session.timeout.ms", Int, Some("1800000"), Range(1, INT_MAX), Medium, Restart, &[],
        "Longest session timeout that a member of a group may ask for.";
    group_max_size: usize = "group.max.size", Int, Some("2147483647"), Range(1, INT_MAX), Medium, Restart, &[],
        "Most members of one group.";
    group_min_session_timeout_ms: i32 = "group.min.session.timeout.ms", Int, Some("6000"), Range(1, INT_MAX), Medium, Restart, &[],
        "Shortest session timeout that a member of a group may ask for.";
    group_share_assignment_interval_ms: i32 = "group.share.assignment.interval.ms", Int, Some("1000"), Range(0, INT_MAX), Medium, Restart, &[],
        "Least time between two assignments of a share group (KIP-932): members that come together are assigned together.";
    group_share_delivery_count_limit: i32 = "group.share.delivery.count.limit", Int, Some("5"), Range(2, 10), Medium, Restart, &[],
        "How often a record is delivered to a share group before it is given up.";
    group_share_heartbeat_interval_ms: i32 = "group.share.heartbeat.interval.ms", Int, Some("5000"), Range(1, INT_MAX), Medium, Restart, &[],
        "How often members of share groups are told to send heartbeats.";
    group_share_initialize_retry_interval_ms: i64 = "group.share.initialize.retry.interval.ms", Int, Some("30000"), Range(1, INT_MAX), Low, Restart, &[],
        "How long a share group waits for the state of a new partition before it asks again.";
    group_share_max_share_sessions: usize = "group.share.max.share.sessions", Int, Some("2000"), Range(1, INT_MAX), Medium, Restart, &[],
        "Most share sessions of the broker, shared out evenly to its shards; each consumer of a share group has one.";
    group_share_max_size: usize = "group.share.max.size", Int, Some("200"), Range(1, 1000), Medium, Restart, &[],
        "Most members of one share group.";
    group_share_partition_max_record_locks: i32 = "group.share.partition.max.record.locks", Int, Some("2000"), Range(100, 10_000), Medium, Restart, &[],
        "Most records of a partition that a share group may have in flight.";
    group_share_record_lock_duration_ms: i32 = "group.share.record.lock.duration.ms", Int, Some("30000"), Range(1_000, 3_600_000), Medium, Restart, &[],
        "How long a member of a share group has a record for itself.";
    group_share_session_timeout_ms: i32 = "group.share.session.timeout.ms", Int, Some("45000"), Range(1, INT_MAX), Medium, Restart, &[],
        "A member of a share group that has not been heard of for this long is given up.";
    io_journal_bytes: usize = "io.journal.bytes", Long, Some("536870912"), Range(4 << 20, LONG_MAX), Medium, Restart, &[],
        "Largest size of a shard's journal in each data directory. It grows to this only when the disk is slow to take the segments; an ack waits for the journal only.";
    listeners: Vec<Endpoint> = "listeners", List, Some("PLAINTEXT://127.0.0.1:9092"), Any, High, Restart, &[],
        "Addresses to listen on: NAME://HOST:PORT,... An empty host is every address. Kafka's default is every address; without authentication ours is this machine only.";
    log_cleaner_backoff_ms: u64 = "log.cleaner.backoff.ms", Long, Some("15000"), Range(0, LONG_MAX), Medium, Restart, &[],
        "How long the cleaner of compacted topics sleeps when there is nothing to clean.";
    log_cleaner_dedupe_buffer_size: usize = "log.cleaner.dedupe.buffer.size", Long, Some("134217728"), Range(1 << 20, LONG_MAX), Medium, Restart,
        &[],
        "Memory for finding the newest record of each key of compacted topics, shared out evenly to the shards; 24 bytes a key. Taken for a round of cleaning, no more than the keys of the round need; what does not fit takes several rounds.";
    log_cleaner_enable: bool = "log.cleaner.enable", Boolean, Some("true"), Any, Medium, Restart, &[],
        "Whether compacted topics are cleaned. Without it they grow for ever, consumer offsets included.";
    log_cleaner_io_buffer_load_factor: f64 = "log.cleaner.io.buffer.load.factor", Double, Some("0.9"), Any, Medium, Restart, &[],
        "Share of the memory for keys that may fill up, 0.1 to 0.95: more finds more keys in a round, and takes longer for each.";
    log_cleaner_io_max_bytes_per_second: f64 = "log.cleaner.io.max.bytes.per.second", Double, Some("1.7976931348623157E308"), Any, Medium, Restart,
        &[],
        "Most bytes that the cleaner reads and writes in a second, shared out evenly to the shards. Unset: no limit.";
    log_dirs: Vec<String> = "log.dirs", List, Some("data"), Any, High, Restart, &[],
        "Directories of the data (log.dir is the same key), created when missing. The first one also holds the metadata. A new partition goes where there are fewest; a directory that fails takes its partitions out of service and no others.";
    log_retention_check_interval_ms: u64 = "log.retention.check.interval.ms", Long, Some("300000"), Range(1, LONG_MAX), Medium, Restart, &[],
        "How often logs are looked through for segments that retention.ms, retention.bytes or the log start offset no longer keep.";
    max_connections: usize = "max.connections", Int, Some("100000"), Range(0, INT_MAX), Medium, Restart, &[],
        "Most connections at a time; when reached, no more are accepted until one closes. Kafka has no limit.";
    max_connections_per_ip: usize = "max.connections.per.ip", Int, Some("2147483647"), Range(0, INT_MAX), Medium, Restart, &[],
        "Most connections from one address; more are closed at once.";
    max_incremental_fetch_session_cache_slots: usize = "max.incremental.fetch.session.cache.slots", Int, Some("1000"), Range(0, INT_MAX),
        Medium, Restart, &[],
        "Most fetch sessions kept on this broker; clients beyond it send full fetch requests.";
    max_request_partition_size_limit: usize = "max.request.partition.size.limit", Int, Some("2000"), Range(1, INT_MAX), Medium, Restart, &[],
        "Most partitions in one page of DescribeTopicPartitions.";
    memory_shard_bytes: usize = "memory.shard.bytes", Long, Some("536870912"), Range(64 << 20, LONG_MAX), High, Restart, &[],
        "Memory that each shard may use for requests, the tails of its partitions, writes and reads. Taken as needed, recycled, never exceeded.";
    node_id: i32 = "node.id", Int, Some("1"), Range(0, INT_MAX), High, Restart, &[],
        "Number of this broker, unique in its cluster (broker.id is the same key).";
    num_partitions: i32 = "num.partitions", Int, Some("1"), Range(1, INT_MAX), Medium, Restart, &[],
        "Partitions of a topic that is created without a number.";
    offset_metadata_max_bytes: usize = "offset.metadata.max.bytes", Int, Some("4096"), Range(0, INT_MAX), High, Restart, &[],
        "Most characters of metadata that a client may commit with an offset.";
    offsets_retention_check_interval_ms: i64 = "offsets.retention.check.interval.ms", Long, Some("600000"), Range(1, LONG_MAX), High, Restart, &[],
        "How often groups are looked through for offsets that have expired.";
    offsets_retention_minutes: i32 = "offsets.retention.minutes", Int, Some("10080"), Range(1, INT_MAX), High, Restart, &[],
        "Offsets are deleted when their group has been empty, or the topic not subscribed to, for this long; of groups without members, this long after the commit.";
    offsets_topic_num_partitions: i32 = "offsets.topic.num.partitions", Int, Some("50"), Range(1, INT_MAX), High, Restart, &[],
        "Partitions of the topic of groups and offsets. Only counts when the topic is created, with the first group.";
    offsets_topic_replication_factor: i32 = "offsets.topic.replication.factor", Int, Some("3"), Range(1, 32767), High, Restart, &[],
        "Replicas of the topic of groups and offsets; as many as there are brokers if that is less.";
    offsets_topic_segment_bytes: i32 = "offsets.topic.segment.bytes", Int, Some("104857600"), Range(1, INT_MAX), High, Restart, &[],
        "Size of a segment of the topic of groups and offsets: small ones are compacted, and so loaded, sooner.";
    producer_id_expiration_check_interval_ms: u64 = "producer.id.expiration.check.interval.ms", Int, Some("600000"), Range(1, INT_MAX), Low, Restart, &[],
        "How often partitions look for producers that have been silent for `producer.id.expiration.ms`.";
    producer_id_expiration_ms: i64 = "producer.id.expiration.ms", Int, Some("86400000"), Range(1, INT_MAX), Low, Restart, &[],
        "A producer that has been silent for this long is forgotten by its partitions.";
    queued_max_request_bytes: i64 = "queued.max.request.bytes", Long, Some("-1"), Any, Medium, Restart, &[],
        "Most bytes of requests in progress on the broker, shared out evenly to its shards; -1 is a quarter of memory.shard.bytes each. Beyond it connections wait.";
    shard_cores: Option<String> = "shard.cores", String, None, Any, High, Restart, &[],
        "CPUs to run on, one shard each: 0-3,6. Unset: every CPU that the process may use.";
    shard_producers_max: usize = "shard.producers.max", Int, Some("100000"), Range(1, INT_MAX), Medium, Restart, &[],
        "Most idempotent producers that a shard remembers over all its partitions; the longest silent one goes first. Kafka has no limit.";
    shard_spin_us: u64 = "shard.spin.us", Int, Some("0"), Range(0, INT_MAX), Low, Restart, &[],
        "How long an idle shard polls before it sleeps. 0 costs no CPU when idle; more trades CPU for latency on tuned hosts.";
    share_coordinator_snapshot_update_records_per_snapshot: u32 = "share.coordinator.snapshot.update.records.per.snapshot", Int, Some("500"), Range(0, 500), Medium, Restart,
        &[],
        "Updates of a share partition's state between two records that say all of it.";
    share_coordinator_state_topic_min_isr: i32 = "share.coordinator.state.topic.min.isr", Int, Some("2"), Range(1, 32767), High, Restart, &[],
        "min.insync.replicas of the topic of share groups' states; never more than it has replicas. Only counts when the topic is created.";
    share_coordinator_state_topic_num_partitions: i32 = "share.coordinator.state.topic.num.partitions", Int, Some("50"), Range(1, INT_MAX), High, Restart, &[],
        "Partitions of the topic of share groups' states. Only counts when the topic is created, with the first share group.";
    share_coordinator_state_topic_replication_factor: i32 = "share.coordinator.state.topic.replication.factor", Int, Some("3"), Range(1, 32767), High, Restart,
        &[],
        "Replicas of the topic of share groups' states; as many as there are brokers if that is less.";
    share_coordinator_state_topic_segment_bytes: i32 = "share.coordinator.state.topic.segment.bytes", Int, Some("104857600"), Range(1, INT_MAX), High, Restart,
        &[],
        "Size of a segment of the topic of share groups' states: small ones are deleted sooner.";
    socket_request_max_bytes: usize = "socket.request.max.bytes", Int, Some("104857600"), Range(1, INT_MAX), High, Restart, &[],
        "Largest request; a connection that announces more is closed.";
    transaction_max_timeout_ms: i32 = "transaction.max.timeout.ms", Int, Some("900000"), Range(1, INT_MAX), High, Restart, &[],
        "Longest timeout that a transactional producer may ask for: an open transaction holds the readers of committed records.";
    transaction_state_log_min_isr: i32 = "transaction.state.log.min.isr", Int, Some("2"), Range(1, INT_MAX), High, Restart, &[],
        "min.insync.replicas of the topic of transactions; never more than it has replicas. Only counts when the topic is created.";
    transaction_state_log_num_partitions: i32 = "transaction.state.log.num.partitions", Int, Some("50"), Range(1, INT_MAX), High, Restart, &[],
        "Partitions of the topic of transactions. Only counts when the topic is created, with the first transactional producer.";
    transaction_state_log_replication_factor: i32 = "transaction.state.log.replication.factor", Int, Some("3"), Range(1, 32767), High, Restart, &[],
        "Replicas of the topic of transactions; as many as there are brokers if that is less.";
    transaction_state_log_segment_bytes: i32 = "transaction.state.log.segment.bytes", Int, Some("104857600"), Range(1, INT_MAX), High, Restart, &[],
        "Size of a segment of the topic of transactions: small ones are compacted, and so loaded, sooner.";
    transactional_id_expiration_ms: i32 = "transactional.id.expiration.ms", Int, Some("604800000"), Range(1, INT_MAX), High, Restart, &[],
        "A transactional id that has been idle for this long is forgotten. A producer that comes back later begins as a new one.";
}

impl BrokerConfig {
    /// Bytes of requests that one of `shards` shards may hold.
    pub fn request_bytes_per_shard(&self, shards: usize) -> usize {
        match usize::try_from(self.queued_max_request_bytes) {
            Ok(bytes) if bytes > 0 => (bytes / shards.max(1)).max(1),
            _ => self.memory_share(REQUESTS_PERCENT),
        }
    }

    /// Bytes that the tails of one shard's partitions and the read cache behind them may hold.
    pub fn tail_bytes_per_shard(&self) -> usize {
        self.memory_share(TAIL_PERCENT)
    }

    /// Bytes that one shard may hold in reads from disk.
    pub fn read_bytes_per_shard(&self) -> usize {
        self.memory_share(READS_PERCENT)
    }

    /// Bytes of buffers that one shard keeps for the next use.
    pub fn pool_bytes_per_shard(&self) -> usize {
        self.memory_share(REQUESTS_PERCENT + WRITES_PERCENT + READS_PERCENT)
    }

    fn memory_share(&self, percent: usize) -> usize {
        self.memory_shard_bytes / 100 * percent
    }
}

/// How a shard's memory is shared out (design.md, "Shards and sockets").
const REQUESTS_PERCENT: usize = 25;
const TAIL_PERCENT: usize = 40;
const WRITES_PERCENT: usize = 10;
const READS_PERCENT: usize = 15;
const REPLICATION_PERCENT: usize = 10;
const _: () = assert!(REQUESTS_PERCENT + TAIL_PERCENT + WRITES_PERCENT + READS_PERCENT + REPLICATION_PERCENT == 100);
