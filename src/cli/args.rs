//! The command line's grammar, and so its help.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use ringlane_client::{Acks, DeleteBefore};
use ringlane_protocol::records::Compression;

use crate::commands::log::LogCommand;

/// Serves the Kafka protocol from local disks: one shard per core, io_uring, durable acks.
#[derive(Parser)]
#[command(name = "ringlane", version, after_help = EXAMPLES, arg_required_else_help = true, disable_help_subcommand = false)]
pub struct Args {
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "\
Examples:
  ringlane server                                serve on 127.0.0.1:9092, data in ./data
  ringlane topic create orders -p 3              make a topic
  echo 'a:1' | ringlane produce orders -k :      one record, key a, value 1
  ringlane consume orders --offset start -n 1    read it
  ringlane config log.segment.bytes              explain a key

Exit codes: 0 done, 1 it failed (the message says why), 2 the command line is wrong.";

#[derive(Subcommand)]
pub enum Command {
    Server(ServerArgs),
    #[command(subcommand)]
    Topic(TopicCommand),
    Produce(ProduceArgs),
    Consume(ConsumeArgs),
    #[command(subcommand)]
    Group(GroupCommand),
    #[command(subcommand)]
    Txn(TxnCommand),
    #[command(subcommand)]
    Log(LogCommand),
    Config(ConfigArgs),
}

/// Start a broker
///
/// Without options it serves on 127.0.0.1:9092 with its data in ./data, on every CPU that the process may use. When it serves, it
/// prints one line on standard output; the banner and the logs go to standard error. SIGTERM and SIGINT stop it in order, SIGUSR1
/// prints its counters.
#[derive(clap::Args)]
#[command(after_help = SERVER_EXAMPLES)]
pub struct ServerArgs {
    /// Kafka's server.properties; unknown keys are errors
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Directory of the data [default: ./data]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Address to serve on [default: 127.0.0.1:9092]
    #[arg(long, value_name = "HOST:PORT")]
    pub listen: Option<String>,
    /// CPUs to run on, one shard each: 0-3,6 [default: all that the process may use]
    #[arg(long, value_name = "LIST")]
    pub cores: Option<String>,
    /// A configuration key, stronger than the file and the environment; may be repeated
    #[arg(short = 'o', value_name = "KEY=VALUE")]
    pub settings: Vec<String>,
    #[command(flatten)]
    pub logs: LogArgs,
}

const SERVER_EXAMPLES: &str = "\
Examples:
  ringlane server --data /var/lib/ringlane --listen 0.0.0.0:9092 -o advertised.listeners=PLAINTEXT://kafka1:9092
  ringlane server --config server.properties --cores 0-3
  ringlane server -o num.partitions=3 -o flush.messages=10000      (acks before the records survive power loss)
  RINGLANE_LOG_SEGMENT_BYTES=268435456 ringlane server";

#[derive(clap::Args)]
pub struct LogArgs {
    /// What is logged: a level, or levels by module (info,ringlane_log=debug)
    #[arg(long = "log", value_name = "LEVELS", env = "RINGLANE_LOG", default_value = "info")]
    pub levels: String,
    /// How log lines look
    #[arg(long = "log-format", value_name = "FORMAT", env = "RINGLANE_LOG_FORMAT", default_value = "text")]
    pub format: Format,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Format {
    Text,
    Json,
}

/// Explain configuration keys
///
/// Without a key it lists them all.
#[derive(clap::Args)]
pub struct ConfigArgs {
    /// A key of the broker or of a topic
    pub key: Option<String>,
    /// The reference page of all keys, in Markdown
    #[arg(long, conflicts_with = "key")]
    pub reference: bool,
}

/// Which cluster, and how to answer.
#[derive(clap::Args)]
pub struct BrokerArgs {
    /// Some brokers of the cluster
    #[arg(
        short = 'b',
        long,
        alias = "bootstrap-server",
        value_name = "HOST:PORT,...",
        env = "RINGLANE_BROKERS",
        default_value = "127.0.0.1:9092"
    )]
    pub brokers: String,
    /// How results look
    #[arg(short = 'f', long, value_name = "FORMAT", default_value = "text")]
    pub format: Format,
}

/// Create, list, describe and delete topics, or their oldest records
#[derive(Subcommand)]
#[command(after_help = TOPIC_EXAMPLES)]
pub enum TopicCommand {
    Create(CreateArgs),
    /// List topics
    List {
        /// Those too that the broker keeps for itself
        #[arg(short, long)]
        internal: bool,
        #[command(flatten)]
        brokers: BrokerArgs,
    },
    /// Show settings, partitions and offsets of topics
    Describe {
        #[arg(required = true, value_name = "TOPIC")]
        names: Vec<String>,
        #[command(flatten)]
        brokers: BrokerArgs,
    },
    DeleteRecords(DeleteRecordsArgs),
    /// Delete topics and all their records
    Delete {
        #[arg(required = true, value_name = "TOPIC")]
        names: Vec<String>,
        /// A topic that does not exist is no failure
        #[arg(long)]
        if_exists: bool,
        #[command(flatten)]
        brokers: BrokerArgs,
    },
}

/// Create topics
#[derive(clap::Args)]
pub struct CreateArgs {
    #[arg(required = true, value_name = "TOPIC")]
    pub names: Vec<String>,
    /// Partitions of each [default: the broker's num.partitions]
    #[arg(short, long, value_name = "COUNT", value_parser = clap::value_parser!(i32).range(1..))]
    pub partitions: Option<i32>,
    /// Replicas of each partition [default: the broker's default.replication.factor]
    #[arg(short, long, value_name = "COUNT", value_parser = clap::value_parser!(i16).range(1..))]
    pub replicas: Option<i16>,
    /// A setting of the topic, such as retention.ms=3600000; may be repeated
    #[arg(short = 'c', long = "config", value_name = "KEY=VALUE")]
    pub configs: Vec<String>,
    /// A topic that exists already is no failure
    #[arg(long)]
    pub if_not_exists: bool,
    /// Only say whether it would work
    #[arg(short, long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub brokers: BrokerArgs,
}

/// Delete the oldest records of a topic, for good
///
/// Consumers can no longer read what is before the offset; its space is freed segment by segment. Topics that are only compacted
/// refuse it.
#[derive(clap::Args)]
#[command(after_help = DELETE_RECORDS_EXAMPLES)]
pub struct DeleteRecordsArgs {
    pub topic: String,
    /// The first offset to keep, or end: delete every record that is there now
    #[arg(long, value_name = "OFFSET|end", value_parser = before)]
    pub before: DeleteBefore,
    /// These partitions only: 0,2 [default: all]
    #[arg(short, long = "partition", value_name = "PARTITION,...", value_delimiter = ',')]
    pub partitions: Vec<i32>,
    #[command(flatten)]
    pub brokers: BrokerArgs,
}

const DELETE_RECORDS_EXAMPLES: &str = "\
Examples:
  ringlane topic delete-records orders --before end             keep the topic, drop its records
  ringlane topic delete-records orders -p 0 --before 4711       partition 0 begins at offset 4711";

fn before(text: &str) -> Result<DeleteBefore, String> {
    match text.parse() {
        _ if text == "end" => Ok(DeleteBefore::End),
        Ok(offset) if offset >= 0 => Ok(DeleteBefore::Offset(offset)),
        _ => Err("expected an offset or end".to_owned()),
    }
}

const TOPIC_EXAMPLES: &str = "\
Examples:
  ringlane topic create orders payments -p 12 -c retention.ms=86400000
  ringlane topic create audit -c flush.messages=1 --if-not-exists
  ringlane topic list --format json
  ringlane topic describe orders -b broker1:9092
  ringlane topic delete-records orders --before end";

impl TopicCommand {
    pub fn brokers(&self) -> &BrokerArgs {
        match self {
            TopicCommand::Create(args) => &args.brokers,
            TopicCommand::DeleteRecords(args) => &args.brokers,
            TopicCommand::List { brokers, .. }
            | TopicCommand::Describe { brokers, .. }
            | TopicCommand::Delete { brokers, .. } => brokers,
        }
    }
}

/// Make records of the lines of standard input
///
/// Ends when standard input does and every record is acknowledged, and says where they went.
#[derive(clap::Args)]
#[command(after_help = PRODUCE_EXAMPLES)]
pub struct ProduceArgs {
    pub topic: String,
    /// What is before the first SEPARATOR of a line is the key
    #[arg(short, long, value_name = "SEPARATOR", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub key_separator: Option<String>,
    /// A header of every record; may be repeated
    #[arg(short = 'H', long = "header", value_name = "KEY=VALUE")]
    pub headers: Vec<String>,
    /// All records to this partition [default: by key, or in batches over all]
    #[arg(short, long, value_parser = clap::value_parser!(i32).range(0..))]
    pub partition: Option<i32>,
    /// none, gzip, snappy, lz4 or zstd
    #[arg(short = 'z', long, value_name = "CODEC", default_value = "none", value_parser = codec)]
    pub compression: Compression,
    /// When a record counts as stored: 0 (when it is sent), 1 (the leader has it), all (all in-sync replicas have it, once)
    #[arg(short, long, value_name = "ACKS", default_value = "all", value_parser = acks)]
    pub acks: Acks,
    #[command(flatten)]
    pub brokers: BrokerArgs,
}

const PRODUCE_EXAMPLES: &str = "\
Examples:
  echo hello | ringlane produce greetings
  ringlane produce orders -k : -H source=import -z zstd < orders.txt";

fn codec(name: &str) -> Result<Compression, String> {
    Compression::from_name(name).ok_or_else(|| "expected none, gzip, snappy, lz4 or zstd".to_owned())
}

fn acks(text: &str) -> Result<Acks, String> {
    match text {
        "0" => Ok(Acks::None),
        "1" => Ok(Acks::Leader),
        "all" | "-1" => Ok(Acks::All),
        _ => Err("expected 0, 1 or all".to_owned()),
    }
}

/// Print the records of a topic
///
/// Runs until it is stopped, unless -n or --exit-at-end says otherwise.
#[derive(clap::Args)]
#[command(after_help = CONSUME_EXAMPLES)]
pub struct ConsumeArgs {
    pub topic: String,
    /// These partitions only: 0,2 [default: all]
    #[arg(short, long, value_delimiter = ',')]
    pub partitions: Vec<i32>,
    /// Where to begin in each partition: start, end, an offset, -N for the last N, @MS for a time (milliseconds since 1970)
    #[arg(short, long, value_name = "WHERE", default_value = "start", allow_hyphen_values = true)]
    pub offset: Start,
    /// Stop after this many records
    #[arg(short = 'n', long)]
    pub count: Option<u64>,
    /// Stop where the partitions ended when the command began
    #[arg(short, long)]
    pub exit_at_end: bool,
    /// Read as a member of this group: share the partitions with its other members, go on where the group was; --offset counts where it
    /// has never been
    #[arg(short, long, conflicts_with_all = ["partitions", "exit_at_end"])]
    pub group: Option<String>,
    /// Print the key and SEPARATOR before each value (text only)
    #[arg(short, long, value_name = "SEPARATOR")]
    pub key_separator: Option<String>,
    #[command(flatten)]
    pub brokers: BrokerArgs,
}

const CONSUME_EXAMPLES: &str = "\
Examples:
  ringlane consume orders                             everything, then what comes
  ringlane consume orders -o end -f json              what comes from now on, with keys, headers and offsets
  ringlane consume orders -p 0 -o 4711 -n 1           one record
  ringlane consume orders -g billing                  a share of it, from where the group was
  ringlane consume orders -o @1767225600000 -e        since a moment, up to now";

/// List and describe transactions, end one whose producer is gone
#[derive(Subcommand)]
#[command(after_help = TXN_EXAMPLES)]
pub enum TxnCommand {
    /// List transactional ids
    List {
        /// Only those in these states: Empty, Ongoing, PrepareCommit, PrepareAbort, CompleteCommit, CompleteAbort
        #[arg(short, long = "state", value_name = "STATE,...", value_delimiter = ',')]
        states: Vec<String>,
        #[command(flatten)]
        brokers: BrokerArgs,
    },
    /// Show where transactional ids stand, since when, and which partitions their open transaction has
    Describe {
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
        #[command(flatten)]
        brokers: BrokerArgs,
    },
    /// Abort what is open under transactional ids, and shut their producers out
    Abort {
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
        #[command(flatten)]
        brokers: BrokerArgs,
    },
}

const TXN_EXAMPLES: &str = "\
Examples:
  ringlane txn list --state Ongoing                   what is open now
  ringlane txn describe billing-1                     since when, and in which partitions
  ringlane txn abort billing-1                        its producer is gone, and readers wait";

impl TxnCommand {
    pub fn brokers(&self) -> &BrokerArgs {
        match self {
            TxnCommand::List { brokers, .. }
            | TxnCommand::Describe { brokers, .. }
            | TxnCommand::Abort { brokers, .. } => brokers,
        }
    }
}

/// List and describe consumer groups, move or delete those at rest
#[derive(Subcommand)]
#[command(after_help = GROUP_EXAMPLES)]
pub enum GroupCommand {
    /// List groups
    List {
        #[command(flatten)]
        brokers: BrokerArgs,
    },
    /// Show how far groups have read, how far they are behind, and who reads what
    Describe {
        #[arg(required = true, value_name = "GROUP")]
        groups: Vec<String>,
        /// The members instead of the partitions
        #[arg(short, long)]
        members: bool,
        #[command(flatten)]
        brokers: BrokerArgs,
    },
    Seek(SeekArgs),
    /// Delete groups without members, and all that they have committed
    Delete {
        #[arg(required = true, value_name = "GROUP")]
        groups: Vec<String>,
        #[command(flatten)]
        brokers: BrokerArgs,
    },
}

/// Set where a group without members goes on
#[derive(clap::Args)]
pub struct SeekArgs {
    pub group: String,
    #[arg(required = true, value_name = "TOPIC")]
    pub topics: Vec<String>,
    /// Where to: start, end, an offset, -N for the last N, @MS for a time (milliseconds since 1970)
    #[arg(long, value_name = "WHERE", allow_hyphen_values = true)]
    pub to: Start,
    /// These partitions only: 0,2 [default: all]
    #[arg(short, long = "partition", value_name = "PARTITION,...", value_delimiter = ',')]
    pub partitions: Vec<i32>,
    /// Only say where it would be
    #[arg(short, long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub brokers: BrokerArgs,
}

const GROUP_EXAMPLES: &str = "\
Examples:
  ringlane group describe billing                     offsets, lag and readers of each partition
  ringlane group seek billing orders --to @1767225600000    read again from a moment on
  ringlane group delete old-billing";

impl GroupCommand {
    pub fn brokers(&self) -> &BrokerArgs {
        match self {
            GroupCommand::Seek(args) => &args.brokers,
            GroupCommand::List { brokers }
            | GroupCommand::Describe { brokers, .. }
            | GroupCommand::Delete { brokers, .. } => brokers,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Start {
    Earliest,
    Latest,
    Offset(i64),
    Last(i64),
    Timestamp(i64),
}

impl std::str::FromStr for Start {
    type Err = String;

    fn from_str(text: &str) -> Result<Start, String> {
        let (place, digits): (fn(i64) -> Start, &str) = match text.split_at_checked(1) {
            _ if text == "start" => return Ok(Start::Earliest),
            _ if text == "end" => return Ok(Start::Latest),
            Some(("@", ms)) => (Start::Timestamp, ms),
            Some(("-", count)) => (Start::Last, count),
            _ => (Start::Offset, text),
        };
        let number = digits.parse().ok().filter(|number| *number >= 0);
        number.map(place).ok_or_else(|| "expected start, end, an offset, -N or @MS".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    /// clap finds clashing options only when a user meets them.
    #[test]
    fn the_grammar_holds_together() {
        Args::command().debug_assert();
    }

    /// A mistyped place must be an error and not the start of a million records.
    #[test]
    fn places_to_start_at_are_read() {
        let of = |text: &str| text.parse::<Start>();
        assert_eq!(of("start"), Ok(Start::Earliest));
        assert_eq!(of("17"), Ok(Start::Offset(17)));
        assert_eq!(of("-5"), Ok(Start::Last(5)));
        assert_eq!(of("@1767225600000"), Ok(Start::Timestamp(1_767_225_600_000)));
        assert_eq!(before("end"), Ok(DeleteBefore::End));
        assert_eq!(before("0"), Ok(DeleteBefore::Offset(0)));
        assert!(before("-1").is_err() && before("ende").is_err());
        assert!(of("strat").is_err() && of("@").is_err() && of("--5").is_err());
    }
}
