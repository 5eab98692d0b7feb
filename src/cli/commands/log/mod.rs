//! `ringlane log`: what the files of a stopped broker hold. Everything it knows is `ringlane_log::offline`'s; here it gets its words.

mod args;
mod dump;
mod repair;
mod rows;
mod verify;

use std::path::{Path, PathBuf};

use ringlane_log::offline::{Directory, OfflineError};

pub use self::args::LogCommand;
use crate::exit::Failed;
use crate::shard;

pub fn run(command: LogCommand) -> Result<(), Failed> {
    shard::run(move || async move {
        match command {
            LogCommand::Verify(args) => verify::run(&args).await,
            LogCommand::Dump(args) => dump::run(&args).await,
            LogCommand::Repair(args) => repair::run(&args).await,
        }
    })
}

/// A folder by its path, in the data directory that it lies in, if any: with that locked.
async fn by_path(folder: &Path) -> Result<(PathBuf, Option<Directory>), Failed> {
    Ok((folder.to_owned(), Directory::around(folder).await?))
}

/// A name with a slash is a path; else it is a partition of the data directory.
fn is_path(partition: &str) -> bool {
    partition.contains('/')
}

impl From<OfflineError> for Failed {
    fn from(error: OfflineError) -> Failed {
        Failed::new(error.to_string())
    }
}
