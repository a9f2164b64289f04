//! Starts gcr-push: reads the request, runs it, tells what went wrong, exits with its code.

use std::process::ExitCode;

use gcr_push::cli::{self, Invocation};
use gcr_push::{Error, Failure, config, logging, report};

fn main() -> ExitCode {
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // With standard error gone the exit code is all that is left to say.
            let _ = failure.write(&mut std::io::stderr());
            (failure.exit_code() as u8).into()
        }
    }
}

fn start() -> Result<(), Failure> {
    let word = match cli::parse(std::env::args_os()).map_err(Error::Cli)? {
        Invocation::Run(word) => word,
        Invocation::Print(text) => {
            return Ok(report::print(&mut std::io::stdout(), text)?);
        }
    };
    let request =
        config::request(word, std::env::vars_os(), &config::Disk).map_err(Error::Config)?;
    logging::start(
        request.log_format,
        std::env::var("RUST_LOG").ok().as_deref(),
    );
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Error::Start)?
        .block_on(gcr_push::run(request, &mut std::io::stdout()))
}
