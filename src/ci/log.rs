//! The log: what is being done, on standard error, for people, for a CI or as JSON.
//!
//! `RUST_LOG` opens our own crate only. Every dependency is capped at `info`, because several log
//! tokens and self-authenticating upload URLs at `debug`; records of the `log` crate, which
//! yup-oauth2 writes whole token answers to, are not collected at all.

use std::fmt;
use std::io::IsTerminal as _;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::filter::{FilterFn, LevelFilter, Targets};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::{Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::ci::LogFormat;
use crate::ci::console::Console;
use crate::ci::github;
use crate::ci::progress_bars::StderrAboveProgress;
use crate::diagnostics::sanitize::sanitize;
use crate::diagnostics::secret::redact;

/// Starts logging for the life of the process. A `RUST_LOG` that cannot be read counts as absent,
/// and is told.
pub fn start(console: &Console) {
    let parsed = console.level.as_deref().map(str::parse::<Targets>);
    let unreadable = matches!(parsed, Some(Err(_)));
    let own = if console.is_verbose {
        LevelFilter::DEBUG
    } else {
        LevelFilter::INFO
    };
    let targets = match parsed {
        Some(Ok(targets)) => targets,
        _ => Targets::new()
            .with_default(LevelFilter::WARN)
            .with_target("gcr_push", own),
    };
    let has_colours = std::io::stderr().is_terminal() || console.log_format == LogFormat::GitLab;
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(|| StderrAboveProgress)
        .with_ansi(has_colours && !console.no_color)
        // It would be told on standard error, by a macro that panics when that is gone.
        .log_internal_errors(false);
    let layer: Box<dyn Layer<_> + Send + Sync> = match console.log_format {
        LogFormat::Json => lines.json().boxed(),
        LogFormat::GitHub => lines.event_format(Lines { for_github: true }).boxed(),
        LogFormat::Plain | LogFormat::GitLab => {
            lines.event_format(Lines { for_github: false }).boxed()
        }
    };
    // A second start in one process (the demo's) keeps the first one's settings.
    let _ = tracing_subscriber::registry()
        .with(capped(layer, targets))
        .try_init();
    if unreadable {
        tracing::warn!("`RUST_LOG` cannot be read and is not used");
    }
}

/// A line an event: its level and its message, or for GitHub's runner the command that shows a
/// warning beside the workflow and a detail only on request.
struct Lines {
    for_github: bool,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut message = Message::default();
        event.record(&mut message);
        // Most of what is told quotes somebody.
        let text = sanitize(&redact(&message.text));
        let level = *event.metadata().level();
        if self.for_github {
            let line = match level {
                Level::ERROR => github::annotation("error", &text),
                Level::WARN => github::annotation("warning", &text),
                Level::INFO if message.is_notice => github::annotation("notice", &text),
                Level::INFO => text,
                Level::DEBUG | Level::TRACE => github::command("debug", &[], &text),
            };
            return writeln!(writer, "{line}");
        }
        let colour = match level {
            Level::ERROR => "31",
            Level::WARN => "33",
            Level::INFO => "32",
            Level::DEBUG => "34",
            Level::TRACE => "35",
        };
        if writer.has_ansi_escapes() {
            writeln!(writer, "\x1b[{colour}m{level:>5}\x1b[0m {text}")
        } else {
            writeln!(writer, "{level:>5} {text}")
        }
    }
}

/// The message of an event, and whatever else it carries.
#[derive(Default)]
struct Message {
    text: String,
    /// An event with the field `notice` is worth showing beside the workflow.
    is_notice: bool,
}

impl Visit for Message {
    fn record_bool(&mut self, field: &Field, value: bool) {
        if field.name() == "notice" {
            self.is_notice = value;
        } else {
            self.record_debug(field, &value);
        }
    }

    #[expect(clippy::use_debug, reason = "a message's `Debug` is its text")]
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        use fmt::Write as _;
        // Writing into a text cannot fail.
        let _ = if field.name() == "message" {
            write!(self.text, "{value:?}")
        } else {
            write!(self.text, " {}={value:?}", field.name())
        };
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
    // kube warns of an answer that it cannot read by logging the whole of it, a Secret perhaps.
    if target.starts_with("kube") {
        return false;
    }
    let own = target == "gcr_push" || target.starts_with("gcr_push::");
    own || *metadata.level() <= Level::INFO
}
