//! `ringlane server`: configuration, logs, shards; then waits until they end.

mod banner;
mod settings;

use std::path::Path;
use std::sync::{Arc, OnceLock};

use ringlane_broker::{StartError, shard_mains};
use ringlane_config::Config;
use ringlane_runtime::ring::{self, Machine, RingOptions};

use crate::args::{Format, ServerArgs};
use crate::exit::Failed;
use crate::logs;

/// Returns when the broker has stopped in order, or could not start.
pub fn run(args: ServerArgs) -> Result<(), Failed> {
    let (config, notes) = settings::read(&args)?;
    logs::start(&args.logs)?;
    settings::warn(&notes);
    let config = Arc::new(config);
    let options = ring_options(&config)?;
    let machine = check_machine(&config, &options)?;
    let failed = Arc::new(OnceLock::new());
    let mains = shard_mains(
        config.clone(),
        options.cores.len(),
        ready(&config, &options, &machine, args.logs.format, failed.clone()),
    );
    ring::run(options, mains).map_err(|error| Failed::new(error.to_string()))?;
    match failed.get() {
        Some(StartError(message)) => Err(Failed::new(message)),
        None => Ok(()),
    }
}

fn ring_options(config: &Config) -> Result<RingOptions, Failed> {
    let cores = match &config.broker.shard_cores {
        Some(list) => ring::parse_cores(list).map_err(|error| Failed::new(error.to_string()))?,
        None => ring::allowed_cores(),
    };
    Ok(RingOptions {
        cores,
        pool_bytes_per_shard: config.broker.pool_bytes_per_shard(),
        spin_us: config.broker.shard_spin_us,
    })
}

/// Makes the data directory and asks the machine for what shards need, before any shard could fail for the lack of it.
fn check_machine(config: &Config, options: &RingOptions) -> Result<Machine, Failed> {
    let data_dir = Path::new(&config.broker.log_dirs[0]);
    #[expect(
        clippy::disallowed_methods,
        reason = "the preflight looks at this directory, and no shard starts before it"
    )]
    std::fs::create_dir_all(data_dir).map_err(|error| {
        Failed::new(format!("cannot make the data directory {}: {error}; give another with --data", data_dir.display()))
    })?;
    let machine = ring::preflight(data_dir, &options.cores).map_err(|error| Failed::new(error.to_string()))?;
    for warning in &machine.warnings {
        tracing::warn!("{warning}");
    }
    Ok(machine)
}

/// What shard 0 calls when the broker serves, and when it cannot.
fn ready(
    config: &Arc<Config>,
    options: &RingOptions,
    machine: &Machine,
    format: Format,
    failed: Arc<OnceLock<StartError>>,
) -> impl FnMut(Result<ringlane_broker::Serving, StartError>) + Send + 'static {
    let (config, cores, direct) = (config.clone(), options.cores.clone(), machine.is_direct);
    move |started| match started {
        Ok(serving) => banner::print(&serving, &config, &cores, direct, format),
        Err(error) => {
            // The first reason is the one that counts.
            let _ = failed.set(error);
        }
    }
}
