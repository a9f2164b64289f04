//! The log on standard error, as plain text, for a CI or as JSON.
//!
//! `RUST_LOG` raises the level of our own crate only. Every dependency is capped at `info`, because
//! several log tokens and self-authenticating upload URLs at `debug`. Records of the `log` crate
//! are not collected at all, because yup-oauth2 writes whole token responses to it.

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

/// Starts logging for the rest of the process. An invalid `RUST_LOG` is ignored with a warning.
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
        // Internal errors are printed with a macro that panics if standard error is closed.
        .log_internal_errors(false);
    let layer: Box<dyn Layer<_> + Send + Sync> = match console.log_format {
        LogFormat::Json => lines.json().boxed(),
        LogFormat::GitHub => lines.event_format(Lines { for_github: true }).boxed(),
        LogFormat::Plain | LogFormat::GitLab => {
            lines.event_format(Lines { for_github: false }).boxed()
        }
    };
    // A second start in one process, as in the demo, keeps the first settings.
    let _ = tracing_subscriber::registry()
        .with(capped(layer, targets))
        .try_init();
    if unreadable {
        tracing::warn!("`RUST_LOG` is not valid, so it is not used");
    }
}

/// Formats an event as a line with level and message or, for GitHub's runner, as a workflow command
/// that makes warnings annotations and shows debug lines only on request.
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
        // Most messages quote text from outside.
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

/// The message of an event with its other fields.
#[derive(Default)]
struct Message {
    text: String,
    /// True for an event with the field `notice`, which becomes an annotation.
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
        // Writing to a `String` cannot fail.
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
    // kube logs the whole of a response that it cannot parse, which may be a Secret.
    if target.starts_with("kube") {
        return false;
    }
    let own = target == "gcr_push" || target.starts_with("gcr_push::");
    own || *metadata.level() <= Level::INFO
}
