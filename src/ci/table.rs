//! Tables in gcloud's format: a row of headings, and columns separated by two spaces.

use std::fmt;
use std::time::SystemTime;

use time::OffsetDateTime;
use time::macros::format_description;

/// A table with headings.
#[derive(Clone, Debug, Default)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Creates a table without rows.
    pub fn new<const N: usize>(headings: [&str; N]) -> Self {
        Self {
            rows: vec![headings.iter().map(|&heading| heading.to_owned()).collect()],
        }
    }

    /// Adds a row. Cells beyond the last heading are shown as well.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into());
    }

    /// Removes the column of a heading.
    #[must_use]
    pub fn without(mut self, heading: &str) -> Self {
        let headings = self.rows.first();
        let column = headings.and_then(|row| row.iter().position(|cell| cell == heading));
        if let Some(column) = column {
            for row in self.rows.iter_mut().filter(|row| column < row.len()) {
                row.remove(column);
            }
        }
        self
    }

    /// True if the table has no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.len() < 2
    }
}

impl fmt::Display for Table {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<_> = (0..columns).map(width).collect();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(&format!("{cell:width$}  "));
            }
            writeln!(formatter, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// Formats a time in UTC, to the second: `2024-03-09T16:00:00`.
pub fn timestamp(time: SystemTime) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]");
    OffsetDateTime::from(time)
        .format(&format)
        .unwrap_or_default()
}

/// Formats a number of bytes for people: `0 B`, `512 B`, `1.5 KiB`, `2.3 GiB`.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    #[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
    let mut value = count as f64;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{count} B")
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn columns_fit_their_widest_cell_without_trailing_blanks() {
        let mut table = Table::new(["DIGEST", "TAGS", "TIMESTAMP"]);
        table.row(["8a57".into(), "latest,v1".into(), String::new()]);
        assert_eq!(
            table.to_string(),
            "DIGEST  TAGS       TIMESTAMP\n8a57    latest,v1\n"
        );
        assert!(!table.is_empty());
        assert!(Table::new(["NAME"]).is_empty());
    }

    #[test]
    fn times_and_sizes_are_human_readable() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_710_000_000);
        assert_eq!(timestamp(time), "2024-03-09T16:00:00");
        for (count, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1536, "1.5 KiB"),
            (5 << 30, "5.0 GiB"),
        ] {
            assert_eq!(bytes(count), text);
        }
    }
}
