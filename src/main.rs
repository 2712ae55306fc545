//! The program: reads the command line, runs one command, and turns an error into a message and an exit code.
//!
//! Exit codes: 0 done, 1 failed or something checked was found wrong, 2 a command line that makes no sense, 130 stopped by
//! Ctrl-C.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::since_launch();
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn")).init();
    match cli::run(cli::arguments::read()) {
        Ok(code) => code,
        // Whoever read our output has seen enough.
        Err(error) if cli::output::is_hang_up(&error) => ExitCode::SUCCESS,
        Err(error) => {
            cli::output::note(format_args!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}
