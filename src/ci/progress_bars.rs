//! The progress display: bars on a terminal, else occasional log lines.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _, Write};

use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::task::JoinHandle;

use super::table::bytes;
use crate::ci::LogFormat;
use crate::ci::console::Console;
use crate::ci::progress::{Progress, Snapshot, Work};

/// The interval between log lines in the first minute. Later lines are rarer, to keep the log
/// short.
const OFTEN: Duration = Duration::from_secs(5);
const RARELY: Duration = Duration::from_secs(30);
const FIRST: Duration = Duration::from_secs(60);

/// The interval between two frames of the bars.
const FRAME: Duration = Duration::from_millis(100);

/// The largest number of bars. More would fill a small terminal.
const MOST_BARS: usize = 8;

/// Shows the progress of a run until it is dropped.
#[derive(Debug)]
pub struct Display {
    task: JoinHandle<()>,
}

impl Display {
    /// Starts to show `progress`. Must be called within a tokio runtime.
    pub fn start(progress: &Progress, console: &Console) -> Self {
        let progress = progress.clone();
        let task = if has_bars(console.log_format) {
            *bars() = Some(Bars::new());
            tokio::spawn(draw(progress))
        } else {
            tokio::spawn(log(progress))
        };
        Self { task }
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        self.task.abort();
        clear();
    }
}

/// Removes the bars. Taking the lock waits for a frame in progress; no frame follows, which would stay
/// on the screen.
pub(super) fn clear() {
    if let Some(bars) = bars().take() {
        bars.clear();
    }
}

/// The bars on the terminal. `None` if no display is running.
static BARS: Mutex<Option<Bars>> = Mutex::new(None);

fn bars() -> MutexGuard<'static, Option<Bars>> {
    BARS.lock()
}

fn has_bars(format: LogFormat) -> bool {
    format == LogFormat::Plain && io::stderr().is_terminal()
}

/// A writer to standard error that prints log lines above the bars.
#[derive(Clone, Copy, Debug)]
pub struct StderrAboveProgress;

impl Write for StderrAboveProgress {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match &*bars() {
            Some(bars) => {
                let written = bars.group.suspend(|| io::stderr().write(line));
                rest_cursor();
                written
            }
            None => io::stderr().write(line),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// Logs the progress at intervals.
async fn log(progress: Progress) {
    let started = Instant::now();
    let mut pace = Pace::default();
    loop {
        let pause = if started.elapsed() < FIRST {
            OFTEN
        } else {
            RARELY
        };
        tokio::time::sleep(pause).await;
        let snapshot = progress.snapshot();
        if let Some(line) = pace.line(&snapshot, pause) {
            tracing::info!("{line}");
        }
    }
}

/// Draws the bars until they are removed.
async fn draw(progress: Progress) {
    let mut frames = tokio::time::interval(FRAME);
    loop {
        frames.tick().await;
        match &mut *bars() {
            Some(bars) => bars.draw(&progress.snapshot()),
            None => return,
        }
    }
}

/// One bar for each of the largest running pieces, and below them a line with the sum of all.
struct Bars {
    group: MultiProgress,
    sum: ProgressBar,
    shown: BTreeMap<u64, ProgressBar>,
    pace: Pace,
    last: Instant,
}

impl Bars {
    fn new() -> Self {
        let group = MultiProgress::new();
        let sum = group.add(hidden(0));
        sum.set_style(style("{msg}"));
        Self {
            group,
            sum,
            shown: BTreeMap::new(),
            pace: Pace::default(),
            last: Instant::now(),
        }
    }

    fn draw(&mut self, snapshot: &Snapshot) {
        let mut largest: Vec<_> = snapshot.running.iter().collect();
        largest.sort_by_key(|running| (std::cmp::Reverse(running.size), running.id));
        largest.truncate(MOST_BARS);
        self.shown.retain(|id, bar| {
            let is_running = largest.iter().any(|running| running.id == *id);
            if !is_running {
                self.group.remove(bar);
            }
            is_running
        });
        for running in largest {
            let bar = self.shown.entry(running.id).or_insert_with(|| {
                let bar = hidden(running.size.max(1));
                let bar = self.group.insert_before(&self.sum, bar);
                bar.set_style(style("{prefix} [{bar:24}] {msg}"));
                bar.set_prefix(format!("{:9} {}", verb(running.work), running.name));
                bar
            });
            bar.set_position(running.moved);
            bar.set_message(format!(
                "{} of {}",
                bytes(running.moved),
                bytes(running.size)
            ));
        }
        // A rate measured over a tenth of a second changes too fast to be read.
        if self.last.elapsed() >= Duration::from_secs(1) {
            if let Some(line) = self.pace.line(snapshot, self.last.elapsed()) {
                self.sum.set_message(line);
            }
            self.last = Instant::now();
        }
        self.sum.tick();
        rest_cursor();
    }

    /// Removes all bars from the screen.
    fn clear(self) {
        // An error means that the terminal is gone.
        let _ = self.group.clear();
        // A bar draws itself once more when it is dropped.
        self.group.set_draw_target(ProgressDrawTarget::hidden());
    }
}

/// Moves the cursor to the start of its line. A line of bars is as wide as the terminal, so the
/// `^C` that the terminal prints would start a new line, and the group would clear one line too
/// few.
fn rest_cursor() {
    let _ = io::stderr().write_all(b"\r");
}

/// Creates a bar that draws nothing until it is in a group. The group would never clear what the
/// bar drew before.
fn hidden(length: u64) -> ProgressBar {
    ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::hidden())
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

fn verb(work: Work) -> &'static str {
    match work {
        Work::Read => "read",
        Work::Compress => "compress",
        Work::Send => "send",
    }
}

/// Computes rates since the previous line.
#[derive(Debug, Default)]
struct Pace(Snapshot);

impl Pace {
    /// Renders `snapshot`, taken `elapsed` after the previous one. `None` if there is no work yet.
    fn line(&mut self, snapshot: &Snapshot, elapsed: Duration) -> Option<String> {
        let mut parts = Vec::new();
        let mut seconds_left: Option<f64> = None;
        for work in Work::ALL {
            let (now, before) = (snapshot.total(work), self.0.total(work));
            if now.pieces == 0 {
                continue;
            }
            let verb = match work {
                Work::Read => "read",
                Work::Compress => "compressed",
                Work::Send => "sent",
            };
            let mut part = format!(
                "{verb} {} of {} blobs, {} of {}",
                now.done,
                now.pieces,
                bytes(now.moved),
                bytes(now.bytes)
            );
            let moved = now.moved.saturating_sub(before.moved);
            let left = now.bytes.saturating_sub(now.moved);
            if left > 0 {
                #[expect(clippy::cast_precision_loss, reason = "a rate is shown in two digits")]
                let (rate, left) = (moved as f64 / elapsed.as_secs_f64(), left as f64);
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "bytes a second are whole, and never negative"
                )]
                part.push_str(&format!(" at {}/s", bytes(rate as u64)));
                // The kinds of work run in parallel, so the slowest one decides.
                if rate > 0.0 {
                    let needs = left / rate;
                    seconds_left = Some(seconds_left.map_or(needs, |other| other.max(needs)));
                }
            }
            parts.push(part);
        }
        self.0 = snapshot.clone();
        if parts.is_empty() {
            return None;
        }
        let mut line = parts.join("; ");
        if let Some(seconds) = seconds_left {
            line.push_str(&format!(", about {} left", duration(seconds)));
        }
        Some(line)
    }
}

/// Renders a duration: `9 s`, `4 min`, `2 h`.
fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 90.0 => format!("{s:.0} s"),
        s if s < 90.0 * 60.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.0} h", s / 3600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn line_shows_progress_rate_and_remaining_time() {
        let progress = Progress::default();
        let mut pace = Pace::default();
        assert_eq!(pace.line(&progress.snapshot(), OFTEN), None);
        progress.expect(Work::Compress, [30 * MIB, 10 * MIB]);
        let compressing = progress.begin(Work::Compress, "aaaa", 30 * MIB);
        compressing.add(10 * MIB);
        let line = pace.line(&progress.snapshot(), OFTEN).unwrap();
        assert_eq!(
            line,
            "compressed 0 of 2 blobs, 10.0 MiB of 40.0 MiB at 2.0 MiB/s, about 15 s left"
        );
        compressing.done();
        progress.begin(Work::Compress, "bbbb", 10 * MIB).done();
        let sending = progress.begin(Work::Send, "cccc", 12 * MIB);
        sending.add(2 * MIB);
        let line = pace.line(&progress.snapshot(), OFTEN).unwrap();
        assert_eq!(
            line,
            "compressed 2 of 2 blobs, 40.0 MiB of 40.0 MiB; \
             sent 0 of 1 blobs, 2.0 MiB of 12.0 MiB at 409.6 KiB/s, about 25 s left"
        );
        // Nothing moves, so there is no estimate.
        let line = pace.line(&progress.snapshot(), OFTEN).unwrap();
        assert!(line.ends_with("2.0 MiB of 12.0 MiB at 0 B/s"), "{line}");
    }

    #[test]
    fn durations_are_human_readable() {
        let rendered = [1.2, 89.0, 120.0, 7200.0].map(duration);
        assert_eq!(rendered, ["1 s", "89 s", "2 min", "2 h"]);
    }
}
