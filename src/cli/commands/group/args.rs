//! Grammar and help of `ringlane group`.

use clap::{ArgGroup, Args, Subcommand};

use super::time;
use crate::args::BrokerArgs;

/// List, describe, move and delete groups
#[derive(Subcommand)]
#[command(after_help = EXAMPLES)]
pub enum GroupCommand {
    /// List groups
    List {
        /// Only those in this state (Stable, Empty, ...); may be repeated
        #[arg(long, value_name = "STATE")]
        state: Vec<String>,
        #[command(flatten)]
        brokers: BrokerArgs,
    },
    Describe(DescribeArgs),
    Seek(SeekArgs),
    Delete(DeleteArgs),
}

const EXAMPLES: &str = "\
Examples:
  ringlane group list
  ringlane group describe billing                                  how far it has read, and who reads what
  ringlane group seek billing --topic orders --to-earliest         what a move would do; --apply does it
  ringlane group delete billing";

impl GroupCommand {
    pub fn brokers(&self) -> &BrokerArgs {
        match self {
            GroupCommand::List { brokers, .. } => brokers,
            GroupCommand::Describe(args) => &args.brokers,
            GroupCommand::Seek(args) => &args.brokers,
            GroupCommand::Delete(args) => &args.brokers,
        }
    }
}

/// Show how far groups have read
///
/// One line for each partition that a group has committed in or that a member reads. LAG is what it has not read; a dash stands for
/// what there is not. A share group has a line for each partition that it shares: START-OFFSET is the first record that it has not done with.
#[derive(Args)]
#[command(after_help = DESCRIBE_EXAMPLES)]
pub struct DescribeArgs {
    #[arg(required = true, value_name = "GROUP")]
    pub groups: Vec<String>,
    /// A line for each member instead
    #[arg(long, conflicts_with = "state")]
    pub members: bool,
    /// A line for each group instead: state, coordinator, assignor
    #[arg(long)]
    pub state: bool,
    #[command(flatten)]
    pub brokers: BrokerArgs,
}

const DESCRIBE_EXAMPLES: &str = "\
Examples:
  ringlane group describe billing
  ringlane group describe billing --members
  ringlane group describe billing shipping --state
  ringlane group describe billing -f json | jq '[.[].partitions[].lag] | add'";

/// Move a group to other offsets
///
/// Says what it would do; --apply does it. The group may have no members: stop them first. Offsets outside of a partition are taken to
/// its nearest end.
#[derive(Args)]
#[command(after_help = SEEK_EXAMPLES)]
#[command(group(ArgGroup::new("where").required(true)))]
#[command(group(ArgGroup::new("scope").required(true).multiple(true)))]
pub struct SeekArgs {
    pub group: String,
    /// The partitions to move in: orders, or orders:0,2; may be repeated
    #[arg(long = "topic", value_name = "TOPIC[:PARTITION,...]", group = "scope")]
    pub topics: Vec<String>,
    /// Every partition that the group has committed in
    #[arg(long, group = "scope", conflicts_with = "topics")]
    pub all_topics: bool,
    /// To the first record
    #[arg(long, group = "where")]
    pub to_earliest: bool,
    /// Behind the last record
    #[arg(long, group = "where")]
    pub to_latest: bool,
    /// To this offset
    #[arg(long, value_name = "OFFSET", group = "where", value_parser = clap::value_parser!(i64).range(0..))]
    pub to_offset: Option<i64>,
    /// To the first record of this time or later: 2026-01-01T00:00:00.000, with Z or +02:00 at its end if not UTC, or @MS since 1970
    #[arg(long, value_name = "TIME", group = "where", value_parser = time::parse)]
    pub to_datetime: Option<i64>,
    /// So many records on, or back if negative, from where it is
    #[arg(long, value_name = "COUNT", group = "where", allow_hyphen_values = true)]
    pub shift_by: Option<i64>,
    /// Do it
    #[arg(long, alias = "execute", conflicts_with = "dry_run")]
    pub apply: bool,
    /// Only say what would be done (the default)
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub brokers: BrokerArgs,
}

const SEEK_EXAMPLES: &str = "\
Examples:
  ringlane group seek billing --topic orders --to-earliest                        read everything again; says what it would do
  ringlane group seek billing --topic orders:0,2 --to-offset 4711 --apply
  ringlane group seek billing --all-topics --to-datetime 2026-01-01T00:00:00.000Z --apply
  ringlane group seek billing --all-topics --shift-by -100 --apply                the last hundred of each partition again";

/// Delete groups, or what they have committed in some topics
///
/// A group with members is not deleted. A share group forgets whole topics.
#[derive(Args)]
#[command(after_help = DELETE_EXAMPLES)]
pub struct DeleteArgs {
    #[arg(required = true, value_name = "GROUP")]
    pub groups: Vec<String>,
    /// Only the offsets in these partitions: orders, or orders:0,2; may be repeated
    #[arg(long = "topic", value_name = "TOPIC[:PARTITION,...]")]
    pub topics: Vec<String>,
    /// A group that does not exist is no failure
    #[arg(long)]
    pub if_exists: bool,
    #[command(flatten)]
    pub brokers: BrokerArgs,
}

const DELETE_EXAMPLES: &str = "\
Examples:
  ringlane group delete billing shipping
  ringlane group delete billing --topic orders        the group begins anew in this topic";
