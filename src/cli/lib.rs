//! The command line: reads what the user wrote, starts a broker or a client, and turns what went wrong into one message and an exit
//! code.
//!
//! Runs on the process's first thread, before and after the shards; what needs the network or a clock runs on a shard. Everything a
//! script reads goes to standard output, everything else to standard error.

mod args;
mod commands;
mod config;
mod cores;
mod exit;
mod logs;
mod server;
mod shard;
mod table;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Args, Command, Format, LogArgs};
use crate::commands::{consume, group, log, produce, topic, txn};
use crate::exit::Failed;

/// The whole program.
pub fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return exit::usage(&error),
    };
    let done = match args.command {
        Command::Server(args) => server::run(args),
        Command::Topic(command) => client_logs().and_then(|()| topic::run(command)),
        Command::Produce(args) => client_logs().and_then(|()| produce::run(args)),
        Command::Consume(args) => client_logs().and_then(|()| consume::run(args)),
        Command::Group(command) => client_logs().and_then(|()| group::run(command)),
        Command::Txn(command) => client_logs().and_then(|()| txn::run(command)),
        Command::Log(command) => client_logs().and_then(|()| log::run(command)),
        Command::Config(args) => config::run(args),
    };
    exit::code(done)
}

/// A command's results are what matters: its log says only what went wrong on the way.
fn client_logs() -> Result<(), Failed> {
    logs::start(&LogArgs { levels: "error".to_owned(), format: Format::Text })
}
