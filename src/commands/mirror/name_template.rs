//! The name of an image below each destination.

/// A template for a path and a tag. `{name}`, `{path}`, `{host}` and `{tag}` are replaced by those of
/// the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameTemplate {
    path: String,
    tag: String,
}

/// An invalid template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameTemplateError {
    /// An unknown placeholder, or an unmatched brace.
    #[error("`{0}` is not one of `{{name}}`, `{{path}}`, `{{host}}` and `{{tag}}`")]
    Unknown(String),
    /// `{tag}` in the path. Each tag would become a repository of its own.
    #[error("`{{tag}}` is in the path; put it after `:`")]
    TagInPath,
}

impl Default for NameTemplate {
    /// The last component of the source's path, under the same tag.
    fn default() -> Self {
        Self {
            path: "{name}".to_owned(),
            tag: "{tag}".to_owned(),
        }
    }
}

impl NameTemplate {
    /// Parses `PATH` or `PATH:TAG`.
    ///
    /// # Errors
    ///
    /// If a placeholder is unknown or not allowed there.
    pub fn parse(text: &str) -> Result<Self, NameTemplateError> {
        let (path, tag) = text.split_once(':').unwrap_or((text, "{tag}"));
        if path.contains("{tag}") {
            return Err(NameTemplateError::TagInPath);
        }
        for part in [path, tag] {
            let without = ["{name}", "{path}", "{host}", "{tag}"]
                .iter()
                .fold(part.to_owned(), |text, known| text.replace(known, ""));
            if let Some(start) = without.find(['{', '}']) {
                let rest = &without[start..];
                let end = rest.find('}').map_or(rest.len(), |end| end + 1);
                return Err(NameTemplateError::Unknown(rest[..end].to_owned()));
            }
        }
        Ok(Self {
            path: path.to_owned(),
            tag: tag.to_owned(),
        })
    }

    /// The whole path of the source, under the same tag.
    pub fn whole_path() -> Self {
        Self {
            path: "{path}".to_owned(),
            ..Self::default()
        }
    }

    /// The new path and tag of an image of the registry `host` and the repository `path` with the tag
    /// `tag`. The colon before a port becomes `-`, because a path has none.
    pub fn apply(&self, host: &str, path: &str, tag: &str) -> (String, String) {
        let host = host.replace(':', "-");
        let name = path.rsplit('/').next().unwrap_or(path);
        // One pass, so that a replaced value is not taken for a placeholder.
        let fill = |template: &str| {
            let mut filled = String::new();
            let mut rest = template;
            while let Some(start) = rest.find('{') {
                filled.push_str(&rest[..start]);
                let end = rest[start..]
                    .find('}')
                    .map_or(rest.len(), |end| start + end + 1);
                filled.push_str(match &rest[start..end] {
                    "{name}" => name,
                    "{path}" => path,
                    "{host}" => &host,
                    "{tag}" => tag,
                    other => other,
                });
                rest = &rest[end..];
            }
            filled + rest
        };
        (fill(&self.path), fill(&self.tag))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BRACES: [char; 2] = ['{', '}'];

    #[test]
    fn source_name_parts_replace_their_placeholders() {
        let apply = |template: &str| {
            NameTemplate::parse(template)
                .unwrap()
                .apply("r.example:5000", "acme/team/api", "1.2")
        };
        let made = |path: &str, tag: &str| (path.to_owned(), tag.to_owned());
        assert_eq!(apply("{name}"), made("api", "1.2"));
        assert_eq!(apply("mirror/{path}"), made("mirror/acme/team/api", "1.2"));
        assert_eq!(
            apply("{host}/{path}"),
            made("r.example-5000/acme/team/api", "1.2")
        );
        assert_eq!(apply("base:{name}-{tag}"), made("base", "api-1.2"));
        assert_eq!(
            NameTemplate::default(),
            NameTemplate::parse("{name}").unwrap()
        );
    }

    #[test]
    fn unknown_placeholder_is_reported() {
        let fault = |template: &str| NameTemplate::parse(template).unwrap_err();
        assert_eq!(
            fault("{nam}"),
            NameTemplateError::Unknown("{nam}".to_owned())
        );
        assert_eq!(fault("a}b"), NameTemplateError::Unknown("}".to_owned()));
        assert_eq!(fault("{name}/{tag}"), NameTemplateError::TagInPath);
    }

    proptest! {
        #[test]
        fn parsed_template_leaves_no_placeholder(template in "[a-z{}:/]{0,20}") {
            if let Ok(template) = NameTemplate::parse(&template) {
                let (path, tag) = template.apply("h", "a/b", "c");
                prop_assert!(![path, tag].iter().any(|part| part.contains(BRACES)));
            }
        }
    }
}
