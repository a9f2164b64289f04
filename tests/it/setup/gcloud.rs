//! The requests for each step beside those that gcloud sends for the tutorial's commands, recorded
//! once from gcloud 528: the same method and path, and bodies that mean the same.

use std::collections::BTreeSet;

use super::*;

/// What gcloud sent for one command: `METHOD HOST/PATH`, and its body.
struct Recorded {
    request: String,
    body: Value,
}

/// The recording: a block a command, `METHOD URL` and the body below it.
fn recorded() -> Vec<Recorded> {
    let text = include_str!("../../fixtures/gcloud-requests.txt");
    let blocks = text.split("\n\n").filter(|block| !block.starts_with('#'));
    blocks
        .map(|block| {
            let mut lines = block.lines().skip_while(|line| line.starts_with("$ "));
            let request = lines.next().unwrap().to_owned();
            let body = lines.collect::<String>();
            Recorded {
                request,
                body: serde_json::from_str(&body).unwrap_or(Value::Null),
            }
        })
        .collect()
}

/// A request of ours in the same words.
fn sent(cloud: &Cloud) -> Vec<Recorded> {
    let requests = cloud.standin.requests();
    let api = requests
        .iter()
        .filter(|request| request.kind == standin::RequestKind::Api);
    api.map(|request| {
        let query = match request.query.as_str() {
            "" => String::new(),
            query => format!("?{query}"),
        };
        Recorded {
            request: format!("{} {}{}{query}", request.method, request.host, request.path),
            body: serde_json::from_str(request.body.as_deref().unwrap_or_default())
                .unwrap_or(Value::Null),
        }
    })
    .collect()
}

/// The names of all fields that a body has, at every depth.
fn fields(body: &Value, at: &str, into: &mut BTreeSet<String>) {
    match body {
        Value::Object(map) => {
            for (name, value) in map {
                let path = format!("{at}.{name}");
                fields(value, &path, into);
                into.insert(path);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| fields(item, at, into)),
        _ => {}
    }
}

#[test]
fn every_step_is_asked_for_as_gcloud_asks_for_it() {
    let cloud = Cloud::new();
    let project = Project::new("42")
        .service("iam")
        .service("artifactregistry")
        .service("storage");
    cloud.standin.project("acme", project);
    cloud
        .standin
        .create_bucket("artifacts.acme.appspot.com", "acme");
    cloud
        .apply()
        .set("setup_key", "puller.json")
        .set("setup_github", "acme/api")
        .succeeds();
    cloud.apply().set("setup_backend", "storage").succeeds();
    cloud
        .standin
        .grant(PUSHER, "roles/storage.admin", "projects/acme");
    cloud.apply().set("setup_backend", "storage").succeeds();
    cloud.remove().succeeds();
    let sent = sent(&cloud);
    let recorded = recorded();
    assert!(recorded.len() > 10, "{}", recorded.len());
    for gcloud in recorded {
        let same = sent
            .iter()
            .filter(|own| same_request(&own.request, &gcloud.request));
        let mut bodies = Vec::new();
        let alike = same.into_iter().any(|own| {
            bodies.push(own.body.clone());
            same_meaning(&own.body, &gcloud.body)
        });
        let asked: Vec<_> = sent.iter().map(|own| &own.request).collect();
        assert!(
            alike,
            "gcloud: {} {}\nours: {bodies:#?}\nall: {asked:#?}",
            gcloud.request, gcloud.body
        );
    }
}

/// The same method and path; ours has the accounts' own names, ids, and may ask for more.
fn same_request(own: &str, gcloud: &str) -> bool {
    let (own_path, own_query) = own.split_once('?').unwrap_or((own, ""));
    let (path, query) = gcloud.split_once('?').unwrap_or((gcloud, ""));
    let same_part = |(own, part): (&str, &str)| match part.strip_prefix('*') {
        Some("") => !own.contains(':'),
        Some(verb) => own.ends_with(verb),
        None => own == part,
    };
    let same_path = own_path.split('/').count() == path.split('/').count()
        && own_path.split('/').zip(path.split('/')).all(same_part);
    let own_query: Vec<_> = own_query.split('&').collect();
    same_path && (query.is_empty() || query.split('&').all(|pair| own_query.contains(&pair)))
}

/// Every field that gcloud sends is there; where ours has more, it is what the commands leave out.
fn same_meaning(own: &Value, gcloud: &Value) -> bool {
    let (mut ours, mut theirs) = (BTreeSet::new(), BTreeSet::new());
    fields(own, "", &mut ours);
    fields(gcloud, "", &mut theirs);
    // A name that the path has already, and the storage API's kind of thing.
    theirs.remove(".name");
    theirs.is_subset(&ours)
}
