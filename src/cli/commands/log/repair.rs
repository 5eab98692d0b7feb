//! `ringlane log repair`: shows a plan, and performs it when told to.

use std::path::PathBuf;

use ringlane_log::offline::repair::{self, Remedy, RepairPlan};
use ringlane_log::offline::{Directory, Owner, partition_of_folder};
use serde::Serialize;

use super::args::RepairArgs;
use super::{by_path, is_path};
use crate::args::Format;
use crate::exit::Failed;
use crate::table::{Table, json, print};

pub async fn run(args: &RepairArgs) -> Result<(), Failed> {
    let (folder, directory) = match is_path(&args.partition) {
        true => by_path(args.partition.as_ref()).await?,
        false => {
            let directory = Directory::open(&args.data).await?;
            (directory.partition(&args.partition).await?, Some(directory))
        }
    };
    refuse_kafkas(directory.as_ref())?;
    if partition_of_folder(&folder).is_none() {
        let folder = folder.display();
        return Err(Failed::new(format!("{folder} is no partition's folder; those are named TOPIC-PARTITION")));
    }
    let plan = repair::plan(&folder, remedy(args)).await?;
    if args.apply {
        repair::apply(&plan, &mut |step| eprintln!("{step}")).await?;
    }
    match args.format {
        Format::Json => print(&json(&Output::new(&plan, args.apply))?)?,
        Format::Text => print(&as_text(&plan, args.apply))?,
    };
    Ok(())
}

/// Its broker cannot be kept from starting, and has recovery of its own.
fn refuse_kafkas(directory: Option<&Directory>) -> Result<(), Failed> {
    match directory.map(Directory::owner) {
        Some(Owner::Kafka(kafka)) => Err(Failed::new(format!(
            "{} belongs to Kafka's node {}: copy the partition's folder elsewhere, and repair the copy",
            directory.map(Directory::path).unwrap_or(std::path::Path::new(".")).display(),
            kafka.node_id
        ))),
        _ => Ok(()),
    }
}

fn remedy(args: &RepairArgs) -> Remedy {
    match (args.truncate_at_damage, args.drop_damaged) {
        (true, _) => Remedy::TruncateAtDamage,
        (_, true) => Remedy::DropDamaged,
        _ => Remedy::Indexes,
    }
}

fn as_text(plan: &RepairPlan, applied: bool) -> String {
    if plan.actions.is_empty() {
        return format!("{}: nothing to repair in this way\n", plan.folder.display());
    }
    let (before, after) = plan.end_offset;
    let lost = plan.lost;
    let mut table = Table::new(&["LOST", ""]);
    table.row(["damaged bytes".to_owned(), lost.damaged_bytes.to_string()]);
    table.row(["good batches".to_owned(), lost.good_batches.to_string()]);
    table.row(["good records".to_owned(), lost.good_records.to_string()]);
    table.row(["good bytes".to_owned(), lost.good_bytes.to_string()]);
    table.row(["log end offset".to_owned(), format!("{before}, then {after}")]);
    let mut text = table.to_string();
    if applied {
        text.push_str("\nDone. What left the log is kept beside it in files that end in .cut; `ringlane log verify` checks the rest.\n");
    } else {
        text.push_str("\nSTEPS\n");
        for action in &plan.actions {
            text.push_str(&format!("{action}\n"));
        }
        text.push_str("\nNothing was changed. With --apply it is done.\n");
    }
    text
}

#[derive(Serialize)]
struct Output {
    folder: PathBuf,
    applied: bool,
    damaged_bytes_lost: u64,
    good_batches_lost: u64,
    good_records_lost: u64,
    good_bytes_lost: u64,
    end_offset_before: i64,
    end_offset_after: i64,
    steps: Vec<String>,
}

impl Output {
    fn new(plan: &RepairPlan, applied: bool) -> Output {
        Output {
            folder: plan.folder.clone(),
            applied,
            damaged_bytes_lost: plan.lost.damaged_bytes,
            good_batches_lost: plan.lost.good_batches,
            good_records_lost: plan.lost.good_records,
            good_bytes_lost: plan.lost.good_bytes,
            end_offset_before: plan.end_offset.0,
            end_offset_after: plan.end_offset.1,
            steps: plan.actions.iter().map(ToString::to_string).collect(),
        }
    }
}
