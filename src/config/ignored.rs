//! Kafka's broker keys that mean nothing here (yet). A `server.properties` that people bring along holds them by the hundred: they are
//! accepted, and named in one warning. A key neither here nor in a table is an error.

/// `name` is a key of Kafka's that is read and not used.
pub fn is_ignored(name: &str) -> bool {
    WHOLE.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Ignoring this key makes the broker less guarded than its owner expects.
pub fn is_guard(name: &str) -> bool {
    GUARDS.iter().any(|guard| name.starts_with(guard))
}

/// Families of keys, each whole.
const PREFIXES: &[&str] = &[
    "add.partitions.to.txn.",
    "alter.log.dirs.replication.",
    "config.providers.",
    "controller.",
    "delegation.token.",
    "group.",
    "internal.",
    "kafka.metrics.",
    "listener.name.",
    "metadata.",
    "metrics.",
    "offsets.",
    "quota.window.",
    "remote.log.",
    "replica.",
    "replication.quota.",
    "rlmm.config.",
    "rsm.config.",
    "sasl.",
    "share.",
    "ssl.",
    "telemetry.",
    "transaction.",
];

const WHOLE: &[&str] = &[
    "alter.config.policy.class.name",
    "authorizer.class.name",
    "allow.everyone.if.no.acl.found",
    "auto.leader.rebalance.enable",
    "background.threads",
    "broker.heartbeat.interval.ms",
    "broker.session.timeout.ms",
    "client.quota.callback.class",
    "config.providers",
    "connection.failed.authentication.delay.ms",
    "connections.max.reauth.ms",
    "controlled.shutdown.enable",
    "cordoned.log.dirs",
    "create.topic.policy.class.name",
    "delete.records.purgatory.purge.interval.requests",
    "early.start.listeners",
    "fetch.purgatory.purge.interval.requests",
    "follower.fetch.last.tiered.offset.enable",
    "initial.broker.registration.timeout.ms",
    "inter.broker.listener.name",
    "leader.imbalance.check.interval.seconds",
    "listener.security.protocol.map",
    "log.cleaner.io.buffer.size",
    "log.cleaner.threads",
    "log.dir.failure.timeout.ms",
    "log.flush.offset.checkpoint.interval.ms",
    "log.flush.start.offset.checkpoint.interval.ms",
    "log.initial.task.delay.ms",
    "log.message.downconversion.enable",
    "max.connection.creation.rate",
    "max.connections.per.ip.overrides",
    "metric.reporters",
    "num.io.threads",
    "num.network.threads",
    "num.recovery.threads.per.data.dir",
    "num.replica.alter.log.dirs.threads",
    "num.replica.fetchers",
    "offset.metadata.max.bytes",
    "principal.builder.class",
    "process.roles",
    "producer.purgatory.purge.interval.requests",
    "queued.max.requests",
    "remote.fetch.max.wait.ms",
    "remote.list.offsets.request.timeout.ms",
    "request.timeout.ms",
    "security.inter.broker.protocol",
    "security.providers",
    "server.max.startup.time.ms",
    "socket.connection.setup.timeout.max.ms",
    "socket.connection.setup.timeout.ms",
    "socket.listen.backlog.size",
    "socket.receive.buffer.bytes",
    "socket.send.buffer.bytes",
    "super.users",
    "unclean.leader.election.interval.ms",
    "unstable.api.versions.enable",
    "unstable.feature.versions.enable",
];

const GUARDS: &[&str] = &["authorizer.class.name", "sasl.", "security.", "ssl."];
