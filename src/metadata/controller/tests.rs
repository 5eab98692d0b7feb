//! What each request is answered: Kafka's codes in Kafka's order of checks.

use crate::controller::*;
use crate::image::{Delta, Image, LogPosition};
use crate::{Endpoint, NO_LEADER, Uuid};
use ringlane_protocol::ErrorCode::{self, *};

const RULES: TopicRules = TopicRules { default_partitions: 1, default_replication_factor: 1, delete_enabled: true };

struct Cluster {
    image: Image,
}

impl Cluster {
    /// Brokers 1 to `brokers`, unfenced.
    fn of(brokers: i32) -> Cluster {
        let mut cluster = Cluster { image: Image::bootstrap(LogPosition { term: 1, index: 1 }, features::newest()) };
        for broker in 1..=brokers {
            let epoch = cluster.register(broker, broker as u8).unwrap().epoch;
            cluster.unfence(broker, epoch).unwrap();
        }
        cluster
    }

    fn commit(&mut self, records: Vec<Record>) {
        let position = LogPosition { term: 1, index: self.image.applied().index + 1 };
        self.image.apply(position, &records, &mut Delta::default()).unwrap();
    }

    fn perform<T>(&mut self, decision: Decision<T>) -> T {
        self.commit(decision.records);
        decision.answer
    }

    fn register(&mut self, broker: BrokerId, incarnation: u8) -> Result<BrokerRegistered, Refused> {
        let next = self.image.applied().index + 1;
        let decision = register_broker(&self.image, next, &registration(broker, incarnation));
        self.perform(decision)
    }

    fn unfence(&mut self, broker: BrokerId, epoch: i64) -> Result<(), Refused> {
        let decision = unfence_broker(&self.image, broker, epoch);
        self.perform(decision)
    }

    fn create(&mut self, topics: &[CreateTopic]) -> Vec<Result<CreatedTopic, Refused>> {
        let decision = create_topics(&self.image, &RULES, topics);
        self.perform(decision)
    }

    fn alter(&mut self, op: AlterOp, key: &str, value: Option<&str>) -> Result<(), Refused> {
        let change = ConfigChange { key: key.into(), op, value: value.map(str::to_string) };
        let asked = AlterConfigs { kind: 2, name: "orders".into(), changes: vec![change], replace_all: false };
        let decision = alter_configs(&self.image, &[asked]);
        self.perform(decision).remove(0).1
    }

    fn leader(&self, partition: i32) -> BrokerId {
        self.image.topic_by_name("orders").unwrap().partition(partition).unwrap().leader
    }
}

fn registration(broker: BrokerId, incarnation: u8) -> RegisterBroker {
    let endpoint = Endpoint { listener: "PLAINTEXT".into(), host: "h".into(), port: 9092, security_protocol: 0 };
    RegisterBroker {
        broker,
        incarnation: Uuid([incarnation; 16]),
        endpoints: vec![endpoint],
        features: features::supported(),
        rack: Option::None,
        directories: vec![Uuid([100 + broker as u8; 16])],
    }
}

fn topic(name: &str) -> CreateTopic {
    CreateTopic {
        name: name.into(),
        id: Uuid([name.len() as u8 + 1; 16]),
        partitions: -1,
        replication_factor: -1,
        assignments: Vec::new(),
        configs: Vec::new(),
    }
}

fn code<T>(result: &Result<T, Refused>) -> ErrorCode {
    result.as_ref().err().map_or(ErrorCode::None, |refused| refused.code)
}

/// Clients and tools act on the code: another one makes them retry for ever, or give up on what would work.
#[test]
fn create_topics_answers_kafkas_codes() {
    let mut cluster = Cluster::of(2);
    assert_eq!(code(&cluster.create(&[topic("orders.eu")])[0]), None);
    let with = |change: fn(&mut CreateTopic)| {
        let mut topic = topic("fresh");
        change(&mut topic);
        topic
    };
    for (asked, expected) in [
        (topic("orders.eu"), TopicAlreadyExists),
        (topic("orders_eu"), InvalidTopicException),
        (topic(""), InvalidTopicException),
        (topic(".."), InvalidTopicException),
        (topic("a b"), InvalidTopicException),
        (topic(&"x".repeat(250)), InvalidTopicException),
        (topic("__cluster_metadata"), InvalidRequest),
        (with(|t| t.partitions = 0), InvalidPartitions),
        (with(|t| t.partitions = -2), InvalidPartitions),
        (with(|t| t.partitions = 10_001), PolicyViolation),
        (with(|t| t.replication_factor = 0), InvalidReplicationFactor),
        (with(|t| t.replication_factor = 3), InvalidReplicationFactor),
        (with(|t| t.assignments = vec![(0, vec![])]), InvalidReplicaAssignment),
        (with(|t| t.assignments = vec![(0, vec![1, 1])]), InvalidReplicaAssignment),
        (with(|t| t.assignments = vec![(0, vec![9])]), InvalidReplicaAssignment),
        (with(|t| t.assignments = vec![(1, vec![1])]), InvalidReplicaAssignment),
        (with(|t| t.assignments = vec![(0, vec![1]), (0, vec![2])]), InvalidReplicaAssignment),
        (with(|t| t.assignments = vec![(0, vec![1]), (1, vec![1, 2])]), InvalidReplicaAssignment),
        (with(|t| (t.assignments, t.partitions) = (vec![(0, vec![1])], 1)), InvalidRequest),
        (with(|t| (t.assignments, t.replication_factor) = (vec![(0, vec![1])], 1)), InvalidRequest),
        (with(|t| t.configs = vec![("retention.ms".into(), Option::None)]), InvalidConfig),
        (with(|t| t.configs = vec![("retention.ms".into(), Some("soon".into()))]), InvalidConfig),
        (with(|t| t.configs = vec![("no.such.key".into(), Some("1".into()))]), InvalidConfig),
    ] {
        let result = cluster.create(std::slice::from_ref(&asked)).remove(0);
        assert_eq!(code(&result), expected, "{asked:?}: {result:?}");
        assert!(!result.unwrap_err().message.is_empty());
    }
    assert_eq!(cluster.image.topic_count(), 1, "a refused topic leaves nothing behind");
    let twice = cluster.create(&[topic("twice"), topic("once"), topic("twice")]);
    assert_eq!(twice.iter().map(code).collect::<Vec<_>>(), [InvalidRequest, None, InvalidRequest]);
}

/// `--replica-assignment` decides the preferred leader; changed in order, load would go elsewhere.
#[test]
fn assignments_are_kept_as_given() {
    let mut cluster = Cluster::of(3);
    let mut asked = topic("orders");
    asked.assignments = vec![(1, vec![3, 1]), (0, vec![2, 3])];
    let created = cluster.create(&[asked]).remove(0).unwrap();
    assert_eq!((created.partitions, created.replication_factor), (2, 2));
    let image = &cluster.image;
    let partition = image.topic_by_name("orders").unwrap().partition(1).unwrap();
    assert_eq!((&*partition.replicas, partition.leader), (&[3, 1][..], 3));
    assert_eq!(&*partition.directories, &[Uuid([103; 16]), Uuid([101; 16])]);
}

/// Leaders on one broker only would make a cluster of many as fast as one.
#[test]
fn placement_spreads_leaders_and_followers() {
    let mut cluster = Cluster::of(5);
    let asked = CreateTopic { partitions: 100, replication_factor: 3, ..topic("orders") };
    cluster.create(&[asked]).remove(0).unwrap();
    let topic = cluster.image.topic_by_name("orders").unwrap();
    for broker in 1..=5 {
        let led = topic.partitions.iter().filter(|partition| partition.leader == broker).count();
        let held = topic.partitions.iter().filter(|partition| partition.replicas.contains(&broker)).count();
        assert_eq!(led, 20);
        assert!((50..=70).contains(&held), "broker {broker} holds {held}");
    }
}

/// What was deleted must be gone with its configs: a topic made anew under the name would inherit them.
#[test]
fn delete_topics_takes_configs_along() {
    let mut cluster = Cluster::of(1);
    cluster.create(&[CreateTopic { configs: vec![("retention.ms".into(), Some("1".into()))], ..topic("orders") }]);
    let by_name = |name: &str| DeleteTopic { name: Some(name.into()), id: Uuid::ZERO };
    let id = cluster.image.topic_by_name("orders").unwrap().id;
    let asked = [
        by_name("nobody"),
        DeleteTopic { name: Option::None, id: Uuid([77; 16]) },
        DeleteTopic { name: Option::None, id: Uuid::ZERO },
        DeleteTopic { name: Some("orders".into()), id },
    ];
    let codes =
        |decision: Decision<Vec<Result<DeletedTopic, Refused>>>| decision.answer.iter().map(code).collect::<Vec<_>>();
    let refused = codes(delete_topics(&cluster.image, &RULES, &asked));
    assert_eq!(refused, [UnknownTopicOrPartition, UnknownTopicId, InvalidRequest, InvalidRequest]);
    let twice = [by_name("orders"), DeleteTopic { name: Option::None, id }];
    assert_eq!(codes(delete_topics(&cluster.image, &RULES, &twice)), [InvalidRequest, InvalidRequest]);
    let forbidden = TopicRules { delete_enabled: false, ..RULES };
    assert_eq!(codes(delete_topics(&cluster.image, &forbidden, &[by_name("orders")])), [TopicDeletionDisabled]);

    let decision = delete_topics(&cluster.image, &RULES, &[by_name("orders")]);
    assert_eq!(code(&cluster.perform(decision)[0]), None);
    cluster.create(&[topic("orders")]);
    assert_eq!(cluster.image.topic_configs("orders").count(), 0);
}

/// Keys map to partitions by their number: fewer would lose data, an error must change nothing.
#[test]
fn create_partitions_only_adds() {
    let mut cluster = Cluster::of(2);
    cluster.create(&[CreateTopic { partitions: 2, replication_factor: 2, ..topic("orders") }]);
    let asked = |count, assignments| CreatePartitions { name: "orders".into(), count, assignments };
    for (asked, expected) in [
        (asked(2, Option::None), InvalidPartitions),
        (asked(1, Option::None), InvalidPartitions),
        (asked(3, Some(vec![])), InvalidReplicaAssignment),
        (asked(3, Some(vec![vec![1]])), InvalidReplicaAssignment),
        (asked(20_000, Option::None), PolicyViolation),
        (CreatePartitions { name: "nobody".into(), count: 3, assignments: Option::None }, UnknownTopicOrPartition),
    ] {
        let decision = create_partitions(&cluster.image, std::slice::from_ref(&asked));
        assert_eq!((code(&decision.answer[0]), decision.records.len()), (expected, 0), "{asked:?}");
    }
    let decision = create_partitions(&cluster.image, &[asked(4, Some(vec![vec![2, 1], vec![1, 2]]))]);
    assert_eq!(code(&cluster.perform(decision)[0]), None);
    assert_eq!((cluster.leader(2), cluster.leader(3)), (2, 1));
}

/// Lists are changed element by element (KIP-339); replacing the whole would undo another tool's change.
#[test]
fn configs_change_incrementally() {
    let mut cluster = Cluster::of(1);
    cluster.create(&[topic("orders")]);
    assert_eq!(cluster.alter(AlterOp::Append, "cleanup.policy", Some("compact")), Ok(()));
    let value =
        |cluster: &Cluster, key| cluster.image.config(&ConfigResource::topic("orders"), key).map(|v| v.to_string());
    assert_eq!(value(&cluster, "cleanup.policy").unwrap(), "delete,compact", "appended to the default");
    assert_eq!(cluster.alter(AlterOp::Subtract, "cleanup.policy", Some("delete")), Ok(()));
    assert_eq!(value(&cluster, "cleanup.policy").unwrap(), "compact");
    assert_eq!(code(&cluster.alter(AlterOp::Append, "retention.ms", Some("1"))), InvalidConfig);
    assert_eq!(code(&cluster.alter(AlterOp::Set, "retention.ms", Option::None)), InvalidConfig);
    assert_eq!(code(&cluster.alter(AlterOp::Set, "retention.ms", Some("-7"))), InvalidConfig);
    assert_eq!(cluster.alter(AlterOp::Delete, "cleanup.policy", Option::None), Ok(()));
    assert_eq!(value(&cluster, "cleanup.policy"), Option::None);
    let elsewhere = AlterConfigs { kind: 4, name: "1".into(), changes: vec![], replace_all: false };
    let decision = alter_configs(
        &cluster.image,
        &[elsewhere, AlterConfigs { kind: 99, name: "x".into(), changes: vec![], replace_all: true }],
    );
    assert!(decision.answer.iter().all(|(_, result)| code(result) == InvalidRequest));
    assert_eq!(decision.answer[1].0, Option::None);
}

/// M8, M2: a broker that is gone leads nothing; the last one in sync keeps its place, or acknowledged records would be given up.
#[test]
fn a_restarted_broker_gives_up_and_regains_leadership() {
    let mut cluster = Cluster::of(2);
    let asked = CreateTopic { assignments: vec![(0, vec![1, 2]), (1, vec![2, 1])], ..topic("orders") };
    cluster.create(&[asked]).remove(0).unwrap();
    let old = cluster.image.broker(1).unwrap().epoch;
    let epoch = cluster.register(1, 50).unwrap().epoch;
    assert!(epoch > old);
    assert_eq!(cluster.image.broker(1).unwrap().epoch, epoch, "the answer is the index of the entry");
    assert_eq!((cluster.leader(0), cluster.leader(1)), (2, 2));
    cluster.register(2, 51).unwrap();
    assert_eq!((cluster.leader(0), cluster.leader(1)), (NO_LEADER, NO_LEADER));
    cluster.unfence(1, epoch).unwrap();
    assert_eq!((cluster.leader(0), cluster.leader(1)), (NO_LEADER, NO_LEADER), "broker 1 left the ISR");
    assert_eq!(code(&cluster.unfence(2, 1)), StaleBrokerEpoch);
    let epoch = cluster.image.broker(2).unwrap().epoch;
    cluster.unfence(2, epoch).unwrap();
    assert_eq!((cluster.leader(0), cluster.leader(1)), (2, 2));
    assert_eq!(code(&cluster.unfence(9, 1)), BrokerIdNotRegistered);
}

/// A copied directory or a second process under one id would write to the same partitions as the first.
#[test]
fn impossible_registrations_are_refused() {
    let mut cluster = Cluster::of(2);
    let image = cluster.image.clone();
    let refused = |change: fn(&mut RegisterBroker)| {
        let mut asked = registration(1, 9);
        change(&mut asked);
        code(&register_broker(&image, 99, &asked).answer)
    };
    assert_eq!(refused(|r| r.directories = vec![Uuid([55; 16])]), DuplicateBrokerRegistration);
    assert_eq!(refused(|r| r.directories.push(Uuid([102; 16]))), InvalidRegistration);
    assert_eq!(refused(|r| r.directories.push(r.directories[0])), InvalidRegistration);
    assert_eq!(refused(|r| r.directories.push(Uuid::METADATA)), InvalidRegistration);
    assert_eq!(refused(|r| r.directories.clear()), DuplicateBrokerRegistration);
    assert_eq!(refused(|r| r.features.clear()), InvalidRegistration);
    assert_eq!(refused(|r| r.features[0].max = 1), UnsupportedVersion);
    let again = cluster.register(1, 1).unwrap();
    assert_eq!(
        again.epoch,
        cluster.image.broker(1).unwrap().epoch,
        "the same incarnation asks twice after a lost answer"
    );
    assert!(!cluster.image.broker(1).unwrap().fenced);
}

/// A cluster that was upgraded holds records that an older program would misread.
#[test]
fn features_of_a_newer_version_are_refused() {
    let mut cluster = Cluster::of(1);
    assert_eq!(features::check(&cluster.image), Ok(()));
    cluster.commit(vec![Record::FeatureLevel { name: "metadata.version".into(), level: 30 }]);
    assert!(features::check(&cluster.image).unwrap_err().contains("metadata.version 30"));
    cluster.commit(vec![Record::FeatureLevel { name: "metadata.version".into(), level: 29 }]);
    cluster.commit(vec![Record::FeatureLevel { name: "new.version".into(), level: 1 }]);
    assert!(features::check(&cluster.image).unwrap_err().contains("new.version 1"));
}
