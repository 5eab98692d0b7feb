//! The main of shard 0: the order in which a broker starts and stops.
//!
//! Start: data directory, metadata, logs of all shards, the recovered image everywhere, listeners bound, registration, accept. Stop, backwards:
//! no more connections, every shard finishes and closes its logs, the metadata closes, the marker of an orderly stop.

use super::directories::Directories;
use super::report;
use super::{Serving, StartError};
use crate::mesh::{ShardReply, ShardRequest};
use crate::net::{Accepted, Acceptor, ConnectionCounts};
use crate::quorum::{MetaNode, MetaOptions, Publications};
use crate::settings;
use crate::shard::{self, Lanes, Opening, Shard};
use futures::future::{Either, select};
use ringlane_config::Config;
use ringlane_log::{Recovered, VolumeOptions};
use ringlane_metadata::controller::RegisterBroker;
use ringlane_metadata::{BrokerId, ControllerReply, ControllerRequest, Endpoint, Refused, Uuid, controller};
use ringlane_runtime::{ShardId, Signal, Task, next_signal, now, random_bytes, resolve, shard_count, spawn};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

/// Kafka's number for a listener without TLS and SASL.
const PLAINTEXT: i16 = 0;

/// A broker that runs, seen from shard 0.
struct Broker {
    shard: Rc<Shard>,
    metadata: MetaNode,
    directories: Directories,
    acceptors: Vec<Rc<Acceptor>>,
    /// One per acceptor.
    accepting: Vec<Task<()>>,
    /// The shard's own, and those that carry requests and images.
    tasks: Vec<Task<()>>,
}

pub async fn run(
    config: Arc<Config>,
    mesh: Lanes,
    counts: ConnectionCounts,
    mut report: impl FnMut(Result<Serving, StartError>),
) {
    let mut broker = match start(config, mesh.clone(), counts).await {
        Ok(broker) => broker,
        Err(message) => {
            stop_others(&mesh).await;
            return report(Err(StartError(message)));
        }
    };
    broker.accept();
    report(Ok(broker.serving()));
    let served = broker.serve().await;
    broker.stop().await;
    if let Err(message) = served {
        report(Err(StartError(message)));
    }
}

async fn start(config: Arc<Config>, mesh: Lanes, counts: ConnectionCounts) -> Result<Broker, String> {
    let directories = Directories::open(&config).await?;
    let options = meta_options(&config, directories.first());
    let metadata = MetaNode::start(options).await.map_err(|error| error.to_string())?;
    let identity = metadata.identity().clone();
    let volumes = directories.identify(&identity).await?;
    let recovered = Arc::new(scan_journals(&mesh, &volumes).await?);
    let journal_bytes = recovered.journal_bytes();
    let opening = Opening { identity, volumes: volumes.clone(), recovered };
    let shard = Shard::open(config.clone(), mesh, counts, opening.clone(), Some(metadata.clone()));
    let mut tasks = shard.start();
    on_others(&shard, || ShardRequest::Open(opening.clone())).await?;

    let began = now();
    let mut publications = metadata.publications();
    let recovered = publications.next().await;
    let topics = recovered.image.topics().count();
    if let Err(message) = on_all(&shard, || ShardRequest::Publish(recovered.clone())).await {
        tracing::error!("not all partitions are in service: {message}");
    }
    let given_up = failed_directories(&shard).await?;
    on_all(&shard, || ShardRequest::Begin(given_up.clone())).await?;
    on_all(&shard, || ShardRequest::EndRecovery).await?;
    tracing::info!(topics, journal_bytes, ms = began.elapsed().as_millis() as u64, "logs open");
    tasks.push(spawn("publish", publish(shard.clone(), publications)));

    let acceptors = bind(&config).await?;
    let directory_ids = volumes.iter().filter(|volume| volume.out_of_service.is_none());
    let directory_ids = directory_ids.map(|volume| Uuid(volume.directory_id)).collect();
    register(&metadata, &config, &acceptors, directory_ids).await?;
    Ok(Broker { shard, metadata, directories, acceptors, accepting: Vec::new(), tasks })
}

/// What the journals of all directories hold; each shard reads a part.
async fn scan_journals(mesh: &Lanes, volumes: &[VolumeOptions]) -> Result<Recovered, String> {
    let mut calls = Vec::new();
    for to in 1..shard_count() {
        calls.push(mesh.credit(ShardId(to as u16)).await.send(ShardRequest::Scan(volumes.to_vec())));
    }
    let mut recovered = shard::scan_journals(volumes).await;
    for called in calls {
        match called.await {
            Some(ShardReply::Scanned(more)) => recovered.merge(more),
            _ => return Err("a shard ended".into()),
        }
    }
    Ok(recovered)
}

/// The data directories that some shard cannot use.
async fn failed_directories(shard: &Rc<Shard>) -> Result<Vec<PathBuf>, String> {
    let mut failed = BTreeSet::new();
    for to in 0..shard_count() {
        match shard.ask(ShardId(to as u16), ShardRequest::FailedDirectories).await {
            Some(ShardReply::Directories(directories)) => failed.extend(directories),
            _ => return Err("a shard ended".into()),
        }
    }
    Ok(failed.into_iter().collect())
}

fn meta_options(config: &Config, data_dir: PathBuf) -> MetaOptions {
    let given = config.given("node.id").map(|_| config.broker.node_id);
    MetaOptions { data_dir, node_id: given, cluster_id: None, rules: settings::topic_rules(config) }
}

/// Takes every later image to all shards.
async fn publish(shard: Rc<Shard>, mut publications: Publications) {
    loop {
        let publication = publications.next().await;
        if let Err(message) = on_all(&shard, || ShardRequest::Publish(publication.clone())).await {
            tracing::error!("metadata not applied everywhere: {message}");
        }
    }
}

async fn bind(config: &Config) -> Result<Vec<Rc<Acceptor>>, String> {
    let mut acceptors = Vec::new();
    for listener in &config.broker.listeners {
        let address = listen_address(&listener.host, listener.port).await?;
        let limits = (config.broker.max_connections, config.broker.max_connections_per_ip);
        let bound = Acceptor::bind(listener.name.as_str().into(), address, limits).await;
        let acceptor = bound.map_err(|error| {
            format!("cannot listen on {listener}: {error}; is another broker running? set listeners to another port")
        })?;
        acceptors.push(Rc::new(acceptor));
    }
    Ok(acceptors)
}

/// An empty host is every address of the machine.
async fn listen_address(host: &str, port: u16) -> Result<SocketAddr, String> {
    let host = if host.is_empty() { "0.0.0.0" } else { host };
    let found = resolve(host, port).await.map_err(|error| format!("cannot resolve listener host {host}: {error}"))?;
    found.first().copied().ok_or_else(|| format!("listener host {host} has no address"))
}

/// Tells the cluster that this broker is here and where, then that it may be used.
async fn register(
    metadata: &MetaNode,
    config: &Config,
    acceptors: &[Rc<Acceptor>],
    directories: Vec<Uuid>,
) -> Result<(), String> {
    let identity = metadata.identity();
    let broker = identity.node_id;
    let registration = RegisterBroker {
        broker,
        incarnation: Uuid(random_bytes()),
        endpoints: acceptors.iter().map(|acceptor| endpoint(config, acceptor)).collect(),
        features: controller::features::supported(),
        rack: config.broker.broker_rack.clone(),
        directories,
    };
    let epoch = match metadata.request(ControllerRequest::RegisterBroker(registration)).await {
        ControllerReply::RegisterBroker(Ok(registered)) => registered.epoch,
        ControllerReply::RegisterBroker(Err(refused)) | ControllerReply::Refused(refused) => {
            return Err(not_registered(broker, &refused));
        }
        _ => return Err(format!("broker {broker}: the controller answered another request")),
    };
    match metadata.request(ControllerRequest::UnfenceBroker { broker, epoch }).await {
        ControllerReply::UnfenceBroker(Ok(())) => Ok(()),
        ControllerReply::UnfenceBroker(Err(refused)) | ControllerReply::Refused(refused) => {
            Err(not_registered(broker, &refused))
        }
        _ => Err(format!("broker {broker}: the controller answered another request")),
    }
}

fn not_registered(broker: BrokerId, refused: &Refused) -> String {
    format!("broker {broker} was not registered: {refused} ({})", refused.code)
}

/// What clients of the listener are told: the advertised address, or where it listens.
fn endpoint(config: &Config, acceptor: &Acceptor) -> Endpoint {
    let bound = acceptor.local_address();
    let advertised = config.broker.advertised_listeners.iter().find(|endpoint| *endpoint.name == *acceptor.name);
    let (host, port) = match advertised {
        Some(endpoint) => (endpoint.host.clone(), endpoint.port),
        None => (bound.ip().to_string(), bound.port()),
    };
    Endpoint { listener: acceptor.name.to_string(), host, port, security_protocol: PLAINTEXT }
}

impl Broker {
    fn serving(&self) -> Serving {
        let identity = self.metadata.identity();
        let listeners = self.acceptors.iter().map(|acceptor| (acceptor.name.to_string(), acceptor.local_address()));
        Serving {
            node_id: identity.node_id,
            cluster_id: identity.cluster_id.to_string(),
            data_dir: self.directories.first(),
            shards: shard_count(),
            listeners: listeners.collect(),
        }
    }

    fn accept(&mut self) {
        for acceptor in &self.acceptors {
            let (acceptor, shard) = (acceptor.clone(), self.shard.clone());
            let accepting = async move {
                let counts = shard.counts.clone();
                let hand_off = |to: ShardId, accepted: Accepted| {
                    let shard = shard.clone();
                    // The reply says nothing: the connection counts from the hand-off on.
                    async move { drop(shard.call(to, ShardRequest::Connection(accepted)).await) }
                };
                acceptor.run(counts, hand_off).await;
            };
            self.accepting.push(spawn("acceptor", accepting));
        }
    }

    /// Until it is time to stop, or something broke that it cannot go on without.
    async fn serve(&self) -> Result<(), String> {
        let mut failed = pin!(self.metadata.failed());
        loop {
            match select(pin!(next_signal()), failed.as_mut()).await {
                Either::Left((Signal::Stop, _)) => {
                    tracing::info!("stopping: asked to");
                    return Ok(());
                }
                Either::Left((Signal::Report, _)) => report::print(&self.shard).await,
                Either::Left((Signal::Reload, _)) => {
                    tracing::info!("nothing to reload: settings are read at the start");
                }
                Either::Right((message, _)) => {
                    tracing::error!("stopping: {message}");
                    return Err(message);
                }
            }
        }
    }

    async fn stop(self) {
        let Broker { shard, metadata, directories, acceptors, accepting, tasks } = self;
        drop((accepting, acceptors));
        let stopped = on_all(&shard, || ShardRequest::Stop).await;
        metadata.close().await;
        // Only now: until here other shards may have asked for the controller.
        drop(tasks);
        match stopped {
            Ok(()) => match directories.close().await {
                Ok(()) => tracing::info!("stopped"),
                Err(error) => tracing::error!("stopped, but the next start will check all logs: {error}"),
            },
            Err(message) => tracing::error!("stopped, but not everything was closed in order: {message}"),
        }
    }
}

/// Asks every shard but this one and waits for all; the first failure is the result.
async fn on_others(shard: &Rc<Shard>, request: impl Fn() -> ShardRequest) -> Result<(), String> {
    on(shard, 1..shard_count(), request).await
}

async fn on_all(shard: &Rc<Shard>, request: impl Fn() -> ShardRequest) -> Result<(), String> {
    on(shard, 0..shard_count(), request).await
}

async fn on(
    shard: &Rc<Shard>,
    shards: std::ops::Range<usize>,
    request: impl Fn() -> ShardRequest,
) -> Result<(), String> {
    let mut calls = Vec::new();
    for to in shards {
        calls.push(shard.call(ShardId(to as u16), request()).await);
    }
    let mut result = Ok(());
    for called in calls {
        result = result.and(match called.await {
            Some(ShardReply::Failed(message)) => Err(message),
            Some(_) => Ok(()),
            None => Err("a shard ended".into()),
        });
    }
    result
}

/// After a failed start: lets the other shards end, however far they got.
async fn stop_others(mesh: &Lanes) {
    let mut calls = Vec::new();
    for to in 1..shard_count() {
        calls.push(mesh.credit(ShardId(to as u16)).await.send(ShardRequest::Stop));
    }
    for called in calls {
        drop(called.await);
    }
}
