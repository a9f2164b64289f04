//! Keys as vaults, shells and editors damage them: repaired if the meaning is plain, otherwise
//! refused with the kind of damage, and never shown.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{has_image, push};
use crate::support::google::{ACCOUNT, Google};
use crate::support::run::Outcome;
use crate::support::secret_leaks::Secrets;

/// A key on several lines, as Google writes it, and its members.
fn key(google: &Google) -> (String, Value) {
    let key: Value = serde_json::from_str(&google.key).unwrap();
    (serde_json::to_string_pretty(&key).unwrap() + "\n", key)
}

fn lines(text: &str, end: &str) -> String {
    let encoded = STANDARD.encode(text);
    let lines = encoded.as_bytes().chunks(76);
    lines
        .map(|line| String::from_utf8_lossy(line) + end)
        .collect()
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

fn assert_no_leak(google: &Google, outcome: &Outcome) {
    Secrets::of(google).assert_no_leak(outcome, &["key.json", "image.tar"]);
}

#[test]
fn slightly_damaged_key_is_accepted() {
    let google = Google::start();
    let (raw, key) = key(&google);
    let one = key.to_string();
    let marked = format!("\u{feff}{}", raw.replace('\n', "\r\n"));
    let forms = [
        raw.clone(),
        one.clone(),
        STANDARD.encode(&raw),
        lines(&raw, "\n"),
        lines(&raw, "\r\n"),
        format!("\u{feff}{raw}"),
        raw.replace('\n', "\r\n"),
        STANDARD.encode(&marked),
        format!("'{one}'"),
        format!("\"{one}\""),
        json!(one).to_string(),
        one.replace('\\', "\\\\").replace('"', "\\\""),
        STANDARD.encode(STANDARD.encode(&raw)),
        STANDARD.encode(utf16(&format!("\u{feff}{raw}"))),
        STANDARD.encode(utf16(&raw)),
        format!("data:application/json;base64,{}", STANDARD.encode(&raw)),
        format!("\"{}\"", STANDARD.encode(&raw)),
    ];
    for (index, form) in forms.into_iter().enumerate() {
        let outcome = push(&google).set("credentials_json", form).run();
        assert_eq!(outcome.code, 0, "{index}: {}", outcome.stderr);
        assert_no_leak(&google, &outcome);
    }
    assert!(has_image(&google));
    for bytes in [utf16(&format!("\u{feff}{raw}")), marked.into_bytes()] {
        let run = push(&google).file("key.json", bytes);
        run.set("credentials_json", "key.json").succeeds();
    }
}

/// The error of each form, under its name.
fn error_text(google: &Google, forms: &[(&str, String)]) -> String {
    let mut all = String::new();
    for (name, form) in forms {
        let outcome = push(google).set("credentials_json", form).fails_with(2);
        assert_no_leak(google, &outcome);
        let error = outcome.error();
        let mut lines = error.lines().filter(|line| !line.is_empty()).skip(1);
        let fault = lines.next().unwrap_or_default().trim();
        let fault = fault.strip_prefix("`credentials_json`: ").unwrap_or(fault);
        let fault = fault.replace(" (GCR_PUSH_CREDENTIALS_JSON)", "");
        writeln!(all, "{name}: {fault}").unwrap();
        for hint in lines {
            writeln!(all, "    {hint}").unwrap();
        }
    }
    all
}

fn with_member(key: &Value, member: &str, value: impl Into<Value>) -> String {
    let mut key = key.clone();
    key[member] = value.into();
    key.to_string()
}

#[test]
fn damaged_key_error_names_the_damage() {
    let google = Google::start();
    let (raw, key) = key(&google);
    let one = key.to_string();
    let pem = key["private_key"].as_str().unwrap().to_owned();
    let id = key["private_key_id"].as_str().unwrap();
    let forms = [
        ("escaped breaks", raw.trim().replace('\n', "\\n")),
        ("real breaks", one.replace("\\n", "\n")),
        ("doubled backslashes", one.replace("\\n", "\\\\n")),
        (
            "spaces",
            with_member(&key, "private_key", pem.replace('\n', " ")),
        ),
        (
            "no breaks",
            with_member(&key, "private_key", pem.replace('\n', "")),
        ),
        ("lost backslashes", one.replace("\\n", "n")),
        (
            "cut pem",
            with_member(&key, "private_key", &pem[..pem.len() - 60]),
        ),
        ("env line", format!("GCR_KEY={one}")),
        ("cut off", one[..900].to_owned()),
        ("cut base64", STANDARD.encode(&one[..900])),
        ("first line", "{".to_owned()),
        ("unfilled", "$SERVICE_ACCOUNT_JSON".to_owned()),
        ("unfilled action", "${{ secrets.GCR_KEY }}".to_owned()),
        ("base64 of unfilled", STANDARD.encode("$GCR_KEY")),
        ("base64 of a path", STANDARD.encode("./key.json")),
        ("pem", pem.clone()),
        ("base64 of pem", STANDARD.encode(&pem)),
        ("no quotes", one.replace('"', "")),
        ("single quotes", one.replace('"', "'")),
        (
            "p12",
            STANDARD.encode([&[0x30, 0x82, 9, 9][..], &[0xfe; 900]].concat()),
        ),
        ("noise", STANDARD.encode([0xfe; 900])),
        ("address", ACCOUNT.to_owned()),
        (
            "id",
            format!("{id:0>40}")[..40].replace(|c: char| !c.is_ascii_hexdigit(), "0"),
        ),
        (
            "yaml",
            format!("type: service_account\nprivate_key: {}", json!(pem)),
        ),
        ("no braces", raw.trim().trim_matches(['{', '}']).to_owned()),
        ("array", format!("[{one}]")),
        ("trailing comma", one.replace('}', ",}")),
        ("trailing text", format!("{one} # key")),
        ("no-break spaces", raw.replace("  ", "\u{a0} ")),
        (
            "typographic",
            raw.replace("\"type\"", "\u{201c}type\u{201d}"),
        ),
        (
            "oauth client",
            json!({"installed": {"client_secret": "GOCSPX-1"}}).to_string(),
        ),
        (
            "docker config",
            json!({"auths": {"gcr.io": {"auth": STANDARD.encode(format!("_json_key:{raw}"))}}})
                .to_string(),
        ),
        (
            "secret",
            json!({"apiVersion": "v1", "kind": "Secret", "data": {"key": STANDARD.encode(&raw)}})
                .to_string(),
        ),
        ("user before", format!("_json_key:{one}")),
        (
            "access token",
            "ya29.a0AfH6SMB_token_that_is_long".to_owned(),
        ),
    ];
    // The length of a key depends on its numbers.
    let text = (0..4).fold(error_text(&google, &forms), |text, more| {
        text.replace(&format!("column {}", one.len() + more), "column [end]")
    });
    insta::assert_snapshot!(text, @r"
    escaped breaks: the line breaks between its members are escaped (as `\n`); its value is not shown
        hint: store it on one line, as `jq --compact-output . key.json` prints it, or as base64: `base64 -w0 key.json`
    real breaks: a value of its JSON contains a line break instead of `\n` (line 2, column 0); its value is not shown
        hint: store it on one line, as `jq --compact-output . key.json` prints it, or as base64: `base64 -w0 key.json`
    doubled backslashes: the line breaks of its `private_key` are escaped twice (`\\n` instead of `\n`)
        hint: store it as base64, so that nothing changes it: `base64 -w0 key.json`
    spaces: the line breaks of its `private_key` became spaces
        hint: store it as base64, so that nothing changes it: `base64 -w0 key.json`
    no breaks: the line breaks of its `private_key` are gone
        hint: store it as base64, so that nothing changes it: `base64 -w0 key.json`
    lost backslashes: the `\n` of its `private_key` lost their backslashes
        hint: store it as base64, so that nothing changes it: `base64 -w0 key.json`
    cut pem: its `private_key` is cut off
        hint: store it as base64, so that nothing changes it: `base64 -w0 key.json`
    env line: it begins with a name and `=`; its value is not shown
        hint: use only the value, without `NAME=`
    cut off: its JSON ends too early (line 1, column 900): it was cut off; its value is not shown
        hint: use the whole file; if a variable accepts only one line, use base64: `base64 -w0 key.json`
    cut base64: its JSON ends too early (line 1, column 900): it was cut off; its value is not shown
        hint: use the whole file; if a variable accepts only one line, use base64: `base64 -w0 key.json`
    first line: its JSON ends too early (line 1, column 1): it was cut off; its value is not shown
        hint: use the whole file; if a variable accepts only one line, use base64: `base64 -w0 key.json`
    unfilled: it is `$SERVICE_ACCOUNT_JSON`: the variable was not replaced by its value
        hint: check the variable's name, that the variable is set in this job, and that no quotes prevent its replacement
    unfilled action: it is `${{ secrets.GCR_KEY }}`: the variable was not replaced by its value
        hint: check the variable's name, that the variable is set in this job, and that no quotes prevent its replacement
    base64 of unfilled: decoded from base64: it is `$GCR_KEY`: the variable was not replaced by its value; its value is not shown
        hint: check the variable's name, that the variable is set in this job, and that no quotes prevent its replacement
    base64 of a path: it is base64 of a path, not of the file; its value is not shown
        hint: encode the file: `base64 -w0 key.json`
    pem: it is only a private key (PEM); its value is not shown
        hint: use the whole JSON file that `gcloud iam service-accounts keys create key.json --iam-account=ACCOUNT` writes
    base64 of pem: decoded from base64: it is only a private key (PEM); its value is not shown
        hint: use the whole JSON file that `gcloud iam service-accounts keys create key.json --iam-account=ACCOUNT` writes
    no quotes: its quotes are missing: a shell or a template removed them; its value is not shown
        hint: store it as base64, so that nothing changes it: `base64 -w0 key.json`
    single quotes: it has single quotes, but JSON requires double quotes; its value is not shown
        hint: store it as base64, so that nothing changes it: `base64 -w0 key.json`
    p12: it is base64 of a key in another format (P12 or DER); its value is not shown
        hint: use the whole JSON file that `gcloud iam service-accounts keys create key.json --iam-account=ACCOUNT` writes
    noise: it is neither JSON nor base64 of JSON; its value is not shown
        hint: use the JSON of the key file, its base64 (`base64 -w0 key.json`), or a path to it
    address: it is the address of a service account, not its key; its value is not shown
        hint: use the whole JSON file that `gcloud iam service-accounts keys create key.json --iam-account=ACCOUNT` writes
    id: it is the ID of a key, not the key; its value is not shown
        hint: use the whole JSON file that `gcloud iam service-accounts keys create key.json --iam-account=ACCOUNT` writes
    yaml: it is YAML; its value is not shown
        hint: use the whole JSON file that `gcloud iam service-accounts keys create key.json --iam-account=ACCOUNT` writes
    no braces: its JSON has lost its braces; its value is not shown
        hint: use the whole JSON file that `gcloud iam service-accounts keys create key.json --iam-account=ACCOUNT` writes
    array: it is a JSON array; its value is not shown
        hint: use only the object in it, from `{` to `}`
    trailing comma: its JSON has an extra comma (line 1, column [end]); its value is not shown
        hint: store it on one line, as `jq --compact-output . key.json` prints it, or as base64: `base64 -w0 key.json`
    trailing text: there is text after its JSON (line 1, column [end]); its value is not shown
        hint: use only the key, from `{` to `}`
    no-break spaces: its JSON contains no-break spaces (line 2, column 1); its value is not shown
        hint: copy the file itself, or store it as base64: `base64 -w0 key.json`
    typographic: an editor changed the quotes of its JSON to typographic quotes; its value is not shown
        hint: copy the file itself, or store it as base64: `base64 -w0 key.json`
    oauth client: it is an OAuth client, not a service-account key
        hint: use the whole JSON file that `gcloud iam service-accounts keys create key.json --iam-account=ACCOUNT` writes
    docker config: it is a Docker config, not a service-account key
        hint: put it in `docker_config`
    secret: it is a Kubernetes object, not a service-account key
        hint: use the key in it: `kubectl get secret NAME -o jsonpath='{.data.KEY}'` prints it as base64, which is accepted
    user before: it begins with a registry's user name (`_json_key`); its value is not shown
        hint: use only the key, from `{` to `}`
    access token: it is an access token; its value is not shown
        hint: put it in `access_token`
    ");
    assert!(google.standin.requests().is_empty());
}
