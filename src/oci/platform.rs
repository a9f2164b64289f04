//! Platforms, and the selection of images by platform.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

/// The platform of an image: operating system, architecture and variant, and on Windows the version
/// of the operating system.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Platform {
    /// `linux`, `windows`, …
    #[serde(default)]
    pub os: String,
    /// `amd64`, `arm64`, …
    #[serde(default)]
    pub architecture: String,
    /// `v7`, `v8`, …
    #[serde(default)]
    pub variant: Option<String>,
    /// `10.0.17763.6054`, …
    #[serde(default, rename = "os.version")]
    pub os_version: Option<String>,
}

impl fmt::Display for Platform {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.os, self.architecture)?;
        if let Some(variant) = present(&self.variant) {
            write!(formatter, "/{variant}")?;
        }
        match present(&self.os_version) {
            Some(version) => write!(formatter, ":{version}"),
            None => Ok(()),
        }
    }
}

/// Returns the text, or `None` if it is empty.
fn present(part: &Option<String>) -> Option<&str> {
    part.as_deref().filter(|part| !part.is_empty())
}

/// A text that is not a platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlatformError;

impl FromStr for Platform {
    type Err = PlatformError;

    /// Parses `os/architecture[/variant][:os.version]`, with the aliases that Docker accepts.
    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let (text, os_version) = match text.split_once(':') {
            Some((text, version)) => (text, Some(version)),
            None => (text, None),
        };
        let parts: Vec<_> = text.split('/').collect();
        let is_word = |part: &&str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
        };
        if !parts.iter().chain(&os_version).all(is_word) {
            return Err(PlatformError);
        }
        let (os, architecture, variant) = match parts.as_slice() {
            [os, architecture] => (os, architecture, ""),
            [os, architecture, variant] => (os, architecture, *variant),
            _ => return Err(PlatformError),
        };
        let os = match os.to_ascii_lowercase().as_str() {
            "macos" => "darwin".to_owned(),
            other => other.to_owned(),
        };
        let architecture = architecture.to_ascii_lowercase();
        let (architecture, implied) = known_as(&architecture);
        let variant = match variant {
            "" => implied.to_owned(),
            number if number.bytes().all(|b| b.is_ascii_digit()) => format!("v{number}"),
            other => other.to_ascii_lowercase(),
        };
        Ok(Self {
            os,
            architecture: architecture.to_owned(),
            variant: Some(variant).filter(|variant| !variant.is_empty()),
            os_version: os_version.map(str::to_owned),
        })
    }
}

/// Returns Go's name of an architecture, and the variant that an alias implies.
/// <https://github.com/containerd/platforms/blob/main/database.go>
fn known_as(architecture: &str) -> (&str, &'static str) {
    match architecture {
        "i386" | "i486" | "i586" | "i686" | "x86" => ("386", ""),
        "x86_64" | "x86-64" => ("amd64", ""),
        "aarch64" => ("arm64", ""),
        "armhf" => ("arm", "v7"),
        "armel" => ("arm", "v6"),
        other => (other, ""),
    }
}

impl Platform {
    /// True for a real platform. Attestations have `unknown/unknown`
    /// (<https://docs.docker.com/build/metadata/attestations/attestation-storage/>).
    pub fn is_known(&self) -> bool {
        !self.os.is_empty() && self.os != "unknown"
    }

    /// True if an image of this platform may be selected by `wanted`. Without a variant in `wanted`
    /// any variant fits, and `arm64` is `arm64/v8`.
    pub fn fits(&self, wanted: &Self) -> bool {
        self.distance(wanted).is_some()
    }

    /// Selects the platforms that `wanted` refers to: the exact one, or else the one whose variant
    /// is closest to the baseline. Several are returned if they differ only in the version of their
    /// operating system.
    pub fn meant<'a>(platforms: &'a [Self], wanted: &Self) -> Vec<&'a Self> {
        let distances = platforms.iter().map(|platform| platform.distance(wanted));
        let least = distances.clone().flatten().min();
        let pairs = platforms.iter().zip(distances);
        let nearest = pairs.filter(|(_, distance)| distance.is_some() && *distance == least);
        let nearest: Vec<_> = nearest.map(|(platform, _)| platform).collect();
        let is_exact = |platform: &&Self| platform.os_version == wanted.os_version;
        match nearest.iter().copied().find(is_exact) {
            Some(exact) => vec![exact],
            None => nearest,
        }
    }

    /// The distance of the variant from the wanted one. `None` if the platform differs.
    fn distance(&self, wanted: &Self) -> Option<u32> {
        let is_same = self.os == wanted.os
            && self.architecture == wanted.architecture
            && self.has_version(present(&wanted.os_version));
        if !is_same {
            return None;
        }
        match (self.normal_variant(), wanted.normal_variant()) {
            (own, asked) if own == asked => Some(0),
            // A v9 image does not run on typical arm64 machines.
            (Some(own), None) if wanted.variant.is_none() && wanted.architecture != "arm64" => {
                let baseline = if wanted.architecture == "arm" { 7 } else { 1 };
                let number: Option<u32> = own.trim_start_matches('v').parse().ok();
                Some(number.map_or(u32::MAX, |number| number.abs_diff(baseline)))
            }
            _ => None,
        }
    }

    /// The variant. `None` for the baseline: `amd64/v1`, `arm64/v8` and `arm/v7` are the defaults
    /// (containerd, `platforms.Normalize`).
    fn normal_variant(&self) -> Option<&str> {
        match (&*self.architecture, present(&self.variant)) {
            ("arm64", Some("v8" | "8")) | ("amd64", Some("v1")) | ("arm", Some("v7" | "7")) => None,
            (_, variant) => variant,
        }
    }

    /// True if the version of the operating system is the wanted one or starts with its components.
    fn has_version(&self, wanted: Option<&str>) -> bool {
        let Some(wanted) = wanted else {
            return true;
        };
        let rest = present(&self.os_version).and_then(|own| own.strip_prefix(wanted));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }
}

/// The platforms of an index that are pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Platforms {
    /// All of them.
    All,
    /// Only these.
    Only(Vec<Platform>),
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn platform(text: &str) -> Platform {
        text.parse().unwrap()
    }

    #[test]
    fn missing_variant_matches_any_and_arm64_is_v8() {
        for (has, wanted) in [
            ("linux/amd64", "linux/amd64"),
            ("linux/arm/v7", "linux/arm"),
            ("linux/arm64", "linux/arm64/v8"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/amd64", "linux/amd64/v1"),
            ("windows/amd64:10.0.17763.6054", "windows/amd64"),
            ("windows/amd64:10.0.17763.6054", "windows/amd64:10.0.17763"),
        ] {
            assert!(platform(has).fits(&platform(wanted)), "{has} for {wanted}");
        }
        for (has, wanted) in [
            ("linux/amd64", "windows/amd64"),
            ("linux/arm/v6", "linux/arm/v7"),
            ("linux/arm64/v9", "linux/arm64"),
            ("linux/amd64", "linux/amd64/v3"),
            ("windows/amd64:10.0.17763.6054", "windows/amd64:10.0.1776"),
            ("windows/amd64", "windows/amd64:10.0.17763"),
        ] {
            assert!(!platform(has).fits(&platform(wanted)), "{has} for {wanted}");
        }
        for bad in [
            "linux",
            "",
            "linux/",
            "a/b/c/d",
            "li nux/amd64",
            "linux/amd64:",
            "windows/amd64:10:0",
        ] {
            assert_eq!(bad.parse::<Platform>(), Err(PlatformError), "{bad}");
        }
    }

    #[test]
    fn docker_aliases_are_understood() {
        for (text, normal) in [
            ("linux/x86_64", "linux/amd64"),
            ("Linux/AARCH64", "linux/arm64"),
            ("linux/arm/7", "linux/arm/v7"),
            ("linux/armhf", "linux/arm/v7"),
            ("linux/armel", "linux/arm/v6"),
            ("linux/i386", "linux/386"),
            ("macos/arm64", "darwin/arm64"),
            ("linux/amd64/3", "linux/amd64/v3"),
        ] {
            assert_eq!(platform(text).to_string(), normal);
        }
    }

    #[test]
    fn one_platform_prefers_its_variant_else_the_next() {
        let meant = |has: &[&str], wanted: &str| {
            let has: Vec<_> = has.iter().map(|text| platform(text)).collect();
            let meant = Platform::meant(&has, &platform(wanted));
            let meant: Vec<_> = meant.iter().map(ToString::to_string).collect();
            meant.join(" ")
        };
        let amd = ["linux/amd64/v3", "linux/amd64", "linux/amd64/v2"];
        assert_eq!(meant(&amd, "linux/amd64"), "linux/amd64");
        assert_eq!(meant(&amd, "linux/amd64/v3"), "linux/amd64/v3");
        assert_eq!(meant(&amd, "linux/amd64/v4"), "");
        assert_eq!(meant(&amd[..1], "linux/amd64"), "linux/amd64/v3");
        assert_eq!(
            meant(&["linux/amd64/v3", "linux/amd64/v2"], "linux/amd64"),
            "linux/amd64/v2"
        );
        let arm = ["linux/arm/v5", "linux/arm/v6", "linux/arm/v7"];
        assert_eq!(meant(&arm, "linux/arm"), "linux/arm/v7");
        assert_eq!(meant(&arm[..2], "linux/arm"), "linux/arm/v6");
        assert_eq!(
            meant(&["linux/arm64/v8", "linux/arm64/v9"], "linux/arm64"),
            "linux/arm64/v8"
        );
        let windows = [
            "windows/amd64:10.0.17763.6054",
            "windows/amd64:10.0.20348.2582",
        ];
        assert_eq!(meant(&windows, "windows/amd64"), windows.join(" "));
        assert_eq!(meant(&windows, "windows/amd64:10.0.20348"), windows[1]);
        let plain = [windows[0], "windows/amd64"];
        assert_eq!(meant(&plain, "windows/amd64"), "windows/amd64");
    }

    proptest! {
        #[test]
        fn platform_reads_back(
            text in "(linux|windows)/(amd64|arm|arm64)(/v[1-9])?(:10\\.0\\.[0-9]{1,5})?",
        ) {
            prop_assert_eq!(platform(&text).to_string(), text);
        }
    }
}
