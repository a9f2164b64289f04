//! The YAML schema of the mirror file, before its values are checked.

use std::fmt;

use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};

/// The whole file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "`destinations` and `images`")]
pub(super) struct File {
    pub(super) destinations: Vec<String>,
    #[serde(default)]
    pub(super) defaults: Options,
    pub(super) images: Vec<ImageEntry>,
}

/// The default options for all images. Each image may override them.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "options such as `referrers: true`")]
pub(super) struct Options {
    pub(super) platforms: Option<PlatformList>,
    pub(super) referrers: Option<bool>,
    pub(super) best_effort: Option<bool>,
}

/// One item of `images`.
#[derive(Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "an image, as in `from: registry.example.com/team/api`"
)]
pub(super) struct ImageEntry {
    pub(super) from: String,
    pub(super) to: Option<String>,
    pub(super) tags: Option<Tags>,
    pub(super) namespaces: Option<Vec<String>>,
    pub(super) paths: Option<Vec<String>>,
    pub(super) exclude: Option<Vec<String>>,
    pub(super) platforms: Option<PlatformList>,
    pub(super) referrers: Option<bool>,
    pub(super) best_effort: Option<bool>,
}

/// The value of `tags`: a list of patterns, or rules.
pub(super) enum Tags {
    List(Vec<String>),
    Rules(Rules),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rules {
    #[serde(default)]
    pub(super) include: Vec<String>,
    #[serde(default)]
    pub(super) exclude: Vec<String>,
    pub(super) semver: Option<String>,
    pub(super) newest: Option<usize>,
    pub(super) by: Option<By>,
}

/// The value of `platforms`: a list of platforms, or `all`.
#[derive(Clone)]
pub(super) struct PlatformList(pub(super) Vec<String>);

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum By {
    Semver,
    Date,
}

impl<'de> Deserialize<'de> for Tags {
    /// Written by hand, because an untagged enum loses the position of an error.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Tags;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a list of tags, or rules such as `newest: 20`")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Tags, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(items)).map(Tags::List)
            }

            fn visit_map<A: MapAccess<'de>>(self, rules: A) -> Result<Tags, A::Error> {
                Rules::deserialize(MapAccessDeserializer::new(rules)).map(Tags::Rules)
            }
        }

        deserializer.deserialize_any(Either)
    }
}

impl<'de> Deserialize<'de> for PlatformList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = PlatformList;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a list of platforms such as `linux/amd64`, or `all`")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<PlatformList, E> {
                Ok(PlatformList(vec![text.to_owned()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<PlatformList, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(items)).map(PlatformList)
            }
        }

        deserializer.deserialize_any(Either)
    }
}
