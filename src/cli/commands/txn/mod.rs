//! `ringlane txn`: transactions as their coordinators and leaders know them.

mod args;

use ringlane_client::{Admin, Client, TopicPartition};
use ringlane_runtime::wall_clock_ms;
use serde::Serialize;

use self::args::AbortArgs;
pub use self::args::TxnCommand;
use crate::args::{BrokerArgs, Format};
use crate::exit::Failed;
use crate::shard;
use crate::table::{Table, json, print};

pub fn run(command: TxnCommand) -> Result<(), Failed> {
    shard::run(move || async move {
        let client = shard::connect(command.brokers()).await?;
        match &command {
            TxnCommand::List { state, brokers } => list(&client, state, brokers).await,
            TxnCommand::Describe { ids, brokers } => describe(&client, ids, brokers).await,
            TxnCommand::Abort(args) => abort(&client, args).await,
        }
    })
}

async fn list(client: &Client, states: &[String], brokers: &BrokerArgs) -> Result<(), Failed> {
    #[derive(Serialize)]
    struct Line {
        transactional_id: String,
        coordinator: i32,
        producer_id: i64,
        state: String,
    }
    let found = Admin::new(client).list_transactions(states).await?;
    let lines = found.into_iter().map(|found| Line {
        transactional_id: found.transactional_id,
        coordinator: found.coordinator,
        producer_id: found.producer_id,
        state: found.state,
    });
    let lines: Vec<Line> = lines.collect();
    match brokers.format {
        Format::Json => print(&json(&lines)?)?,
        Format::Text => {
            let mut table = Table::new(&["TRANSACTIONAL-ID", "COORDINATOR", "PRODUCER-ID", "STATE"]);
            for line in &lines {
                table.row([
                    line.transactional_id.clone(),
                    line.coordinator.to_string(),
                    line.producer_id.to_string(),
                    line.state.clone(),
                ]);
            }
            print(&table.to_string())?
        }
    };
    Ok(())
}

async fn describe(client: &Client, ids: &[String], brokers: &BrokerArgs) -> Result<(), Failed> {
    #[derive(Serialize)]
    struct Line {
        transactional_id: String,
        coordinator: String,
        producer_id: i64,
        producer_epoch: i16,
        state: String,
        timeout_ms: i32,
        /// Milliseconds since 1970.
        started: Option<i64>,
        duration_ms: Option<i64>,
        partitions: Vec<String>,
    }
    let admin = Admin::new(client);
    let mut lines = Vec::new();
    for id in ids {
        let found = admin.describe_transaction(id).await?;
        lines.push(Line {
            duration_ms: found.started.map(|started| (wall_clock_ms() - started).max(0)),
            started: found.started,
            partitions: found.partitions.iter().map(ToString::to_string).collect(),
            transactional_id: found.transactional_id,
            coordinator: found.coordinator,
            producer_id: found.producer_id,
            producer_epoch: found.producer_epoch,
            state: found.state,
            timeout_ms: found.timeout_ms,
        });
    }
    match brokers.format {
        Format::Json => print(&json(&lines)?)?,
        Format::Text => {
            let mut table = Table::new(&[
                "TRANSACTIONAL-ID",
                "COORDINATOR",
                "PRODUCER-ID",
                "PRODUCER-EPOCH",
                "STATE",
                "TIMEOUT-MS",
                "DURATION-MS",
                "PARTITIONS",
            ]);
            for line in &lines {
                let partitions = line.partitions.join(",");
                table.row([
                    line.transactional_id.clone(),
                    line.coordinator.clone(),
                    line.producer_id.to_string(),
                    line.producer_epoch.to_string(),
                    line.state.clone(),
                    line.timeout_ms.to_string(),
                    line.duration_ms.map_or_else(|| "-".to_owned(), |ms| ms.to_string()),
                    if partitions.is_empty() { "-".to_owned() } else { partitions },
                ]);
            }
            print(&table.to_string())?
        }
    };
    Ok(())
}

async fn abort(client: &Client, args: &AbortArgs) -> Result<(), Failed> {
    #[derive(Serialize)]
    struct Done<'a> {
        aborted: &'a str,
        ok: bool,
    }
    let admin = Admin::new(client);
    let aborted = match (&args.id, &args.topic, args.partition, args.start_offset) {
        (Some(id), ..) => {
            // One that nobody has used would be made by being fenced.
            admin.describe_transaction(id).await?;
            admin.fence_producer(id).await?;
            id.clone()
        }
        (None, Some(topic), Some(partition), Some(start)) => {
            let at = TopicPartition::new(topic, partition);
            let producer = admin.abort_hanging(&at, start).await?;
            format!("producer {} in {at}", producer.producer_id)
        }
        _ => return Err(Failed::new("a transactional id, or --topic, --partition and --start-offset, are expected")),
    };
    match args.brokers.format {
        Format::Json => print(&json(&Done { aborted: &aborted, ok: true })?)?,
        Format::Text => {
            let mut table = Table::new(&["ABORTED", "STATUS"]);
            table.row([aborted.as_str(), "OK"]);
            print(&table.to_string())?
        }
    };
    Ok(())
}
