//! One shard for a command that talks to a broker: the client crate runs where the broker does.

use std::future::Future;
use std::sync::{Arc, OnceLock};

use ringlane_client::{Client, ClientError, ClientOptions};
use ringlane_protocol::ErrorCode;
use ringlane_runtime::ring::{self, RingOptions};
use ringlane_runtime::{Signal, next_signal};

use crate::args::BrokerArgs;
use crate::exit::Failed;

/// Answers of brokers and files; nobody measures throughput with these commands.
const POOL_BYTES: usize = 32 << 20;

/// Runs `work` on a shard of its own, until it is done or the user stops it.
pub fn run<F>(work: impl FnOnce() -> F + Send + 'static) -> Result<(), Failed>
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
            let _ = told.set(unless_stopped(work()).await);
        })
    };
    ring::run(options, vec![Box::new(main)]).map_err(|error| Failed::new(error.to_string()))?;
    let done = Arc::into_inner(done).and_then(OnceLock::into_inner);
    done.unwrap_or_else(|| Err(Failed::new("the command ended without a result")))
}

/// Stopping is what the user asked for, and not a failure.
async fn unless_stopped(work: impl Future<Output = Result<(), Failed>>) -> Result<(), Failed> {
    let stopped = async { while next_signal().await != Signal::Stop {} };
    match futures::future::select(std::pin::pin!(work), std::pin::pin!(stopped)).await {
        futures::future::Either::Left((done, _)) => done,
        futures::future::Either::Right(_) => Ok(()),
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
            _ => Failed::new(error.to_string()),
        }
    }
}
