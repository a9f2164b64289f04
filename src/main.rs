//! Starts gcr-push: reads the request, runs it, tells what went wrong, exits with its code.

use std::io::Write as _;
use std::process::ExitCode;

use gcr_push::{cli, config, error, logging};

fn main() -> ExitCode {
    let word = match cli::parse(std::env::args_os()) {
        cli::Invocation::Run(word) => word,
        cli::Invocation::Print(text) => {
            let _ = std::io::stdout().write_all(text.as_bytes());
            return ExitCode::SUCCESS;
        }
        cli::Invocation::Wrong(text) => {
            let _ = std::io::stderr().write_all(text.as_bytes());
            return (error::ExitCode::Usage as u8).into();
        }
    };
    let outcome = config::request(word, std::env::vars_os(), &config::Disk)
        .map_err(|error| gcr_push::Failure::from(gcr_push::Error::from(error)))
        .and_then(|request| {
            logging::start(request.log_format, std::env::var("RUST_LOG").ok().as_deref());
            run(request)
        });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let _ = failure.write(&mut std::io::stderr());
            (failure.exit_code() as u8).into()
        }
    }
}

fn run(request: config::Request) -> Result<(), gcr_push::Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| gcr_push::Failure::from(gcr_push::Error::Start(error)))?
        .block_on(gcr_push::run(request, &mut std::io::stdout()))
}
