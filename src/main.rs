//! The `grnet` command; everything is in [`grnet::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    grnet::cli::main()
}
