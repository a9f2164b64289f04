//! The manifest of a Pod that uses the image and the pull secret.

use super::forms::scalar;
use super::verify::PulledImage;

/// The YAML of a Pod with one container, which pulls `image` by its first tag with the Secret
/// `secret`.
pub(super) fn pod(image: &PulledImage, secret: &str, namespace: Option<&str>) -> String {
    let last = image.repository.rsplit('/').next().unwrap_or_default();
    let name = label(last);
    let name = scalar(&name);
    let secret = scalar(secret);
    let namespace = namespace.map_or_else(String::new, |n| format!("  namespace: {}\n", scalar(n)));
    format!(
        "apiVersion: v1\n\
         kind: Pod\n\
         metadata:\n  name: {name}\n{namespace}\
         spec:\n  containers:\n    - name: {name}\n      image: {}\n  \
         imagePullSecrets:\n    - name: {secret}\n",
        image.name()
    )
}

/// The closest valid name of a Pod and a container: a DNS label of at most 63 characters (RFC 1123).
fn label(name: &str) -> String {
    let mut label: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    label.make_ascii_lowercase();
    label.truncate(63);
    match label.trim_matches('-') {
        "" => "app".to_owned(),
        label => label.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_image_gets_a_valid_container_name() {
        for (name, expected) in [
            ("shop", "shop"),
            ("my_app.v2", "my-app-v2"),
            ("7Zip", "7zip"),
            ("_", "app"),
        ] {
            assert_eq!(label(name), expected);
        }
        assert_eq!(label(&"a".repeat(99)).len(), 63);
    }
}
