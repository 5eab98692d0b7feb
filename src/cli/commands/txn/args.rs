//! Grammar and help of `ringlane txn`.

use clap::{Args, Subcommand};

use crate::args::BrokerArgs;

/// List, describe and abort transactions
#[derive(Subcommand)]
#[command(after_help = EXAMPLES)]
pub enum TxnCommand {
    /// List transactional ids and what they do
    List {
        /// Only those in this state (Ongoing, Empty, CompleteCommit, ...); may be repeated
        #[arg(long, value_name = "STATE")]
        state: Vec<String>,
        #[command(flatten)]
        brokers: BrokerArgs,
    },
    /// Show producer, state, age and partitions of transactional ids
    Describe {
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
        #[command(flatten)]
        brokers: BrokerArgs,
    },
    Abort(AbortArgs),
}

const EXAMPLES: &str = "\
Examples:
  ringlane txn list --state Ongoing
  ringlane txn describe import
  ringlane txn abort import                                            its producer can write no more";

impl TxnCommand {
    pub fn brokers(&self) -> &BrokerArgs {
        match self {
            TxnCommand::List { brokers, .. } | TxnCommand::Describe { brokers, .. } => brokers,
            TxnCommand::Abort(args) => &args.brokers,
        }
    }
}

/// Abort a transaction that nobody ends
///
/// By its id: the coordinator aborts what is open, and the producer is fenced. By place: for a transaction of which no coordinator knows
/// any more, so that readers of committed data stand before it; START is where they stand, the partition's last stable offset.
#[derive(Args)]
#[command(after_help = ABORT_EXAMPLES)]
pub struct AbortArgs {
    #[arg(value_name = "ID", required_unless_present = "topic", conflicts_with = "topic")]
    pub id: Option<String>,
    #[arg(long, value_name = "TOPIC", requires_all = ["partition", "start_offset"])]
    pub topic: Option<String>,
    #[arg(long, value_name = "PARTITION", requires = "topic")]
    pub partition: Option<i32>,
    /// Offset of the transaction's first record
    #[arg(long, value_name = "START", requires = "topic")]
    pub start_offset: Option<i64>,
    #[command(flatten)]
    pub brokers: BrokerArgs,
}

const ABORT_EXAMPLES: &str = "\
Examples:
  ringlane txn abort import
  ringlane txn abort --topic orders --partition 3 --start-offset 4711";
