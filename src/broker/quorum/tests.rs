//! The node on the simulated machine: first start, restart, crashes at any moment, disks that fail.

use crate::quorum::{MetaNode, MetaOptions, StartError};
use ringlane_metadata::controller::{CreateTopic, TopicRules, features};
use ringlane_metadata::controller::{DeleteTopic, RegisterBroker};
use ringlane_metadata::{ConfigResource, ControllerReply, ControllerRequest, Image, Uuid};
use ringlane_runtime::ring::{self, RingOptions};
use ringlane_runtime::sim::{IoFault, IoKind, NodeId, Sim, SimOptions};
use ringlane_runtime::{ShardMain, fs, random_bytes, random_u64, sleep, spawn};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

const DIR: &str = "/data";
const LIMIT: Duration = Duration::from_secs(60);

fn options() -> MetaOptions {
    let rules = TopicRules { default_partitions: 1, default_replication_factor: 1, delete_enabled: true };
    MetaOptions { data_dir: PathBuf::from(DIR), node_id: None, cluster_id: None, rules }
}

/// Runs `work` as the only shard of `node`, to its end.
fn run<T: 'static, F: Future<Output = T> + 'static>(
    sim: &mut Sim,
    node: NodeId,
    work: impl FnOnce() -> F + 'static,
) -> T {
    let result = Rc::new(RefCell::new(None));
    let slot = result.clone();
    let main: Pin<Box<dyn Future<Output = ()>>> = Box::pin(async move {
        let value = work().await;
        *slot.borrow_mut() = Some(value);
    });
    sim.start_local(node, vec![Box::new(move || main)]);
    assert!(sim.run_until(LIMIT, |sim| !sim.is_running(node)), "seed {}: no end in sight", sim.seed());
    result.take().expect("the main has ended")
}

async fn start() -> Result<MetaNode, StartError> {
    MetaNode::start(options()).await
}

async fn register(node: &MetaNode) {
    let registration = RegisterBroker {
        broker: node.identity().node_id,
        incarnation: Uuid(random_bytes()),
        endpoints: Vec::new(),
        features: features::supported(),
        rack: None,
        directories: vec![node.identity().directory_id],
    };
    let reply = node.request(ControllerRequest::RegisterBroker(registration)).await;
    let ControllerReply::RegisterBroker(Ok(registered)) = reply else { panic!("{reply:?}") };
    let (broker, epoch) = (node.identity().node_id, registered.epoch);
    let reply = node.request(ControllerRequest::UnfenceBroker { broker, epoch }).await;
    assert_eq!(reply, ControllerReply::UnfenceBroker(Ok(())));
    assert_eq!(node.image().broker(broker).unwrap().epoch, epoch);
}

fn create(name: &str, retention_ms: u64) -> ControllerRequest {
    let topic = CreateTopic {
        name: name.to_string(),
        id: Uuid(random_bytes()),
        partitions: 3,
        replication_factor: -1,
        assignments: Vec::new(),
        configs: vec![("retention.ms".to_string(), Some(retention_ms.to_string()))],
    };
    ControllerRequest::CreateTopics { topics: vec![topic], validate_only: false }
}

fn has_topic(image: &Image, name: &str, retention_ms: u64) -> bool {
    let config = image.config(&ConfigResource::topic(name), "retention.ms");
    image.topic_by_name(name).is_some_and(|topic| topic.partition_count() == 3)
        && config.is_some_and(|value| **value == *retention_ms.to_string())
}

/// Zero configuration: an empty directory is a cluster, and the next start is the same node of the same cluster with all it was told.
#[test]
fn an_empty_directory_becomes_a_cluster_that_remembers() {
    let mut sim = Sim::new(1, SimOptions::default());
    let machine = sim.add_node();
    let first = run(&mut sim, machine, || async {
        let node = start().await.unwrap();
        register(&node).await;
        let reply = node.request(create("orders", 5000)).await;
        assert!(matches!(&reply, ControllerReply::CreateTopics(results) if results[0].is_ok()), "{reply:?}");
        node.close().await;
        (node.identity().clone(), node.image().hash(), node.image().topic_by_name("orders").unwrap().id)
    });
    let again = run(&mut sim, machine, || async {
        let node = start().await.unwrap();
        let image = node.image();
        assert!(has_topic(&image, "orders", 5000));
        let leader_epoch = image.topic_by_name("orders").unwrap().partition(0).unwrap().leader_epoch;
        register(&node).await;
        let image = node.image();
        let partition = image.topic_by_name("orders").unwrap().partition(0).unwrap().clone();
        assert_eq!(partition.leader, 1);
        assert_eq!(partition.leader_epoch, leader_epoch + 2, "one change to nobody, one back");
        node.close().await;
        (node.identity().clone(), image.topic_by_name("orders").unwrap().id)
    });
    assert_eq!((first.0.node_id, first.0.raft_id), (1, 1));
    assert_eq!((first.0, first.2), again);
}

/// A change that was acknowledged must survive power loss at any moment, and one that was refused must not come back: seeds choose
/// moments, torn writes and what of the unsynced data is left; small snapshots make rotation part of it.
#[test]
fn acknowledged_changes_survive_crashes() {
    for seed in 0..60 {
        let mut sim = Sim::new(seed, SimOptions::default());
        let machine = sim.add_node();
        let acked: Rc<RefCell<BTreeMap<String, u64>>> = Rc::default();
        let deleted: Rc<RefCell<Vec<String>>> = Rc::default();
        for number in 1..=6 {
            let (acked_then, deleted_then) = (acked.clone(), deleted.clone());
            sim.start_local(machine, vec![Box::new(move || Box::pin(life(seed, number, acked_then, deleted_then)))]);
            let lives_for = Duration::from_micros(sim.random().below(60_000));
            sim.run_for(lives_for);
            match seed % 3 {
                0 => sim.kill(machine),
                _ => sim.crash(machine),
            }
        }
        let image = run(&mut sim, machine, move || async move {
            let node = start().await.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            node.close().await;
            node.image()
        });
        for (name, retention_ms) in acked.borrow().iter() {
            assert!(has_topic(&image, name, *retention_ms), "seed {seed}: acknowledged topic {name} is gone");
        }
        for name in deleted.borrow().iter() {
            assert!(image.topic_by_name(name).is_none(), "seed {seed}: deleted topic {name} is back");
        }
    }
}

/// One process: checks what it finds, then changes things from several tasks until it dies.
async fn life(seed: u64, number: u64, acked: Rc<RefCell<BTreeMap<String, u64>>>, deleted: Rc<RefCell<Vec<String>>>) {
    let node = MetaNode::start_with(options(), 20_000).await;
    let node = node.unwrap_or_else(|error| panic!("seed {seed}, start {number}: {error}"));
    let image = node.image();
    for (name, retention_ms) in acked.borrow().iter() {
        assert!(has_topic(&image, name, *retention_ms), "seed {seed}, start {number}: {name} is gone");
    }
    let mut publications = node.publications();
    let reader = spawn("reader", async move {
        let mut image = Image::default();
        loop {
            let next = publications.next().await;
            assert_eq!(next.delta.from, image.applied(), "publications follow one another");
            assert_eq!(next.delta.to, next.image.applied());
            image = Image::clone(&next.image);
            sleep(Duration::from_micros(random_u64() % 300)).await;
        }
    });
    register(&node).await;
    let mut tasks = vec![reader];
    for task in 0..4 {
        let (node, acked, deleted) = (node.clone(), acked.clone(), deleted.clone());
        tasks.push(spawn("client", async move {
            for i in 0.. {
                let (name, retention_ms) = (format!("t-{number}-{task}-{i}"), 1000 + i);
                let reply = node.request(create(&name, retention_ms)).await;
                assert!(matches!(&reply, ControllerReply::CreateTopics(results) if results[0].is_ok()), "{reply:?}");
                assert!(has_topic(&node.image(), &name, retention_ms));
                if i % 3 != 0 {
                    acked.borrow_mut().insert(name, retention_ms);
                    continue;
                }
                let topics = vec![DeleteTopic { name: Some(name.clone()), id: Uuid::ZERO }];
                let reply = node.request(ControllerRequest::DeleteTopics { topics }).await;
                assert!(matches!(&reply, ControllerReply::DeleteTopics(results) if results[0].is_ok()), "{reply:?}");
                deleted.borrow_mut().push(name);
            }
        }));
    }
    panic!("the node failed: {}", node.failed().await);
}

/// The journal must not grow for ever, and what replaces it must hold everything.
#[test]
fn snapshots_take_the_journals_place() {
    let mut sim = Sim::new(3, SimOptions::default());
    let machine = sim.add_node();
    run(&mut sim, machine, || async {
        let node = MetaNode::start_with(options(), 20_000).await.unwrap();
        register(&node).await;
        for i in 0..300 {
            node.request(create(&format!("topic-{i}"), i)).await;
        }
        node.close().await;
    });
    let names: Vec<String> = sim
        .directory_entries(machine, Path::new("/data/metadata"))
        .unwrap()
        .iter()
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    let count = |suffix: &str| names.iter().filter(|name| name.ends_with(suffix)).count();
    assert_eq!((count(".journal"), count(".snap")), (1, 2), "{names:?}");
    assert!(!names.contains(&"00000001.journal".to_string()));
    run(&mut sim, machine, || async {
        let node = start().await.unwrap();
        assert!((0..300).all(|i| has_topic(&node.image(), &format!("topic-{i}"), i)));
        node.close().await;
    });
}

fn start_error(sim: &mut Sim, machine: NodeId, options: MetaOptions) -> String {
    run(sim, machine, move || async move { MetaNode::start(options).await.err().map(|error| error.to_string()) })
        .expect("the start must fail")
}

fn used_directory(seed: u64) -> (Sim, NodeId) {
    let mut sim = Sim::new(seed, SimOptions::default());
    let machine = sim.add_node();
    run(&mut sim, machine, || async {
        let node = start().await.unwrap();
        register(&node).await;
        for i in 0..20 {
            node.request(create(&format!("topic-{i}"), i)).await;
        }
        node.close().await;
    });
    (sim, machine)
}

/// A directory that was copied or mounted in the wrong place would put one node's replicas under another's name.
#[test]
fn a_directory_of_another_node_or_cluster_is_refused() {
    let (mut sim, machine) = used_directory(4);
    let message = start_error(&mut sim, machine, MetaOptions { node_id: Some(2), ..options() });
    assert!(message.contains("node.id is 2") && message.contains("belongs to node 1"), "{message}");
    let message = start_error(&mut sim, machine, MetaOptions { cluster_id: Some("other".into()), ..options() });
    assert!(message.contains("cluster.id is other"), "{message}");
}

/// Damage in the middle of the journal, or of the snapshot under it, must stop the start, never shorten the history.
#[test]
fn damaged_files_are_refused_with_their_names() {
    for (file, bit, expected) in [
        ("00000001.journal", 8 * 20, "00000001.journal: the write at byte 0 is damaged"),
        ("meta-00000000000000000001-0000000001.snap", 8 * 14, "damaged: its checksum is wrong"),
    ] {
        let (mut sim, machine) = used_directory(5);
        let path = Path::new("/data/metadata").join(file);
        sim.flip_bit(machine, &path, bit).unwrap();
        let message = start_error(&mut sim, machine, options());
        assert!(message.contains(expected), "{message}");
    }
}

/// After a failed write nothing may be acknowledged any more: what the disk holds is unknown.
#[test]
fn a_failed_write_ends_the_node_with_a_reason() {
    let mut sim = Sim::new(6, SimOptions::default());
    let machine = sim.add_node();
    let outcome: Rc<RefCell<Option<(ControllerReply, String)>>> = Rc::default();
    let slot = outcome.clone();
    sim.start_local(
        machine,
        vec![Box::new(move || {
            Box::pin(async move {
                let node = start().await.unwrap();
                register(&node).await;
                sleep(Duration::from_secs(1)).await;
                let reply = node.request(create("orders", 1)).await;
                *slot.borrow_mut() = Some((reply, node.failed().await));
            })
        })],
    );
    sim.run_for(Duration::from_millis(500));
    sim.add_io_fault(machine, IoFault { kind: IoKind::Write, path_contains: "journal".into(), probability: 1.0 });
    assert!(sim.run_until(LIMIT, |sim| !sim.is_running(machine)));
    let (reply, failure) = outcome.take().unwrap();
    assert!(matches!(&reply, ControllerReply::Refused(_)), "{reply:?}");
    assert!(failure.contains("00000001.journal") && failure.contains("writing to the metadata journal"), "{failure}");
}

/// Equal seeds must give equal histories, or no failure found here could be repeated.
#[test]
fn the_same_seed_gives_the_same_trace() {
    let trace = |seed| {
        let (sim, _) = used_directory(seed);
        (sim.trace_hash(), sim.trace_events())
    };
    assert_eq!(trace(7), trace(7));
}
/// The simulated disk is a model; the files of a real one must come back the same way.
#[test]
fn real_files_are_read_back() {
    let dir = std::env::temp_dir().join(format!("ringlane-quorum-{}", std::process::id()));
    let main: ShardMain = Box::new(move || Box::pin(real_files(dir)));
    ring::run(RingOptions { cores: vec![ring::allowed_cores()[0]], ..Default::default() }, vec![main]).unwrap();
}

async fn real_files(dir: PathBuf) {
    let options = MetaOptions { data_dir: dir.clone(), ..options() };
    for start in 0..3 {
        let node = MetaNode::start_with(options.clone(), 20_000).await.unwrap();
        register(&node).await;
        let image = node.image();
        assert!((0..start * 50).all(|i| has_topic(&image, &format!("t{i}"), i)));
        for i in start * 50..(start + 1) * 50 {
            node.request(create(&format!("t{i}"), i)).await;
        }
        node.close().await;
    }
    fs::remove_dir_all(&dir).await.unwrap();
}
