//! `ringlane group delete`: groups, or their offsets in some partitions.

use ringlane_client::{Admin, Client};
use ringlane_protocol::ErrorCode;
use serde::Serialize;

use super::args::DeleteArgs;
use super::scope;
use crate::args::Format;
use crate::exit::Failed;
use crate::table::{Table, json, print};

#[derive(Serialize)]
struct Line {
    group: String,
    ok: bool,
    status: String,
}

pub async fn delete(client: &Client, args: &DeleteArgs) -> Result<(), Failed> {
    let admin = Admin::new(client);
    let mut partitions = Vec::new();
    for topic in &args.topics {
        partitions.extend(scope(client, topic).await?);
    }
    let mut lines = Vec::new();
    for group in &args.groups {
        let done = match partitions.is_empty() {
            true => admin.delete_group(group).await,
            false => admin.delete_group_offsets(group, &partitions).await,
        };
        let (ok, status) = match done {
            Ok(()) => (true, "OK".to_owned()),
            Err(error) if args.if_exists && error.code() == Some(ErrorCode::GroupIdNotFound) => {
                (true, "does not exist".to_owned())
            }
            Err(error) => (false, Failed::from(error).to_string()),
        };
        lines.push(Line { group: group.clone(), ok, status });
    }
    match args.brokers.format {
        Format::Json => print(&json(&lines)?)?,
        Format::Text => {
            let mut table = Table::new(&["GROUP", "STATUS"]);
            lines.iter().for_each(|line| table.row([line.group.clone(), line.status.clone()]));
            print(&table.to_string())?
        }
    };
    match lines.iter().filter(|line| !line.ok).count() {
        0 => Ok(()),
        failed => Err(Failed::new(format!("{failed} of {} groups failed", lines.len()))),
    }
}
