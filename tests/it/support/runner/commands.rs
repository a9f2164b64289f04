//! Workflow commands, parsed as the runner does: `ActionCommand.cs`, `ActionCommandManager.cs`,
//! `OutputManager.cs`.

use std::collections::BTreeMap;

use super::masks::Masker;

/// An annotation of the workflow run.
#[derive(Debug)]
pub struct Annotation {
    pub kind: String,
    pub properties: BTreeMap<String, String>,
    pub message: String,
}

#[derive(Default)]
pub struct Commands {
    pub log: Vec<String>,
    pub annotations: Vec<Annotation>,
    pub groups: Vec<String>,
    pub debug: Vec<String>,
    pub unknown: Vec<String>,
    group_is_open: bool,
}

/// The runner truncates longer messages.
const LONGEST: usize = 4096;

impl Commands {
    /// Reads the next line of output.
    pub fn read(&mut self, line: &str, masker: &mut Masker) {
        let Some((name, properties, data)) = modern(line).or_else(|| legacy(line)) else {
            self.log.push(masker.hide(line));
            return;
        };
        match name.as_str() {
            "add-mask" => {
                assert!(!data.is_empty(), "an empty mask makes a warning");
                masker.add(&data);
            }
            "debug" => self.debug.push(masker.hide(&data)),
            "group" => {
                assert!(!self.group_is_open, "groups do not nest: {data}");
                self.group_is_open = true;
                self.groups.push(masker.hide(&data));
            }
            "endgroup" => {
                assert!(self.group_is_open, "no group is open");
                self.group_is_open = false;
            }
            "notice" | "warning" | "error" => {
                let kept: String = data.chars().take(LONGEST).collect();
                let kind = name.clone();
                let mut count = self.annotations.iter().filter(|a| a.kind == kind);
                // After ten of a kind the runner only logs it.
                if count.nth(9).is_none() {
                    self.annotations.push(Annotation {
                        kind,
                        properties,
                        message: masker.hide(&kept),
                    });
                }
                for line in format!("##[{name}]{}", masker.hide(&data)).split('\n') {
                    self.log.push(line.to_owned());
                }
            }
            _ => self.unknown.push(line.to_owned()),
        }
    }
}

/// Parses `::name key=value,key=value::data` with optional blanks before it.
fn modern(line: &str) -> Option<(String, BTreeMap<String, String>, String)> {
    let rest = line.trim_start().strip_prefix("::")?;
    let (head, data) = rest.split_once("::")?;
    let (name, properties) = match head.split_once(' ') {
        Some((name, properties)) => (name, properties.trim()),
        None => (head, ""),
    };
    let properties = properties.split(',').filter_map(|pair| {
        let (key, value) = pair.trim().split_once('=')?;
        (!value.is_empty()).then(|| (key.to_lowercase(), unescape(value, true)))
    });
    Some((
        name.to_lowercase(),
        properties.collect(),
        unescape(data, false),
    ))
}

/// Parses `##[name key=value;key=value]data` anywhere in a line.
fn legacy(line: &str) -> Option<(String, BTreeMap<String, String>, String)> {
    let (_, rest) = line.split_once("##[")?;
    let (head, data) = rest.split_once(']')?;
    let name = head.split(' ').next().unwrap_or_default();
    Some((name.to_lowercase(), BTreeMap::new(), data.to_owned()))
}

/// Unescapes in the runner's order: `%25` last.
fn unescape(text: &str, is_property: bool) -> String {
    let mut text = text.replace("%0D", "\r").replace("%0A", "\n");
    if is_property {
        text = text.replace("%3A", ":").replace("%2C", ",");
    }
    text.replace("%25", "%")
}
