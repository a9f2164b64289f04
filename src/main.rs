//! Starts gcr-push: reads the request, runs it, prints what went wrong, exits with its code.

use std::io::{self, IsTerminal as _};
use std::process::ExitCode;

use gcr_push::ci::console::Console;
use gcr_push::ci::{log, output};
use gcr_push::commands::interrupt;
use gcr_push::config::cli::{self, CliError, CommandLine, Invocation};
use gcr_push::diagnostics::{ExitCode::Usage, Failure};
use gcr_push::{Error, config};
#[cfg(target_os = "linux")]
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::process::{Resource, Rlimit, setrlimit};

fn main() -> ExitCode {
    forbid_core_dumps();
    let invocation = cli::parse(std::env::args_os());
    let nothing = CommandLine::default();
    let line = match &invocation {
        Ok(Invocation::Run(line)) => line,
        Ok(Invocation::Print(_)) | Err(_) => &nothing,
    };
    if let Ok(Invocation::Run(line)) = &invocation
        && io::stdin().is_terminal()
        && io::stderr().is_terminal()
        && config::wants_usage(line, std::env::vars_os(), &config::Disk)
    {
        let _ = output::print(&mut io::stderr(), config::help::usage());
        return (Usage as u8).into();
    }
    let console = config::console(line, std::env::vars_os(), &config::Disk);
    match start(invocation, &console) {
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

fn start(
    invocation: Result<Invocation, CliError>,
    console: &Console,
) -> Result<(), Failure<Error>> {
    let line = match invocation.map_err(Error::Cli)? {
        Invocation::Run(line) => line,
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
        config::request(&line, std::env::vars_os(), &config::Disk).map_err(Error::Config)?;
    gcr_push::run(request, io::stdout())
}
