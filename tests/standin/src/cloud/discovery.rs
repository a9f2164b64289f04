//! Google's discovery documents: every request is checked against them, and so is every answer of
//! ours. The documents are in `discovery/`, trimmed by the script beside them.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE};
use percent_encoding::percent_decode_str;
use serde_json::Value;

use crate::call::Query;

/// One API's methods and schemas.
struct Document {
    host: String,
    common: Vec<String>,
    methods: Vec<Method>,
    schemas: Value,
}

/// One method.
pub(crate) struct Method {
    /// `iam.projects.serviceAccounts.create`.
    pub(crate) id: String,
    verb: String,
    path: Vec<Segment>,
    parameters: BTreeMap<String, Value>,
    request: Option<Value>,
    response: Option<Value>,
}

/// A part of a path between slashes.
enum Segment {
    Word(String),
    /// A variable, and the verb after its colon.
    Variable(String, Option<String>),
}

const DOCUMENTS: [&str; 6] = [
    include_str!("../../discovery/artifactregistry-v1.json"),
    include_str!("../../discovery/cloudresourcemanager-v1.json"),
    include_str!("../../discovery/iam-v1.json"),
    include_str!("../../discovery/iamcredentials-v1.json"),
    include_str!("../../discovery/serviceusage-v1.json"),
    include_str!("../../discovery/storage-v1.json"),
];

fn documents() -> &'static [Document] {
    static READ: OnceLock<Vec<Document>> = OnceLock::new();
    READ.get_or_init(|| DOCUMENTS.map(Document::read).into())
}

/// True if this host is one of the APIs.
pub(crate) fn is_api(host: &str) -> bool {
    documents().iter().any(|document| document.host == host)
}

/// The method that a request calls, with the decoded variables of its path.
pub(crate) fn find(
    host: &str,
    verb: &str,
    path: &str,
) -> Option<(&'static Method, BTreeMap<String, String>)> {
    let document = documents().iter().find(|document| document.host == host)?;
    let found = document.methods.iter().filter(|method| method.verb == verb);
    // `projects/example.com:p` matches `{projectId}` too, so paths with a verb come first.
    let mut found: Vec<_> = found
        .filter_map(|method| Some((method, method.variables(path)?)))
        .collect();
    found.sort_by_key(|(method, _)| !method.ends_in_verb());
    found.into_iter().next()
}

impl Document {
    fn read(text: &str) -> Self {
        let json: Value = serde_json::from_str(text).expect("the documents are JSON");
        let methods = json["methods"].as_object().expect("methods");
        Self {
            host: text_of(&json["host"]),
            common: strings(&json["parameters"]),
            methods: methods.iter().map(|(id, m)| Method::read(id, m)).collect(),
            schemas: json["schemas"].clone(),
        }
    }
}

impl Method {
    fn read(id: &str, json: &Value) -> Self {
        let schema = |name: &str| json.get(name).cloned();
        let parameters = json["parameters"].as_object().expect("parameters");
        Self {
            id: id.to_owned(),
            verb: text_of(&json["httpMethod"]),
            path: text_of(&json["path"])
                .split('/')
                .map(Segment::read)
                .collect(),
            parameters: parameters.clone().into_iter().collect(),
            request: schema("request"),
            response: schema("response"),
        }
    }

    fn ends_in_verb(&self) -> bool {
        match self.path.last() {
            Some(Segment::Variable(_, after)) => after.is_some(),
            Some(Segment::Word(word)) => word.contains(':'),
            None => false,
        }
    }

    fn variables(&self, path: &str) -> Option<BTreeMap<String, String>> {
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        if parts.len() != self.path.len() {
            return None;
        }
        let mut variables = BTreeMap::new();
        for (segment, part) in self.path.iter().zip(parts) {
            let part = percent_decode_str(part).decode_utf8_lossy();
            let part = part.as_ref();
            match segment {
                Segment::Word(word) if word == part => {}
                Segment::Word(_) => return None,
                Segment::Variable(name, after) => {
                    let value = match after {
                        Some(after) => part.strip_suffix(after.as_str())?,
                        None => part,
                    };
                    if value.is_empty() {
                        return None;
                    }
                    variables.insert(name.clone(), value.to_owned());
                }
            }
        }
        Some(variables)
    }

    fn document(&self) -> &'static Document {
        let mut documents = documents().iter();
        let own = |document: &&Document| document.methods.iter().any(|m| m.id == self.id);
        documents.find(own).expect("a method is of a document")
    }

    /// The errors of a query, in Google's words.
    pub(crate) fn check_query(&self, query: &Query) -> Result<(), String> {
        let common = &self.document().common;
        for (name, value) in query.pairs() {
            if common.iter().any(|known| known == name) {
                continue;
            }
            let known = self.parameters.get(name);
            let Some(known) = known.filter(|known| known["location"] == "query") else {
                return Err(format!(
                    "Invalid JSON payload received. Unknown name \"{name}\": Cannot bind query \
                     parameter. Field '{name}' could not be found in request message."
                ));
            };
            let fits = match known["type"].as_str() {
                Some("integer") => value.parse::<i32>().is_ok(),
                Some("boolean") => matches!(value, "true" | "false"),
                _ => true,
            };
            if !fits {
                return Err(format!("Invalid value at '{name}', \"{value}\""));
            }
            if query.all(name).count() > 1 && known["repeated"] != true {
                return Err(format!("Query parameter '{name}' is there more than once"));
            }
        }
        Ok(())
    }

    /// The errors of a request's body.
    pub(crate) fn check_request(&self, body: Option<&Value>) -> Result<(), String> {
        match (&self.request, body) {
            (Some(schema), Some(body)) => self.check(schema, body, ""),
            // An empty body is an empty message.
            (Some(_) | None, None) => Ok(()),
            (None, Some(_)) => Err("the method takes no body".to_owned()),
        }
    }

    /// The errors of one of our answers.
    pub(crate) fn check_response(&self, body: &Value) -> Result<(), String> {
        match &self.response {
            Some(schema) => self.check(schema, body, ""),
            None if *body == Value::Null => Ok(()),
            None => Err("the method answers nothing".to_owned()),
        }
    }

    fn check(&self, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
        if let Some(name) = schema["$ref"].as_str() {
            return self.check(&self.document().schemas[name], value, at);
        }
        let wrong = || {
            let kind = schema["type"].as_str().unwrap_or_default();
            Err(format!("Invalid value at '{at}' ({kind}), {value}"))
        };
        if value.is_null() && !at.is_empty() {
            // In proto3 JSON null is an absent field.
            return Ok(());
        }
        match schema["type"].as_str() {
            Some("object") => {
                let Some(fields) = value.as_object() else {
                    return wrong();
                };
                for (name, field) in fields {
                    let known = match schema["properties"].get(name) {
                        Some(known) => known,
                        None if schema["additionalProperties"].is_object() => {
                            &schema["additionalProperties"]
                        }
                        None => return Err(unknown(name, at)),
                    };
                    let below = if at.is_empty() {
                        name.clone()
                    } else {
                        format!("{at}.{name}")
                    };
                    self.check(known, field, &below)?;
                }
                Ok(())
            }
            Some("array") => {
                let Some(items) = value.as_array() else {
                    return wrong();
                };
                for (index, item) in items.iter().enumerate() {
                    self.check(&schema["items"], item, &format!("{at}[{index}]"))?;
                }
                Ok(())
            }
            Some("string") => {
                let Some(text) = value.as_str() else {
                    return wrong();
                };
                let fits = match schema["format"].as_str() {
                    Some("int64" | "uint64") => text.parse::<i64>().is_ok(),
                    Some("byte") => {
                        BASE64_STANDARD.decode(text).is_ok() || BASE64_URL_SAFE.decode(text).is_ok()
                    }
                    _ => true,
                };
                let known = schema["enum"].as_array();
                let named = known.is_none_or(|known| known.iter().any(|one| one == value));
                if fits && named { Ok(()) } else { wrong() }
            }
            Some("boolean") if !value.is_boolean() => wrong(),
            Some("integer") if !value.is_i64() && !value.is_u64() => wrong(),
            Some("number") if !value.is_number() => wrong(),
            _ => Ok(()),
        }
    }
}

impl Segment {
    fn read(text: &str) -> Self {
        let Some(rest) = text.strip_prefix('{') else {
            return Self::Word(text.to_owned());
        };
        let (name, after) = rest.split_once('}').expect("a variable ends");
        let after = Some(after).filter(|after| !after.is_empty());
        Self::Variable(name.to_owned(), after.map(str::to_owned))
    }
}

fn unknown(name: &str, at: &str) -> String {
    let image_path = if at.is_empty() {
        String::new()
    } else {
        format!(" at '{at}'")
    };
    format!(
        "Invalid JSON payload received. Unknown name \"{name}\"{image_path}: Cannot find field."
    )
}

fn text_of(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn strings(value: &Value) -> Vec<String> {
    let items = value.as_array().into_iter().flatten();
    items.map(text_of).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn method(host: &str, verb: &str, path: &str) -> &'static Method {
        find(host, verb, path).expect(path).0
    }

    #[test]
    fn method_is_found_by_verb_and_path() {
        for (host, verb, path, id) in [
            (
                "cloudresourcemanager.googleapis.com",
                "POST",
                "/v1/projects/example.com:p:getIamPolicy",
                "cloudresourcemanager.projects.getIamPolicy",
            ),
            (
                "cloudresourcemanager.googleapis.com",
                "GET",
                "/v1/projects/example.com:p",
                "cloudresourcemanager.projects.get",
            ),
            (
                "serviceusage.googleapis.com",
                "POST",
                "/v1/projects/p/services:batchEnable",
                "serviceusage.services.batchEnable",
            ),
            (
                "artifactregistry.googleapis.com",
                "GET",
                "/v1/projects/p/locations/us/repositories/gcr.io:getIamPolicy",
                "artifactregistry.projects.locations.repositories.getIamPolicy",
            ),
        ] {
            assert_eq!(method(host, verb, path).id, id);
        }
        assert!(find("iam.googleapis.com", "PUT", "/v1/projects/p").is_none());
        assert!(
            find(
                "iam.googleapis.com",
                "GET",
                "/v2/projects/p/serviceAccounts"
            )
            .is_none()
        );
    }

    #[test]
    fn body_is_checked_against_its_schema() {
        let create = method(
            "iam.googleapis.com",
            "POST",
            "/v1/projects/p/serviceAccounts",
        );
        let good = json!({"accountId": "a", "serviceAccount": {"displayName": "A"}});
        assert_eq!(create.check_request(Some(&good)), Ok(()));
        for (bad, message) in [
            (json!({"account": "a"}), "Unknown name \"account\""),
            (json!({"accountId": 1}), "Invalid value at 'accountId'"),
            (
                json!({"serviceAccount": {"name_": ""}}),
                "at 'serviceAccount'",
            ),
            (json!([]), "Invalid value"),
        ] {
            let error = create.check_request(Some(&bad)).unwrap_err();
            assert!(error.contains(message), "{error}");
        }
        let set = method(
            "iam.googleapis.com",
            "POST",
            "/v1/projects/p/serviceAccounts/a@p.iam.gserviceaccount.com:setIamPolicy",
        );
        let etag = json!({"policy": {"etag": "BwNEW", "version": 3}});
        assert!(set.check_request(Some(&etag)).is_err(), "not base64");
    }
}
