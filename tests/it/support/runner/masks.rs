//! The masks of the runner: `SecretMasker.cs`, `ValueEncoders.cs`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

#[derive(Default)]
pub struct Masker {
    /// The masks in the order they were added.
    pub values: Vec<String>,
    hidden: Vec<String>,
}

impl Masker {
    /// Adds a mask: the whole value, and each of its lines.
    pub fn add(&mut self, value: &str) {
        let lines = value.split(['\r', '\n']).map(str::trim);
        for value in lines.filter(|line| !line.is_empty()).chain([value]) {
            if self.values.iter().any(|known| known == value) {
                continue;
            }
            self.values.push(value.to_owned());
            self.hidden.push(value.to_owned());
            for shift in 0..3 {
                // The middle of base64 is the same whatever stands before and after.
                if let Some(bytes) = value.as_bytes().get(shift..) {
                    let whole = STANDARD.encode(&bytes[..bytes.len() / 3 * 3]);
                    if whole.len() > 4 {
                        self.hidden.push(whole);
                    }
                }
            }
            let json = serde_json::to_string(value).unwrap();
            self.hidden.push(json.trim_matches('"').to_owned());
            let uri: String = url::form_urlencoded::byte_serialize(value.as_bytes()).collect();
            self.hidden.push(uri);
        }
        self.hidden
            .sort_by_key(|value| std::cmp::Reverse(value.len()));
    }

    /// A line with masked text hidden.
    pub fn hide(&self, line: &str) -> String {
        let mut line = line.to_owned();
        for value in &self.hidden {
            line = line.replace(value, "***");
        }
        line
    }
}
