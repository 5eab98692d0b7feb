//! The command line's grammar, and so its help.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

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
  ringlane config log.segment.bytes              explain a key

Exit codes: 0 done, 1 it failed (the message says why), 2 the command line is wrong.";

#[derive(Subcommand)]
pub enum Command {
    Server(ServerArgs),
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
