//! Reads which images Kubernetes objects name, and which digests run. No I/O.
//!
//! Only the fields that name images are read, and each by itself, so that the images of an object
//! that is odd elsewhere are still found.
//! <https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/>

use std::collections::BTreeMap;

use serde::Deserialize as _;
use serde_json::Value;

use crate::diagnostics::sanitize::sanitize;
use crate::oci::digest::Digest;

/// The largest depth of lists in lists.
const MAX_DEPTH: usize = 8;

/// An image that an object names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedImage {
    /// The image as it stands in the object.
    pub image: String,
    /// What a node runs for it. `None` if no node has started it.
    pub running: Option<RunningImage>,
    /// The object, such as `Deployment shop/api`.
    pub object: String,
}

/// What a node runs, by `imageID` of the container's status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunningImage {
    /// The digest of a manifest or of an index.
    Digest(Digest),
    /// No digest of a registry: the image was built or loaded on the node.
    OnNode,
}

impl RunningImage {
    /// Parses an `imageID`: `NAME@sha256:…`, which Docker puts behind `docker-pullable://`, or the ID
    /// of an image that no registry is known to have. `None` if it is empty.
    pub fn parse(image_id: &str) -> Option<Self> {
        let id = image_id
            .split_once("://")
            .map_or(image_id, |(_, rest)| rest);
        match id.rsplit_once('@').map(|(_, digest)| digest.parse()) {
            _ if id.is_empty() => None,
            Some(Ok(digest)) => Some(Self::Digest(digest)),
            Some(Err(_)) | None => Some(Self::OnNode),
        }
    }
}

/// The images of some objects, and how many objects of each kind there were.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Workloads {
    /// The images, in the order of the objects.
    pub images: Vec<NamedImage>,
    /// The objects whose images were read, by kind.
    pub read: BTreeMap<String, usize>,
    /// The other documents, by kind. The kind is empty for what is no Kubernetes object.
    pub passed_over: BTreeMap<String, usize>,
}

impl Workloads {
    /// Adds those of a YAML file, which may have several documents.
    ///
    /// # Errors
    ///
    /// If a document is not YAML. Those before it are added.
    pub fn add_yaml(&mut self, text: &str) -> Result<(), String> {
        for document in serde_yaml::Deserializer::from_str(text) {
            let document = serde_yaml::Value::deserialize(document);
            let mut document = document.map_err(|error| error.to_string())?;
            // `kubectl` merges `<<` too.
            document.apply_merge().map_err(|error| error.to_string())?;
            let document = serde_json::to_value(document).map_err(|error| error.to_string())?;
            if !document.is_null() {
                self.add(&document, None, 0);
            }
        }
        Ok(())
    }

    /// Adds an object of the API, whose list leaves out the `kind` of each item.
    pub fn add_object(&mut self, kind: &str, object: &Value) {
        self.add(object, Some(kind), 0);
    }

    fn add(&mut self, object: &Value, kind_in_list: Option<&str>, depth: usize) {
        let kind = object["kind"].as_str().or(kind_in_list);
        let version = object["apiVersion"].as_str();
        let version = version.or(kind_in_list.map(|_| "v1"));
        let (Some(kind), Some(version)) = (kind, version) else {
            *self.passed_over.entry(String::new()).or_default() += 1;
            return;
        };
        if let (Some(of), Some(items)) = (kind.strip_suffix("List"), object["items"].as_array())
            && depth < MAX_DEPTH
        {
            let of = Some(of).filter(|of| !of.is_empty());
            for item in items {
                self.add(item, of, depth + 1);
            }
            return;
        }
        // Others define kinds of the same name, such as the Job of Volcano.
        let group = version.split_once('/').map_or("", |(group, _)| group);
        let is_own = matches!(group, "" | "apps" | "batch" | "extensions");
        let Some(spec) = pod_spec(kind, object).filter(|_| is_own) else {
            *self.passed_over.entry(kind.to_owned()).or_default() += 1;
            return;
        };
        *self.read.entry(kind.to_owned()).or_default() += 1;
        if is_finished(kind, object) {
            return;
        }
        let metadata = &object["metadata"];
        let name = metadata["name"]
            .as_str()
            .or(metadata["generateName"].as_str());
        let name = name.unwrap_or("without a name");
        let owner = match metadata["namespace"].as_str() {
            Some(namespace) => format!("{kind} {namespace}/{name}"),
            None => format!("{kind} {name}"),
        };
        let owner: String = sanitize(&owner).chars().take(200).collect();
        for (image, running) in images(spec, &object["status"]) {
            self.images.push(NamedImage {
                image: image.to_owned(),
                running,
                object: owner.clone(),
            });
        }
    }
}

/// The spec of the Pods that an object is or makes. `None` if it makes none.
fn pod_spec<'a>(kind: &str, object: &'a Value) -> Option<&'a Value> {
    let path = match kind {
        "Pod" => "/spec",
        "PodTemplate" => "/template/spec",
        "CronJob" => "/spec/jobTemplate/spec/template/spec",
        "DaemonSet"
        | "Deployment"
        | "Job"
        | "ReplicaSet"
        | "ReplicationController"
        | "StatefulSet" => "/spec/template/spec",
        _ => return None,
    };
    object.pointer(path)
}

/// True for a Pod or a Job that has ended and runs nothing any more.
fn is_finished(kind: &str, object: &Value) -> bool {
    let status = &object["status"];
    let conditions = status["conditions"].as_array().into_iter().flatten();
    match kind {
        "Pod" => matches!(status["phase"].as_str(), Some("Succeeded" | "Failed")),
        "Job" => conditions.into_iter().any(|condition| {
            matches!(condition["type"].as_str(), Some("Complete" | "Failed"))
                && condition["status"] == "True"
        }),
        _ => false,
    }
}

/// The images of a Pod's containers and image volumes, with what runs.
fn images<'a>(
    spec: &'a Value,
    status: &'a Value,
) -> impl Iterator<Item = (&'a str, Option<RunningImage>)> {
    let lists = [
        ("initContainers", "initContainerStatuses"),
        ("containers", "containerStatuses"),
        ("ephemeralContainers", "ephemeralContainerStatuses"),
    ];
    let containers = lists.into_iter().flat_map(move |(containers, statuses)| {
        list(spec, containers).map(move |container| {
            let mut statuses = list(status, statuses);
            let status = statuses.find(|status| status["name"] == container["name"]);
            let running = status.and_then(|status| status["imageID"].as_str());
            (&container["image"], running.and_then(RunningImage::parse))
        })
    });
    let volumes = list(spec, "volumes").map(|volume| (&volume["image"]["reference"], None));
    containers
        .chain(volumes)
        .filter_map(|(image, running)| Some((image.as_str()?, running)))
        // A template may leave it to what makes its Pods.
        .filter(|(image, _)| !image.is_empty())
}

fn list<'a>(object: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    object[key].as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const HEX: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn of_yaml(text: &str) -> Workloads {
        let mut found = Workloads::default();
        found.add_yaml(text).unwrap();
        found
    }

    fn names(found: &Workloads) -> Vec<&str> {
        found.images.iter().map(|one| one.image.as_str()).collect()
    }

    #[test]
    fn each_kind_that_makes_pods_is_read() {
        let spec =
            "{containers: [{name: a, image: app:1}], initContainers: [{name: i, image: init:1}]}";
        let template = format!("{{template: {{spec: {spec}}}}}");
        for (version, kind, body) in [
            ("v1", "Pod", format!("spec: {spec}")),
            ("v1", "PodTemplate", format!("template: {{spec: {spec}}}")),
            ("v1", "ReplicationController", format!("spec: {template}")),
            ("apps/v1", "Deployment", format!("spec: {template}")),
            ("apps/v1", "StatefulSet", format!("spec: {template}")),
            ("apps/v1", "DaemonSet", format!("spec: {template}")),
            ("apps/v1", "ReplicaSet", format!("spec: {template}")),
            ("batch/v1", "Job", format!("spec: {template}")),
            (
                "batch/v1",
                "CronJob",
                format!("spec: {{jobTemplate: {{spec: {template}}}}}"),
            ),
        ] {
            let object = format!(
                "apiVersion: {version}\nkind: {kind}\nmetadata: {{name: x, namespace: shop}}\n{body}\n"
            );
            let found = of_yaml(&object);
            assert_eq!(names(&found), ["init:1", "app:1"], "{kind}");
            assert_eq!(found.images[0].object, format!("{kind} shop/x"));
            assert_eq!(found.read, BTreeMap::from([(kind.to_owned(), 1)]));
        }
    }

    #[test]
    fn lists_and_documents_are_read() {
        let found = of_yaml(
            "---\n# empty\n---\napiVersion: v1\nkind: List\nitems:\n\
             - {apiVersion: v1, kind: Pod, spec: {containers: [{image: a}]}}\n\
             - {apiVersion: v1, kind: Service, spec: {}}\n---\n\
             apiVersion: v1\nkind: PodList\nitems: [{spec: {ephemeralContainers: [{image: b}]}}]\n---\n\
             apiVersion: v1\nkind: Pod\nspec: {volumes: [{name: v, image: {reference: c}}, {name: w}]}\n",
        );
        assert_eq!(names(&found), ["a", "b", "c"]);
        assert_eq!(
            found.passed_over,
            BTreeMap::from([("Service".to_owned(), 1)])
        );
    }

    #[test]
    fn what_is_no_workload_is_counted() {
        let found = of_yaml(
            "image: {repository: app, tag: 1}\n---\n- a\n---\napiVersion: apiextensions.k8s.io/v1\n\
             kind: CustomResourceDefinition\n---\napiVersion: batch.volcano.sh/v1alpha1\nkind: Job\n\
             spec: {template: {spec: {containers: [{image: a}]}}}\n",
        );
        assert!(found.images.is_empty());
        let counts = [("", 2), ("CustomResourceDefinition", 1), ("Job", 1)];
        let counts = counts.map(|(kind, count)| (kind.to_owned(), count));
        assert_eq!(found.passed_over, BTreeMap::from(counts));
        let mut found = Workloads::default();
        assert!(found.add_yaml("a: {{ .Values.x }}: b").is_err());
    }

    #[test]
    fn running_digest_is_that_of_the_containers_status() {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"},
            "spec": {"containers": [{"name": "a", "image": "app:1"}, {"name": "b", "image": "b:1"}]},
            "status": {"containerStatuses": [
                {"name": "b", "imageID": ""},
                {"name": "a", "imageID": format!("docker-pullable://x/app@sha256:{HEX}")},
            ]},
        });
        let mut found = Workloads::default();
        found.add_object("Pod", &pod);
        let digest = format!("sha256:{HEX}").parse().unwrap();
        assert_eq!(found.images[0].running, Some(RunningImage::Digest(digest)));
        assert_eq!(found.images[1].running, None);
    }

    #[test]
    fn every_form_of_an_image_id_is_read() {
        let digest = || {
            Some(RunningImage::Digest(
                format!("sha256:{HEX}").parse().unwrap(),
            ))
        };
        let on_node = || Some(RunningImage::OnNode);
        for (id, running) in [
            (format!("docker-pullable://a/b@sha256:{HEX}"), digest()),
            (
                format!("registry.example.com:5000/a/b@sha256:{HEX}"),
                digest(),
            ),
            (format!("sha256:{HEX}"), on_node()),
            (format!("docker://sha256:{HEX}"), on_node()),
            (HEX.to_owned(), on_node()),
            ("a@sha256:12".to_owned(), on_node()),
            (String::new(), None),
        ] {
            assert_eq!(RunningImage::parse(&id), running, "{id}");
        }
    }

    #[test]
    fn finished_pods_and_jobs_run_nothing() {
        let spec = json!({"containers": [{"image": "a"}]});
        let mut found = Workloads::default();
        for phase in ["Succeeded", "Failed", "Running", "Pending"] {
            found.add_object("Pod", &json!({"spec": spec, "status": {"phase": phase}}));
        }
        for (condition, status) in [
            ("Complete", "True"),
            ("Complete", "False"),
            ("Failed", "True"),
        ] {
            let conditions = json!([{"type": condition, "status": status}]);
            let job = json!({
                "apiVersion": "batch/v1",
                "spec": {"template": {"spec": spec}}, "status": {"conditions": conditions},
            });
            found.add_object("Job", &job);
        }
        let objects: Vec<_> = found.images.iter().map(|one| one.object.as_str()).collect();
        assert_eq!(
            objects,
            [
                "Pod without a name",
                "Pod without a name",
                "Job without a name"
            ]
        );
    }

    /// Any JSON, with the keys that are looked for among its own.
    fn anything() -> impl Strategy<Value = Value> {
        let key = prop::sample::select(vec![
            "apiVersion",
            "kind",
            "items",
            "spec",
            "template",
            "jobTemplate",
            "containers",
            "image",
            "status",
            "containerStatuses",
            "imageID",
            "name",
            "metadata",
            "volumes",
        ]);
        let word = prop::sample::select(vec![
            "v1",
            "Pod",
            "List",
            "Deployment",
            "apps/v1",
            "a:1",
            "",
        ]);
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<i64>().prop_map(Value::from),
            word.prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(6, 48, 6, move |inner| {
            let map = prop::collection::btree_map(key.clone(), inner.clone(), 0..6);
            prop_oneof![
                prop::collection::vec(inner, 0..4).prop_map(Value::from),
                map.prop_map(|map| map.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_object_stops_the_reading(object in anything()) {
            let mut found = Workloads::default();
            found.add_object("Pod", &object);
            let text = serde_json::to_string(&object).unwrap();
            let _ = found.add_yaml(&text);
            prop_assert!(found.images.iter().all(|one| !one.image.is_empty()));
        }

        #[test]
        fn every_container_is_found_in_its_order(
            images in prop::collection::vec("[a-z0-9./:@-]{1,20}", 0..12),
            inits in 0_usize..12,
        ) {
            let container = |(number, image): (usize, &String)| {
                json!({"name": format!("c{number}"), "image": image})
            };
            let all: Vec<_> = images.iter().enumerate().map(container).collect();
            let (first, rest) = all.split_at(inits.min(all.len()));
            let spec = json!({"initContainers": first, "containers": rest});
            let object = json!({
                "apiVersion": "apps/v1", "kind": "Deployment", "spec": {"template": {"spec": spec}},
            });
            let mut found = Workloads::default();
            found.add_yaml(&object.to_string()).unwrap();
            prop_assert_eq!(names(&found), images.iter().map(String::as_str).collect::<Vec<_>>());
        }
    }
}
