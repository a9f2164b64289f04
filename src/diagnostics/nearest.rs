//! Suggests the right name for a mistyped one.

use strsim::osa_distance;

/// Returns the name that is closest to `typed`. `None` if none is close.
pub(crate) fn nearest<'a>(
    typed: &str,
    names: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    // With more than a third of the letters wrong it is probably another name.
    let max_edits = (typed.chars().count() / 3).max(1);
    names
        .into_iter()
        .map(|name| (osa_distance(typed, name), name))
        .filter(|(edits, _)| *edits <= max_edits)
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_name_is_one_typo_away() {
        let names = ["tags", "name", "image", "registry", "project_id"];
        let near = |typed| nearest(typed, names);
        assert_eq!(near("tag"), Some("tags"));
        assert_eq!(near("iamge"), Some("image"));
        assert_eq!(near("projectid"), Some("project_id"));
        assert_eq!(near("verify"), None);
    }
}
