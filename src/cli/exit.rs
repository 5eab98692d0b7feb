//! How the program ends: 0 done, 1 it failed (the message says why and what to do), 2 the command line is wrong.

use std::process::ExitCode;

/// What a command could not do; the text stands alone.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Failed(pub String);

impl Failed {
    pub fn new(message: impl Into<String>) -> Failed {
        Failed(message.into())
    }
}

pub fn code(done: Result<(), Failed>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failed) => {
            eprintln!("ringlane: {failed}");
            ExitCode::from(1)
        }
    }
}

/// Help and version are not errors: clap gives them code 0 and standard output.
pub fn usage(error: &clap::Error) -> ExitCode {
    // A closed pipe leaves nobody to tell.
    let _ = error.print();
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}
