//! The files of outputs, environment and state: `FileCommandManager.cs`, `EnvFileKeyValuePairs`.

use std::collections::BTreeMap;

/// The pairs of a file. `None` if the runner would fail the step.
pub fn pairs(text: &str) -> Option<BTreeMap<String, String>> {
    let mut pairs = BTreeMap::new();
    let mut rest = text;
    while let Some((line, ended)) = next_line(&mut rest) {
        if line.is_empty() {
            continue;
        }
        let equals = line.find('=');
        let heredoc = line.find("<<");
        let (name, value) = match (equals, heredoc) {
            (Some(equals), heredoc) if heredoc.is_none_or(|at| equals < at) => {
                (&line[..equals], line[equals + 1..].to_owned())
            }
            (_, Some(at)) => {
                let (name, delimiter) = (&line[..at], &line[at + 2..]);
                if delimiter.is_empty() || !ended {
                    return None;
                }
                (name, until(&mut rest, delimiter)?)
            }
            _ => return None,
        };
        if name.is_empty() {
            return None;
        }
        pairs.insert(name.to_owned(), value);
    }
    Some(pairs)
}

/// The lines before the one that equals the delimiter.
fn until(rest: &mut &str, delimiter: &str) -> Option<String> {
    let mut value: Vec<&str> = Vec::new();
    loop {
        let (line, ended) = next_line(rest)?;
        if line == delimiter {
            return Some(value.join("\n"));
        }
        if !ended {
            return None;
        }
        value.push(line);
    }
}

/// The next line, and whether a line break ended it. A carriage return is no line break on Linux.
fn next_line<'a>(rest: &mut &'a str) -> Option<(&'a str, bool)> {
    if rest.is_empty() {
        return None;
    }
    let (line, ended) = match rest.split_once('\n') {
        Some((line, after)) => {
            *rest = after;
            (line, true)
        }
        None => (std::mem::take(rest), false),
    };
    Some((line, ended))
}

#[test]
fn fake_runner_parses_files_as_the_real_one() {
    let read = |text: &str| pairs(text).map(|pairs| pairs.into_iter().collect::<Vec<_>>());
    let one = |name: &str, value: &str| Some(vec![(name.to_owned(), value.to_owned())]);
    assert_eq!(read("a=b<<c\n"), one("a", "b<<c"));
    assert_eq!(read("a<<E\nb=1\n\nc\nE"), one("a", "b=1\n\nc"));
    assert_eq!(read("a<<E\nb\r\nE\n"), one("a", "b\r"));
    assert_eq!(read("a<<E\nE\n"), one("a", ""));
    for broken in ["=v\n", "a\n", "a<<E\nb\n", "a<<\nb\n", "<<E\nE\n", "a<<E"] {
        assert_eq!(read(broken), None, "{broken:?}");
    }
}
