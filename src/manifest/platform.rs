//! Where an image runs, and whether that is where it was asked for.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

/// Where an image runs: operating system, architecture and its variant.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Platform {
    /// `linux`, `windows`, …
    pub os: String,
    /// `amd64`, `arm64`, …
    pub architecture: String,
    /// `v7`, `v8`, …
    #[serde(default)]
    pub variant: Option<String>,
}

impl fmt::Display for Platform {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(formatter, "/{variant}"),
            None => Ok(()),
        }
    }
}

/// A text that names no platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlatformError;

impl FromStr for Platform {
    type Err = PlatformError;

    /// Reads `os/architecture` or `os/architecture/variant`.
    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let parts: Vec<_> = text.split('/').collect();
        let known = |part: &&str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
        };
        if !parts.iter().all(known) {
            return Err(PlatformError);
        }
        let lower = |part: &str| part.to_ascii_lowercase();
        match parts.as_slice() {
            [os, architecture] => Ok(Self {
                os: lower(os),
                architecture: lower(architecture),
                variant: None,
            }),
            [os, architecture, variant] => Ok(Self {
                os: lower(os),
                architecture: lower(architecture),
                variant: Some(lower(variant)),
            }),
            _ => Err(PlatformError),
        }
    }
}

impl Platform {
    /// True for what can run somewhere: attestations are for `unknown/unknown`
    /// (<https://docs.docker.com/build/metadata/attestations/attestation-storage/>).
    pub fn is_known(&self) -> bool {
        !self.os.is_empty() && self.os != "unknown"
    }

    /// True when an image for `self` is one that was asked for as `wanted`: a variant that is not
    /// asked for does not matter, and `arm64` is `arm64/v8` (containerd, `platforms.Normalize`).
    pub fn fits(&self, wanted: &Self) -> bool {
        let variant = |platform: &Self| match (&*platform.architecture, &platform.variant) {
            ("arm64", Some(variant)) if variant == "v8" => None,
            (_, variant) => variant.clone(),
        };
        self.os == wanted.os
            && self.architecture == wanted.architecture
            && (variant(wanted).is_none() && wanted.architecture != "arm64"
                || variant(wanted) == variant(self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_platform_fits_whoever_asks_for_no_variant_and_arm64_is_v8() {
        let fits = |has: &str, wanted: &str| {
            let has: Platform = has.parse().unwrap();
            has.fits(&wanted.parse().unwrap())
        };
        for (has, wanted) in [
            ("linux/amd64", "linux/amd64"),
            ("linux/arm/v7", "linux/arm"),
            ("linux/arm64", "linux/arm64/v8"),
            ("linux/arm64/v8", "linux/arm64"),
        ] {
            assert!(fits(has, wanted), "{has} for {wanted}");
        }
        for (has, wanted) in [
            ("linux/amd64", "windows/amd64"),
            ("linux/arm/v6", "linux/arm/v7"),
            ("linux/arm64/v9", "linux/arm64"),
        ] {
            assert!(!fits(has, wanted), "{has} for {wanted}");
        }
        for bad in ["linux", "", "linux/", "a/b/c/d", "li nux/amd64"] {
            assert_eq!(bad.parse::<Platform>(), Err(PlatformError), "{bad}");
        }
    }
}
