//! Starts gcr-push: reads the request, runs it, prints what went wrong, exits with its code.

use std::io;
use std::process::ExitCode;

use gcr_push::ci::console::Console;
use gcr_push::ci::{log, output};
use gcr_push::commands::interrupt;
use gcr_push::config::cli::{self, Invocation};
use gcr_push::diagnostics::Failure;
use gcr_push::{Error, config};
#[cfg(target_os = "linux")]
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::process::{Resource, Rlimit, setrlimit};

fn main() -> ExitCode {
    forbid_core_dumps();
    let console = config::console(std::env::vars_os(), &config::Disk);
    match start(&console) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let code = failure.exit_code() as u8;
            let interrupted = |error: &Error| matches!(error, Error::Interrupted(_));
            let is_interrupted = failure.errors().iter().all(interrupted);
            // Printing the failure ends even if standard error is never read.
            let limit = is_interrupted.then_some(interrupt::GRACE);
            let _ = interrupt::supervise(limit, move |_| {
                gcr_push::ci::console::print_failure(&failure, &console)
            });
            code.into()
        }
    }
}

/// Keeps keys and tokens out of files that a crash would leave: neither a file nor, where the system
/// pipes dumps to a program, that program gets one.
fn forbid_core_dumps() {
    let nothing = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    // Refused, a dump is as it is for every other program.
    let _ = setrlimit(Resource::Core, nothing);
    #[cfg(target_os = "linux")]
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

fn start(console: &Console) -> Result<(), Failure<Error>> {
    let word = match cli::parse(std::env::args_os()).map_err(Error::Cli)? {
        Invocation::Run(word) => word,
        Invocation::Print(text) => {
            let printed = output::print(&mut io::stdout(), text);
            return Ok(printed.map_err(Error::Output)?);
        }
    };
    log::start(console);
    if console.is_action {
        gcr_push::ci::github::masks::start();
    }
    console.forget_earlier_results();
    let request =
        config::request(word, std::env::vars_os(), &config::Disk).map_err(Error::Config)?;
    gcr_push::run(request, io::stdout())
}
