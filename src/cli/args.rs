//! The command line's grammar, and so its help.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use ringlane_client::{Acks, DeleteBefore, GroupProtocol, IsolationLevel};
use ringlane_protocol::records::Compression;

use crate::commands::group::GroupCommand;
use crate::commands::log::LogCommand;
use crate::commands::txn::TxnCommand;

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
  ringlane group describe billing                how far a group has read
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
    /// All records in one transaction of this id: readers of committed data see all of them, or none when something fails
    #[arg(long, value_name = "ID")]
    pub transactional_id: Option<String>,
    #[command(flatten)]
    pub brokers: BrokerArgs,
}

const PRODUCE_EXAMPLES: &str = "\
Examples:
  echo hello | ringlane produce greetings
  ringlane produce orders --transactional-id import < orders.txt
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
/// Runs until it is stopped, unless -n or --exit-at-end says otherwise. With --group it is a member of a group: it shares the partitions
/// with the other members, goes on where the group has committed, and commits what it has printed.
#[derive(clap::Args)]
#[command(after_help = CONSUME_EXAMPLES)]
pub struct ConsumeArgs {
    pub topic: String,
    /// These partitions only: 0,2 [default: all]
    #[arg(short, long, value_delimiter = ',', conflicts_with = "group")]
    pub partitions: Vec<i32>,
    /// Read as a member of this group; --offset (start, end or @MS) says where a partition begins that it has committed nothing of
    #[arg(short, long, value_name = "GROUP")]
    pub group: Option<String>,
    /// How the group shares its partitions: classic, or consumer (KIP-848)
    #[arg(long, value_name = "PROTOCOL", default_value = "classic", requires = "group", value_parser = protocol)]
    pub group_protocol: GroupProtocol,
    /// A name for this member that outlives it: back under it within the session timeout, it moves nothing
    #[arg(long, value_name = "NAME", requires = "group")]
    pub instance: Option<String>,
    /// committed leaves out aborted transactions and stops before open ones; uncommitted shows everything
    #[arg(long, value_name = "LEVEL", default_value = "uncommitted", value_parser = isolation)]
    pub isolation: IsolationLevel,
    /// Where to begin in each partition: start, end, an offset, -N for the last N, @MS for a time (milliseconds since 1970)
    #[arg(short, long, value_name = "WHERE", default_value = "start", allow_hyphen_values = true)]
    pub offset: Start,
    /// Stop after this many records
    #[arg(short = 'n', long)]
    pub count: Option<u64>,
    /// Stop where the partitions ended when the command began
    #[arg(short, long)]
    pub exit_at_end: bool,
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
  ringlane consume orders --group billing             what the group has not read yet, shared with its other members
  ringlane consume orders -o @1767225600000 -e        since a moment, up to now";

fn protocol(name: &str) -> Result<GroupProtocol, String> {
    match name {
        "classic" => Ok(GroupProtocol::Classic),
        "consumer" => Ok(GroupProtocol::Consumer),
        _ => Err("expected classic or consumer".to_owned()),
    }
}

fn isolation(name: &str) -> Result<IsolationLevel, String> {
    match name {
        "committed" | "read_committed" => Ok(IsolationLevel::ReadCommitted),
        "uncommitted" | "read_uncommitted" => Ok(IsolationLevel::ReadUncommitted),
        _ => Err("expected committed or uncommitted".to_owned()),
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
