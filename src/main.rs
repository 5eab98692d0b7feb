//! The `ringlane` program: everything lives in the crates beside this file.
fn main() -> std::process::ExitCode {
    ringlane_cli::main()
}
