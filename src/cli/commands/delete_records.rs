//! `ringlane topic delete-records`: moves the start of a topic's partitions, a line each.

use ringlane_client::{Admin, Client};
use serde::Serialize;

use crate::args::{DeleteRecordsArgs, Format};
use crate::exit::Failed;
use crate::table::{Table, json, print};

#[derive(Serialize)]
struct Line {
    partition: i32,
    ok: bool,
    /// Where the partition begins now.
    log_start_offset: Option<i64>,
    status: String,
}

pub async fn delete_records(client: &Client, args: &DeleteRecordsArgs) -> Result<(), Failed> {
    let admin = Admin::new(client);
    let topic = admin.topic(&args.topic).await?;
    let partitions = match args.partitions.is_empty() {
        true => topic.partitions.iter().map(|partition| partition.index).collect(),
        false => args.partitions.clone(),
    };
    let mut lines = Vec::with_capacity(partitions.len());
    for partition in partitions {
        lines.push(match admin.delete_records(&args.topic, partition, args.before).await {
            Ok(start) => Line { partition, ok: true, log_start_offset: Some(start), status: "OK".to_owned() },
            Err(error) => Line { partition, ok: false, log_start_offset: None, status: error.to_string() },
        });
    }
    match args.brokers.format {
        Format::Json => print(&json(&lines)?)?,
        Format::Text => {
            let mut table = Table::new(&["PARTITION", "LOG-START-OFFSET", "STATUS"]);
            for line in &lines {
                let start = line.log_start_offset.map_or_else(|| "-".to_owned(), |offset| offset.to_string());
                table.row([line.partition.to_string(), start, line.status.clone()]);
            }
            print(&table.to_string())?
        }
    };
    match lines.iter().filter(|line| !line.ok).count() {
        0 => Ok(()),
        failed => Err(Failed::new(format!("{failed} of {} partitions failed", lines.len()))),
    }
}
