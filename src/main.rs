//! Starts gcr-push: reads the request, runs it, tells what went wrong, exits with its code.

use std::process::ExitCode;

use gcr_push::cli::{self, Invocation};
use gcr_push::config::Console;
use gcr_push::{Error, Failure, config, logging, report};

fn main() -> ExitCode {
    let console = config::console(std::env::vars_os(), &config::Disk);
    match start(&console) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            report::console::tell(&failure, &console);
            (failure.exit_code() as u8).into()
        }
    }
}

fn start(console: &Console) -> Result<(), Failure> {
    let word = match cli::parse(std::env::args_os()).map_err(Error::Cli)? {
        Invocation::Run(word) => word,
        Invocation::Print(text) => {
            return Ok(report::print(&mut std::io::stdout(), text)?);
        }
    };
    logging::start(console);
    if console.is_action {
        report::github::masks::start();
    }
    let request =
        config::request(word, std::env::vars_os(), &config::Disk).map_err(Error::Config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Error::Start)?;
    let done = runtime.block_on(gcr_push::run(request, &mut std::io::stdout()));
    // Threads that still read or compress for a run that was stopped are not waited for.
    runtime.shutdown_background();
    done
}
