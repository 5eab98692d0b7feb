//! Grammar and help of `ringlane log`.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand};

use crate::args::Format;

/// Check, show and repair the files of a stopped broker
#[derive(Subcommand)]
#[command(after_help = EXAMPLES)]
pub enum LogCommand {
    Verify(VerifyArgs),
    Dump(DumpArgs),
    Repair(RepairArgs),
}

const EXAMPLES: &str = "\
Examples:
  ringlane log verify --data /var/lib/ringlane                    every partition: is all of it readable?
  ringlane log verify /mnt/copy/orders-3 --deep                   one folder, ours or Kafka's, records unpacked
  ringlane log dump data/orders-3/00000000000000000000.log        its batches
  ringlane log repair orders-3 --drop-damaged                     what a repair would do; --apply does it";

/// Read every byte of stopped logs and say what is wrong
///
/// Checks length, CRC32C and offsets of every batch, indexes against segments, and the small files beside them; of a whole data directory
/// also the journals, and what the next start would take from them. Changes nothing. The broker, Ringlane or Kafka, must be stopped. Exit
/// code 1 when something is wrong, or a broker runs.
#[derive(Args)]
#[command(after_help = VERIFY_EXAMPLES)]
pub struct VerifyArgs {
    /// TOPIC-PARTITION in the data directory, or the path of a partition's folder (with a slash) [default: all partitions]
    #[arg(value_name = "PARTITION")]
    pub partitions: Vec<String>,
    /// Directory of the data
    #[arg(long, value_name = "DIR", default_value = "./data")]
    pub data: PathBuf,
    /// Unpack every batch and read its records too
    #[arg(long)]
    pub deep: bool,
    /// How results look
    #[arg(short = 'f', long, value_name = "FORMAT", default_value = "text")]
    pub format: Format,
}

const VERIFY_EXAMPLES: &str = "\
Examples:
  ringlane log verify                                        all of ./data
  ringlane log verify orders-0 orders-1 --data /var/lib/ringlane --deep
  ringlane log verify /var/lib/kafka/orders-0                a folder that Kafka wrote
  ringlane log verify --format json | jq '.partitions[] | select(.sound | not)'";

/// Show what a file of a log holds
///
/// Reads segments (.log), indexes (.index, .timeindex), producer snapshots (.snapshot), aborted transactions (.txnindex) and
/// checkpoints, journals (.journal, every entry that lies there); of a folder all segments in order. Takes no lock: beside a running broker the newest segment may end in the middle
/// of a batch, or in zeros.
#[derive(Args)]
#[command(after_help = DUMP_EXAMPLES)]
pub struct DumpArgs {
    /// A file of a log, or a partition's folder
    pub path: PathBuf,
    /// Show the records in each batch
    #[arg(short, long)]
    pub records: bool,
    /// Begin with the batch that holds this offset
    #[arg(long, value_name = "OFFSET", value_parser = clap::value_parser!(i64).range(0..))]
    pub from: Option<i64>,
    /// Stop after this many batches, or records with --records
    #[arg(short = 'n', long)]
    pub count: Option<u64>,
    /// How results look; json is one document a line
    #[arg(short = 'f', long, value_name = "FORMAT", default_value = "text")]
    pub format: Format,
}

const DUMP_EXAMPLES: &str = "\
Examples:
  ringlane log dump data/orders-0                                       the batches of all segments
  ringlane log dump data/orders-0 --from 4711 --records -n 1            one record
  ringlane log dump data/orders-0/00000000000000000000.timeindex
  ringlane log dump data/orders-0/00000000000000004711.snapshot -f json the idempotent producers";

/// Take damage out of a stopped log
///
/// Only shows what it would do, until --apply is there. What leaves the log is kept beside it, in files that end in .cut. With
/// replicas elsewhere there is a better way: move the folder away, and the partition is copied from its leader.
#[derive(Args)]
#[command(after_help = REPAIR_EXAMPLES)]
#[command(group(ArgGroup::new("remedy").required(true).args(["truncate_at_damage", "drop_damaged", "indexes"])))]
pub struct RepairArgs {
    /// TOPIC-PARTITION in the data directory, or the path of a partition's folder (with a slash)
    #[arg(value_name = "PARTITION")]
    pub partition: String,
    /// Directory of the data
    #[arg(long, value_name = "DIR", default_value = "./data")]
    pub data: PathBuf,
    /// End the log where its first damaged batch begins: everything behind it goes
    #[arg(long)]
    pub truncate_at_damage: bool,
    /// Only the damaged bytes go: their offsets are missing, as after compaction
    #[arg(long)]
    pub drop_damaged: bool,
    /// Write the indexes anew from the batches; no record is touched
    #[arg(long)]
    pub indexes: bool,
    /// Do it
    #[arg(long)]
    pub apply: bool,
    /// How results look
    #[arg(short = 'f', long, value_name = "FORMAT", default_value = "text")]
    pub format: Format,
}

const REPAIR_EXAMPLES: &str = "\
Examples:
  ringlane log repair orders-0 --drop-damaged                 what would be lost, and each step
  ringlane log repair orders-0 --drop-damaged --apply         lose the damaged batches only
  ringlane log repair orders-0 --truncate-at-damage --apply   lose everything from the first damaged batch on
  ringlane log repair orders-0 --indexes --apply";
