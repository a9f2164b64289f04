//! Decodes JSON documents of other programs: of images, responses of registries, Docker configs and
//! objects of Kubernetes.
//!
//! Most programs that read these documents are written in Go, so the rules of Go's `encoding/json`
//! apply:
//! - The case of keys is ignored. If several keys name one field, the key in the exact case counts,
//!   else the last one.
//! - A member that is `null` counts as absent.
//! - Unknown fields are ignored, whatever they contain.
//!
//! This applies only to the fields of structs. The keys of maps (annotations, labels, the servers
//! of `auths`) are data and keep their case.

use std::borrow::Cow;
use std::fmt;

use serde::de::value::{BorrowedStrDeserializer, MapDeserializer, SeqDeserializer};
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error as _, IgnoredAny, IntoDeserializer,
    MapAccess, Unexpected, Visitor,
};
use serde::forward_to_deserialize_any;
use serde_json::{Error, Value};

/// The maximum size of a document. No document that is read here is larger.
const MAX_SIZE: usize = 64 * 1024 * 1024;

/// Decodes a document from its bytes.
///
/// # Errors
///
/// If it is not JSON, not of this type, too large, or nested too deep.
pub(crate) fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    if bytes.len() > MAX_SIZE {
        return Err(Error::custom(format!(
            "a document of {} bytes is too large",
            bytes.len()
        )));
    }
    T::deserialize(Document(bytes))
}

/// Decodes a document from its text.
///
/// # Errors
///
/// As [`from_slice`].
pub(crate) fn from_str<T: DeserializeOwned>(text: &str) -> Result<T, Error> {
    from_slice(text.as_bytes())
}

/// Decodes a part of a document.
///
/// # Errors
///
/// If it is not of this type.
pub(crate) fn from_value<T: DeserializeOwned>(value: Value) -> Result<T, Error> {
    T::deserialize(Part(value))
}

/// Returns the key of `field` in an object. `None` if there is none.
pub(crate) fn key_of<'a>(
    object: &'a serde_json::Map<String, Value>,
    field: &'a str,
) -> Option<&'a str> {
    let mut keys = object.keys().map(String::as_str);
    if object.contains_key(field) {
        Some(field)
    } else {
        keys.rfind(|key| key.eq_ignore_ascii_case(field))
    }
}

/// A whole document. Unknown fields of its outermost struct are never built in memory.
struct Document<'a>(&'a [u8]);

impl Document<'_> {
    fn value(self) -> Result<Part, Error> {
        serde_json::from_slice(self.0).map(Part)
    }
}

impl<'de> Deserializer<'de> for Document<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.value()?.deserialize_any(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.value()?.deserialize_map(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.value()?.deserialize_option(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.value()?.deserialize_enum(name, variants, visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let mut reader = serde_json::Deserializer::from_slice(self.0);
        let members = reader.deserialize_map(ReadMembers(fields))?;
        reader.end()?;
        visitor.visit_map(members)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct identifier ignored_any
    }
}

/// A part of a document that was already parsed.
struct Part(Value);

impl<'de> Deserializer<'de> for Part {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Array(items) => {
                let mut items = SeqDeserializer::new(items.into_iter().map(Part));
                let list = visitor.visit_seq(&mut items)?;
                items.end()?;
                Ok(list)
            }
            Value::Object(members) => {
                let members = members.into_iter().map(|(key, value)| (key, Part(value)));
                visitor.visit_map(MapDeserializer::new(members))
            }
            plain => plain.deserialize_any(visitor),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Object(mut members) => {
                members.retain(|_, value| !value.is_null());
                Self(Value::Object(members)).deserialize_any(visitor)
            }
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.0.deserialize_enum(name, variants, visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.0 {
            Value::Object(object) => {
                let mut members = Members::new(fields);
                for (key, value) in object {
                    if let Some(name) = FieldName::of(&key, fields) {
                        members.add(name, value);
                    }
                }
                visitor.visit_map(members)
            }
            // A derived struct would read its fields by position.
            Value::Array(_) => Err(Error::invalid_type(Unexpected::Seq, &visitor)),
            plain => plain.deserialize_any(visitor),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct identifier ignored_any
    }
}

impl IntoDeserializer<'_, Error> for Part {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// The field of a struct that a key names.
#[derive(Clone, Copy)]
struct FieldName {
    position: usize,
    is_exact: bool,
}

impl FieldName {
    fn of(key: &str, fields: &[&str]) -> Option<Self> {
        let find = |is_exact: bool, position: Option<usize>| {
            position.map(|position| Self { position, is_exact })
        };
        find(true, fields.iter().position(|field| *field == key)).or_else(|| {
            let position = fields.iter().position(|f| f.eq_ignore_ascii_case(key));
            find(false, position)
        })
    }
}

/// The members of an object that are fields of a struct, under the names of the fields.
struct Members {
    fields: &'static [&'static str],
    values: Vec<Option<(bool, Value)>>,
    next: usize,
}

impl Members {
    fn new(fields: &'static [&'static str]) -> Self {
        Self {
            fields,
            values: fields.iter().map(|_| None).collect(),
            next: 0,
        }
    }

    fn add(&mut self, name: FieldName, value: Value) {
        if let Some(member) = self.values.get_mut(name.position)
            && !value.is_null()
            && (name.is_exact || !matches!(member, Some((true, _))))
        {
            *member = Some((name.is_exact, value));
        }
    }
}

impl<'de> MapAccess<'de> for Members {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        while let Some(value) = self.values.get(self.next) {
            if value.is_some() {
                let key = BorrowedStrDeserializer::new(self.fields[self.next]);
                return seed.deserialize(key).map(Some);
            }
            self.next += 1;
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let value = self.values.get_mut(self.next).and_then(Option::take);
        self.next += 1;
        seed.deserialize(Part(value.map(|(_, value)| value).unwrap_or_default()))
    }
}

/// Reads the members of the outermost object.
struct ReadMembers(&'static [&'static str]);

impl<'de> Visitor<'de> for ReadMembers {
    type Value = Members;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
        let mut members = Members::new(self.0);
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            match FieldName::of(&key, self.0) {
                Some(name) => members.add(name, map.next_value()?),
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(members)
    }
}

/// Generates documents as other programs may write them, for the tests of all types that are
/// decoded here.
#[cfg(test)]
pub(crate) mod variants {
    use proptest::prelude::*;
    use serde_json::{Map, Value};

    /// The fields of a type at any depth of a document, and which of them are optional.
    #[derive(Clone, Copy)]
    pub(crate) struct Fields {
        pub(crate) all: &'static [&'static str],
        pub(crate) optional: &'static [&'static str],
    }

    /// The same document with keys in another case, `null` for absent optional fields, and unknown
    /// fields.
    pub(crate) fn of(document: Value, fields: Fields) -> impl Strategy<Value = String> {
        any::<u64>().prop_map(move |seed| {
            let mut random = Random(seed);
            vary(&document, fields, true, &mut random).to_string()
        })
    }

    struct Random(u64);

    impl Random {
        fn one_in(&mut self, many: u64) -> bool {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33).is_multiple_of(many)
        }
    }

    fn vary(value: &Value, fields: Fields, is_struct: bool, random: &mut Random) -> Value {
        match value {
            Value::Array(items) => items
                .iter()
                .map(|item| vary(item, fields, true, random))
                .collect(),
            Value::Object(members) => {
                let is_named = |key: &str| fields.all.contains(&key);
                let is_struct = is_struct && members.keys().all(|key| is_named(key));
                let mut varied = Map::new();
                for (key, value) in members {
                    let key = match is_struct {
                        true => recased(key, random),
                        false => key.clone(),
                    };
                    varied.insert(key, vary(value, fields, true, random));
                }
                if is_struct {
                    let absent = fields
                        .optional
                        .iter()
                        .filter(|f| !members.contains_key(**f));
                    for field in absent {
                        if random.one_in(2) {
                            varied.insert(recased(field, random), Value::Null);
                        }
                    }
                    if random.one_in(2) {
                        varied.insert("x-unknown".to_owned(), serde_json::json!({"a": [null]}));
                    }
                }
                Value::Object(varied)
            }
            plain => plain.clone(),
        }
    }

    fn recased(key: &str, random: &mut Random) -> String {
        key.chars()
            .map(|letter| match random.one_in(3) {
                true if letter.is_ascii_lowercase() => letter.to_ascii_uppercase(),
                true => letter.to_ascii_lowercase(),
                false => letter,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Outer {
        name: String,
        #[serde(default)]
        inner: Inner,
        #[serde(default)]
        list_of: Vec<Inner>,
        #[serde(default)]
        labels: BTreeMap<String, String>,
        maybe: Option<bool>,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default)]
    struct Inner {
        size: u64,
        text: String,
    }

    const FIELDS: variants::Fields = variants::Fields {
        all: &["name", "inner", "listOf", "labels", "maybe", "size", "text"],
        optional: &["inner", "listOf", "labels", "maybe", "size", "text"],
    };

    #[test]
    fn field_keys_ignore_case_and_map_keys_do_not() {
        let text = r#"{"NAME":"a","ListOf":[{"SIZE":1}],"labels":{"A":"1","a":"2"}}"#;
        let outer: Outer = from_str(text).unwrap();
        assert_eq!(outer.list_of[0].size, 1);
        assert_eq!(
            outer.labels,
            BTreeMap::from([("A", "1"), ("a", "2")].map(owned))
        );
    }

    fn owned((key, value): (&str, &str)) -> (String, String) {
        (key.to_owned(), value.to_owned())
    }

    #[test]
    fn exact_case_wins_else_the_last_key() {
        for text in [
            r#"{"Name":"1","name":"2","NAME":"3"}"#,
            r#"{"Name":"1","NAME":"2"}"#,
            r#"{"name":"1","name":"2","Name":"3"}"#,
            r#"{"Name":"2","name":null}"#,
        ] {
            let outer: Outer = from_str(text).unwrap();
            assert_eq!(outer.name, "2", "{text}");
        }
        let object = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        let exact = object(r#"{"Name":"1","name":"2"}"#);
        assert_eq!(key_of(exact.as_object().unwrap(), "name"), Some("name"));
        let other = object(r#"{"Name":"1"}"#);
        assert_eq!(key_of(other.as_object().unwrap(), "name"), Some("Name"));
        assert_eq!(key_of(other.as_object().unwrap(), "size"), None);
    }

    #[test]
    fn null_is_absent_even_in_a_required_field() {
        let all = r#"{"name":"a","inner":null,"listOf":null,"labels":null,"maybe":null}"#;
        let expected = Outer {
            name: "a".to_owned(),
            ..Outer::default()
        };
        assert_eq!(from_str::<Outer>(all).unwrap(), expected);
        let error_text = |text: &str| from_str::<Outer>(text).unwrap_err().to_string();
        assert_eq!(error_text(r#"{"name":null}"#), "missing field `name`");
        assert_eq!(
            error_text("null"),
            "invalid type: null, expected an object at line 1 column 4"
        );
        assert_eq!(from_str::<Option<Outer>>("null").unwrap(), None);
        let labels: Outer = from_str(r#"{"name":"a","labels":{"b":null}}"#).unwrap();
        assert!(labels.labels.is_empty());
    }

    #[test]
    fn unknown_fields_may_nest_deeply_and_known_may_not() {
        let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let unknown = format!(r#"{{"name":"a","x":{}}}"#, deep(100_000));
        assert_eq!(from_str::<Outer>(&unknown).unwrap().name, "a");
        let known = format!(r#"{{"name":"a","listOf":{}}}"#, deep(100_000));
        assert!(from_str::<Outer>(&known).is_err());
    }

    #[test]
    fn list_is_no_struct_and_nothing_may_follow() {
        for text in [
            "[\"a\"]",
            r#"{"name":"a","inner":[1]}"#,
            r#"{"name":"a"} {}"#,
            r#"{"name":"a""#,
            "",
        ] {
            assert!(from_str::<Outer>(text).is_err(), "{text}");
        }
        let large = vec![b' '; MAX_SIZE + 1];
        let error = from_slice::<Value>(&large).unwrap_err();
        assert!(error.to_string().contains("too large"), "{error}");
    }

    proptest! {
        #[test]
        fn document_is_equal_in_every_case_with_nulls_and_extras(
            text in variants::of(
                json!({"name": "a", "listOf": [{"size": 1}, {}], "labels": {"Name": "1"},
                    "inner": {"text": "b"}}),
                FIELDS,
            )
        ) {
            let outer: Outer = from_str(&text).unwrap();
            prop_assert_eq!(outer, Outer {
                name: "a".to_owned(),
                inner: Inner { size: 0, text: "b".to_owned() },
                list_of: vec![Inner { size: 1, ..Inner::default() }, Inner::default()],
                labels: BTreeMap::from([owned(("Name", "1"))]),
                maybe: None,
            });
        }
    }
}
