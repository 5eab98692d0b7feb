//! `ringlane txn`: transactional ids, where they stand, and ending a transaction whose producer is gone. Columns are those of
//! `kafka-transactions.sh`.

use ringlane_client::{Admin, Client, TransactionDetails};
use serde::Serialize;

use crate::args::{BrokerArgs, Format, TxnCommand};
use crate::exit::Failed;
use crate::shard;
use crate::table::{Table, json, print};

pub fn run(command: TxnCommand) -> Result<(), Failed> {
    shard::run(move || async move {
        let client = shard::connect(command.brokers()).await?;
        match &command {
            TxnCommand::List { states, brokers } => list(&client, states, brokers).await,
            TxnCommand::Describe { ids, brokers } => describe(&client, ids, brokers).await,
            TxnCommand::Abort { ids, brokers } => abort(&client, ids, brokers).await,
        }
    })
}

async fn list(client: &Client, states: &[String], brokers: &BrokerArgs) -> Result<(), Failed> {
    #[derive(Serialize)]
    struct Line {
        transactional_id: String,
        producer_id: i64,
        state: String,
    }
    let listed = Admin::new(client).transactions(states).await?.into_iter();
    let lines: Vec<Line> = listed
        .map(|listed| Line {
            transactional_id: listed.transactional_id,
            producer_id: listed.producer_id,
            state: listed.state,
        })
        .collect();
    match brokers.format {
        Format::Json => print(&json(&lines)?)?,
        Format::Text => {
            let mut table = Table::new(&["TRANSACTIONAL-ID", "PRODUCER-ID", "STATE"]);
            lines
                .into_iter()
                .for_each(|line| table.row([line.transactional_id, line.producer_id.to_string(), line.state]));
            print(&table.to_string())?
        }
    };
    Ok(())
}

#[derive(Serialize)]
struct Described {
    transactional_id: String,
    coordinator: i32,
    producer_id: i64,
    producer_epoch: i16,
    state: String,
    timeout_ms: i32,
    /// Milliseconds since 1970.
    start_ms: Option<i64>,
    partitions: Vec<String>,
}

impl From<TransactionDetails> for Described {
    fn from(details: TransactionDetails) -> Described {
        let partitions = details.partitions.iter().map(|(topic, partition)| format!("{topic}-{partition}"));
        Described {
            partitions: partitions.collect(),
            transactional_id: details.transactional_id,
            coordinator: details.coordinator,
            producer_id: details.producer_id,
            producer_epoch: details.producer_epoch,
            state: details.state,
            timeout_ms: details.timeout_ms,
            start_ms: details.start_ms,
        }
    }
}

async fn describe(client: &Client, ids: &[String], brokers: &BrokerArgs) -> Result<(), Failed> {
    let admin = Admin::new(client);
    let mut all = Vec::with_capacity(ids.len());
    for id in ids {
        all.push(Described::from(admin.describe_transaction(id).await?));
    }
    match brokers.format {
        Format::Json => print(&json(&all)?)?,
        Format::Text => {
            let mut table = Table::new(&[
                "TRANSACTIONAL-ID",
                "COORDINATOR",
                "PRODUCER-ID",
                "EPOCH",
                "STATE",
                "TIMEOUT-MS",
                "START-MS",
                "PARTITIONS",
            ]);
            for described in all {
                table.row([
                    described.transactional_id,
                    described.coordinator.to_string(),
                    described.producer_id.to_string(),
                    described.producer_epoch.to_string(),
                    described.state,
                    described.timeout_ms.to_string(),
                    described.start_ms.map_or_else(|| "-".to_owned(), |ms| ms.to_string()),
                    if described.partitions.is_empty() { "-".to_owned() } else { described.partitions.join(",") },
                ]);
            }
            print(&table.to_string())?
        }
    };
    Ok(())
}

async fn abort(client: &Client, ids: &[String], brokers: &BrokerArgs) -> Result<(), Failed> {
    let admin = Admin::new(client);
    for id in ids {
        admin.abort_transaction(id).await?;
        if brokers.format == Format::Text {
            print(&format!("Nothing is open under {id} any more.\n"))?;
        }
    }
    if brokers.format == Format::Json {
        print(&json(&ids)?)?;
    }
    Ok(())
}
