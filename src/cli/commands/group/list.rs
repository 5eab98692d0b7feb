//! `ringlane group list`.

use ringlane_client::{Admin, Client};
use serde::Serialize;

use crate::args::{BrokerArgs, Format};
use crate::exit::Failed;
use crate::table::{Table, json, print};

#[derive(Serialize)]
struct Line {
    group: String,
    r#type: String,
    state: String,
    protocol_type: String,
}

pub async fn list(client: &Client, states: &[String], brokers: &BrokerArgs) -> Result<(), Failed> {
    let groups = Admin::new(client).list_groups().await?;
    let is_wanted = |state: &str| states.is_empty() || states.iter().any(|wanted| wanted.eq_ignore_ascii_case(state));
    let lines = groups.into_iter().filter(|group| is_wanted(&group.state)).map(|group| Line {
        group: group.group,
        r#type: group.kind,
        state: group.state,
        protocol_type: group.protocol_type,
    });
    let lines: Vec<Line> = lines.collect();
    match brokers.format {
        Format::Json => print(&json(&lines)?)?,
        Format::Text => {
            let mut table = Table::new(&["GROUP", "TYPE", "STATE", "PROTOCOL"]);
            let dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
            for line in &lines {
                table.row([line.group.clone(), dash(&line.r#type), dash(&line.state), dash(&line.protocol_type)]);
            }
            print(&table.to_string())?
        }
    };
    Ok(())
}
