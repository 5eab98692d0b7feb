//! One shard for a command that talks to a broker: the client crate runs where the broker does.

use std::cell::Cell;
use std::future::Future;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};

use futures::future::{Either, select};
use ringlane_client::{Client, ClientError, ClientOptions};
use ringlane_protocol::ErrorCode;
use ringlane_runtime::ring::{self, RingOptions};
use ringlane_runtime::{Event, Signal, next_signal};

use crate::args::BrokerArgs;
use crate::exit::Failed;

/// Answers of brokers and files; nobody measures throughput with these commands.
const POOL_BYTES: usize = 32 << 20;

/// Runs `work` on a shard of its own, until it is done or the user stops it.
pub fn run<F>(work: impl FnOnce() -> F + Send + 'static) -> Result<(), Failed>
where
    F: Future<Output = Result<(), Failed>> + 'static,
{
    on_shard(move || unless_stopped(work()))
}

/// The same for work that ends in order when the user stops it, such as a member of a group, which leaves. A second stop ends it at once.
pub fn run_to_order<F>(work: impl FnOnce(Rc<Stop>) -> F + Send + 'static) -> Result<(), Failed>
where
    F: Future<Output = Result<(), Failed>> + 'static,
{
    on_shard(move || async move {
        let stop = Rc::new(Stop::default());
        let told = stop.clone();
        let stopped_twice = async move {
            for _ in 0..2 {
                while next_signal().await != Signal::Stop {}
                told.is_set.set(true);
                told.changed.notify_all();
            }
        };
        match select(std::pin::pin!(work(stop)), std::pin::pin!(stopped_twice)).await {
            Either::Left((done, _)) => done,
            Either::Right(_) => Ok(()),
        }
    })
}

/// The user's wish to stop.
#[derive(Default)]
pub struct Stop {
    is_set: Cell<bool>,
    changed: Event,
}

impl Stop {
    pub fn is_set(&self) -> bool {
        self.is_set.get()
    }

    /// What `work` gives, or `None` when the user stops it before.
    pub async fn unless_set<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let changed = self.changed.listen();
        if self.is_set() {
            return None;
        }
        match select(std::pin::pin!(work), std::pin::pin!(changed)).await {
            Either::Left((done, _)) => Some(done),
            Either::Right(_) => None,
        }
    }
}

fn on_shard<F>(work: impl FnOnce() -> F + Send + 'static) -> Result<(), Failed>
where
    F: Future<Output = Result<(), Failed>> + 'static,
{
    // The last CPU: a broker on the same machine has its acceptor on the first.
    let cores: Vec<usize> = ring::allowed_cores().pop().into_iter().collect();
    ring::check_rings(&cores).map_err(|error| Failed::new(error.to_string()))?;
    let options = RingOptions { cores, pool_bytes_per_shard: POOL_BYTES, spin_us: 0 };
    let done = Arc::new(OnceLock::new());
    let told = done.clone();
    let main = move || -> std::pin::Pin<Box<dyn Future<Output = ()>>> {
        Box::pin(async move {
            // Set once: this is the only task that does.
            let _ = told.set(work().await);
        })
    };
    ring::run(options, vec![Box::new(main)]).map_err(|error| Failed::new(error.to_string()))?;
    let done = Arc::into_inner(done).and_then(OnceLock::into_inner);
    done.unwrap_or_else(|| Err(Failed::new("the command ended without a result")))
}

/// Stopping is what the user asked for, and not a failure.
async fn unless_stopped(work: impl Future<Output = Result<(), Failed>>) -> Result<(), Failed> {
    let stopped = async { while next_signal().await != Signal::Stop {} };
    match select(std::pin::pin!(work), std::pin::pin!(stopped)).await {
        Either::Left((done, _)) => done,
        Either::Right(_) => Ok(()),
    }
}

/// The cluster that the user means.
pub async fn connect(args: &BrokerArgs) -> Result<Client, Failed> {
    Ok(Client::connect(options(args)).await?)
}

/// The same for a command that may make the topic that it names, if the broker is so configured.
pub async fn connect_to_create(args: &BrokerArgs) -> Result<Client, Failed> {
    Ok(Client::connect(ClientOptions { allow_auto_create: true, ..options(args) }).await?)
}

fn options(args: &BrokerArgs) -> ClientOptions {
    ClientOptions::to(&args.brokers).client_id("ringlane-cli")
}

impl From<ClientError> for Failed {
    fn from(error: ClientError) -> Failed {
        match error.code() {
            Some(ErrorCode::UnknownTopicOrPartition) => Failed::new(format!(
                "{error}: there is no such topic; `ringlane topic list` shows those there are, `topic create` makes one"
            )),
            Some(ErrorCode::GroupIdNotFound) => {
                Failed::new(format!("{error}: there is no such group; `ringlane group list` shows those there are"))
            }
            Some(ErrorCode::NonEmptyGroup) => Failed::new(format!(
                "{error}: the group has members; `ringlane group describe --members` shows them, stop them first"
            )),
            Some(ErrorCode::TransactionalIdNotFound) => {
                Failed::new(format!("{error}: nobody uses this id; `ringlane txn list` shows those there are"))
            }
            _ => Failed::new(error.to_string()),
        }
    }
}
