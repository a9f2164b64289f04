//! Selects the tags of a repository that are mirrored.

use std::cmp::Reverse;
use std::fmt;
use std::time::SystemTime;

use regex_lite::Regex;
use semver::{Version, VersionReq};

/// A tag as a registry lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedTag {
    /// Its name.
    pub name: String,
    /// The upload time of its manifest. `None` if the registry does not report it.
    pub uploaded: Option<SystemTime>,
}

/// One pattern for tags: a literal, a glob with `*` and `?`, or `/REGULAR EXPRESSION/`.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: String,
    /// `None` for a literal.
    expression: Option<Regex>,
}

impl Pattern {
    /// Parses a pattern.
    ///
    /// # Errors
    ///
    /// If the regular expression is invalid.
    pub fn parse(text: &str) -> Result<Self, regex_lite::Error> {
        let inner = text.strip_prefix('/').and_then(|t| t.strip_suffix('/'));
        let expression = match inner {
            Some(expression) => Some(Regex::new(expression)?),
            None if text.contains(['*', '?']) => {
                let escaped = regex_lite::escape(text);
                let glob = escaped.replace("\\*", ".*").replace("\\?", ".");
                Some(Regex::new(&format!("^{glob}$"))?)
            }
            None => None,
        };
        Ok(Self {
            text: text.to_owned(),
            expression,
        })
    }

    /// True if the pattern matches the whole text, or the expression a part of it.
    pub(super) fn matches(&self, tag: &str) -> bool {
        match &self.expression {
            Some(expression) => expression.is_match(tag),
            None => self.text == tag,
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

/// The order that decides which tags are newest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// By version.
    Semver,
    /// By upload time.
    Date,
}

/// The conditions that a mirrored tag meets.
#[derive(Clone, Debug)]
pub struct TagFilter {
    /// A tag must match one of these. If there is none, every tag matches.
    pub include: Vec<Pattern>,
    /// A tag that matches one of these is excluded.
    pub exclude: Vec<Pattern>,
    /// A tag must be a version in this range.
    pub semver: Option<VersionReq>,
    /// The maximum number of tags; the newest are taken.
    pub newest: Option<usize>,
    /// The order for `newest`.
    pub order: Order,
}

impl TagFilter {
    /// A filter that every tag passes.
    pub fn all() -> Self {
        Self {
            include: Vec::new(),
            exclude: Vec::new(),
            semver: None,
            newest: None,
            order: Order::Semver,
        }
    }

    /// The tags themselves, if the filter consists of literals only. `None` if the tags must be
    /// listed.
    pub fn literal(&self) -> Option<Vec<String>> {
        let Self {
            include,
            exclude,
            semver,
            newest,
            ..
        } = self;
        let is_literal = !include.is_empty()
            && include.iter().all(|pattern| pattern.expression.is_none())
            && exclude.is_empty()
            && semver.is_none()
            && newest.is_none();
        is_literal.then(|| include.iter().map(|pattern| pattern.text.clone()).collect())
    }

    /// True if one of the patterns is this very tag.
    pub fn names(&self, tag: &str) -> bool {
        let mut literals = self.include.iter().filter(|p| p.expression.is_none());
        literals.any(|pattern| pattern.text == tag)
    }

    /// The tags that pass the filter: the newest first if `newest` is set, else in their order.
    ///
    /// # Errors
    ///
    /// If the newest by date are requested and the registry reports no dates.
    pub fn choose(&self, tags: &[ListedTag]) -> Result<Vec<String>, NoDates> {
        let fits = |tag: &&ListedTag| {
            let name = &tag.name;
            let is_any = |patterns: &[Pattern]| patterns.iter().any(|p| p.matches(name));
            (self.include.is_empty() || is_any(&self.include))
                && !is_any(&self.exclude)
                && self.semver.as_ref().is_none_or(|range| {
                    version(name).is_some_and(|version| range.matches(&version))
                })
        };
        let mut chosen: Vec<_> = tags.iter().filter(fits).collect();
        if let Some(count) = self.newest {
            match self.order {
                Order::Date if chosen.iter().any(|tag| tag.uploaded.is_none()) => {
                    return Err(NoDates);
                }
                Order::Date => chosen.sort_by_key(|tag| (Reverse(tag.uploaded), tag.name.clone())),
                // A tag that is no version is older than every version.
                Order::Semver => {
                    chosen.sort_by_cached_key(|tag| Reverse((version(&tag.name), &tag.name)));
                }
            }
            chosen.truncate(count);
        }
        Ok(chosen.into_iter().map(|tag| tag.name.clone()).collect())
    }
}

/// The error for a registry that does not report upload times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoDates;

/// The version that a tag names, with or without `v`. Missing numbers are zero: `v2.1` is 2.1.0.
fn version(tag: &str) -> Option<Version> {
    let text = tag.strip_prefix('v').unwrap_or(tag);
    let end = text.find(['-', '+']).unwrap_or(text.len());
    let (numbers, rest) = text.split_at(end);
    let missing = 3_usize.checked_sub(numbers.split('.').count())?;
    Version::parse(&format!("{numbers}{}{rest}", ".0".repeat(missing))).ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn patterns(texts: &[&str]) -> Vec<Pattern> {
        let parsed = texts.iter().map(|text| Pattern::parse(text).unwrap());
        parsed.collect()
    }

    fn chosen(selection: &TagFilter, tags: &[&str]) -> Vec<String> {
        let tags: Vec<_> = tags
            .iter()
            .map(|name| ListedTag {
                name: (*name).to_owned(),
                uploaded: None,
            })
            .collect();
        selection.choose(&tags).unwrap()
    }

    #[test]
    fn globs_regexes_and_literals_include_and_exclude() {
        let selection = TagFilter {
            include: patterns(&["latest", "v*", "/^[0-9]+$/"]),
            exclude: patterns(&["*-rc?"]),
            ..TagFilter::all()
        };
        let tags = ["latest", "latest-2", "v1.0", "v1.0-rc1", "17", "17a"];
        assert_eq!(chosen(&selection, &tags), ["latest", "v1.0", "17"]);
        assert_eq!(selection.literal(), None);
    }

    #[test]
    fn glob_matches_dots_literally() {
        let selection = TagFilter {
            include: patterns(&["1.*"]),
            ..TagFilter::all()
        };
        assert_eq!(chosen(&selection, &["1.2", "1x2"]), ["1.2"]);
    }

    #[test]
    fn literal_tags_need_no_listing() {
        let selection = TagFilter {
            include: patterns(&["latest", "1.2"]),
            ..TagFilter::all()
        };
        assert_eq!(selection.literal().unwrap(), ["latest", "1.2"]);
    }

    #[test]
    fn newest_versions_of_a_range_are_ordered_numerically() {
        let selection = TagFilter {
            semver: Some(">=2.0".parse().unwrap()),
            newest: Some(3),
            ..TagFilter::all()
        };
        let tags = ["1.9", "v2.9", "2.10.1", "3", "2.0.0-rc1", "main", "2.0.0"];
        assert_eq!(chosen(&selection, &tags), ["3", "2.10.1", "v2.9"]);
    }

    #[test]
    fn newest_by_date_needs_dates() {
        let selection = TagFilter {
            newest: Some(1),
            order: Order::Date,
            ..TagFilter::all()
        };
        let at = |name: &str, seconds| ListedTag {
            name: name.to_owned(),
            uploaded: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)),
        };
        let tags = [at("old", 1), at("new", 2)];
        assert_eq!(selection.choose(&tags).unwrap(), ["new"]);
        let undated = ListedTag {
            uploaded: None,
            ..at("old", 1)
        };
        assert_eq!(selection.choose(&[undated]), Err(NoDates));
    }

    proptest! {
        #[test]
        fn selected_tags_are_listed_up_to_the_limit(
            tags in proptest::collection::hash_set("v?[0-9]{1,2}(\\.[0-9]{1,2}){0,2}(-rc)?", 0..40),
            newest in 1..10_usize,
        ) {
            let tags: Vec<_> = tags.into_iter().map(|name| ListedTag { name, uploaded: None }).collect();
            let selection = TagFilter { newest: Some(newest), ..TagFilter::all() };
            let chosen = selection.choose(&tags).unwrap();
            prop_assert_eq!(chosen.len(), newest.min(tags.len()));
            prop_assert!(chosen.iter().all(|name| tags.iter().any(|tag| tag.name == *name)));
        }

        #[test]
        fn no_pattern_panics(text in "\\PC{0,20}", tag in "[a-z0-9._-]{1,20}") {
            if let Ok(pattern) = Pattern::parse(&text) {
                pattern.matches(&tag);
            }
        }
    }
}
