//! The command line: reads what the user wrote, starts a broker or a client, and turns what went wrong into one message and an exit
//! code.
//!
//! Runs on the process's first thread, before and after the shards; what needs the network or a clock runs on a shard. Everything a
//! script reads goes to standard output, everything else to standard error.

mod args;
mod config;
mod cores;
mod exit;
mod logs;
mod server;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Args, Command};

/// The whole program.
pub fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return exit::usage(&error),
    };
    let done = match args.command {
        Command::Server(args) => server::run(args),
        Command::Config(args) => config::run(args),
    };
    exit::code(done)
}
