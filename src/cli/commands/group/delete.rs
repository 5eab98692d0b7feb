//! `ringlane group delete`: groups, or their offsets in some partitions.

use ringlane_client::{Admin, Client, ClientError};
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

/// A share group forgets whole topics. `not_found` is the answer if it is none, or if it was asked for single partitions.
async fn delete_of_share_group(
    admin: &Admin,
    group: &str,
    topics: &[String],
    not_found: ClientError,
) -> Result<(), ClientError> {
    let whole: Vec<&str> = topics.iter().map(String::as_str).filter(|topic| !topic.contains(':')).collect();
    if whole.len() < topics.len() || admin.describe_group(group).await.is_err() {
        return Err(not_found);
    }
    admin.delete_share_group_offsets(group, &whole).await
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
            false => match admin.delete_group_offsets(group, &partitions).await {
                Err(error) if error.code() == Some(ErrorCode::GroupIdNotFound) => {
                    delete_of_share_group(&admin, group, &args.topics, error).await
                }
                done => done,
            },
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
