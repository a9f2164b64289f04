//! The log: what is being done, on standard error, for people or as JSON.
//!
//! `RUST_LOG` opens our own crate only. Every dependency is capped at `info`, because several log
//! tokens and self-authenticating upload URLs at `debug`; records of the `log` crate, which
//! yup-oauth2 writes whole token answers to, are not collected at all.

use std::io::IsTerminal as _;

use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::filter::{FilterFn, LevelFilter, Targets};
use tracing_subscriber::layer::{Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::LogFormat;

/// Starts logging for the life of the process. `level` is the text of `RUST_LOG`; one that cannot
/// be read counts as absent, and is told.
pub fn start(format: LogFormat, level: Option<&str>) {
    let parsed = level.map(str::parse::<Targets>);
    let unreadable = matches!(parsed, Some(Err(_)));
    let targets = match parsed {
        Some(Ok(targets)) => targets,
        _ => Targets::new()
            .with_default(LevelFilter::WARN)
            .with_target("gcr_push", LevelFilter::INFO),
    };
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .without_time()
        // It would be told on standard error, by a macro that panics when that is gone.
        .log_internal_errors(false);
    let layer: Box<dyn Layer<_> + Send + Sync> = match format {
        LogFormat::Json => tracing_subscriber::fmt::layer()
            .json()
            .with_writer(std::io::stderr)
            .log_internal_errors(false)
            .boxed(),
        LogFormat::Auto | LogFormat::Plain => lines.boxed(),
    };
    // A second start in one process (the demo's) keeps the first one's settings.
    let _ = tracing_subscriber::registry()
        .with(capped(layer, targets))
        .try_init();
    if unreadable {
        tracing::warn!("`RUST_LOG` cannot be read and is not used");
    }
}

fn capped<S>(
    layer: Box<dyn Layer<S> + Send + Sync>,
    targets: Targets,
) -> impl Layer<S> + Send + Sync
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    layer
        .with_filter(targets)
        .with_filter(FilterFn::new(may_be_shown))
}

fn may_be_shown(metadata: &Metadata<'_>) -> bool {
    let target = metadata.target();
    let own = target == "gcr_push" || target.starts_with("gcr_push::");
    own || *metadata.level() <= Level::INFO
}
