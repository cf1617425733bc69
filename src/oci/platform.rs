//! Platforms: what an image of an index runs on.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The platform of an image. Source: OCI image-spec 1.1,
/// `image-index.md#image-index-property-descriptions`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// CPU architecture, in Go's spelling: `amd64`, `arm64`.
    pub architecture: String,
    /// Operating system, in Go's spelling: `linux`, `windows`.
    pub os: String,
    /// Version of the CPU: `v7`, `v8`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// Version of the operating system, which matters on Windows.
    #[serde(
        rename = "os.version",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub os_version: Option<String>,
    /// Features of the operating system that the image needs.
    #[serde(
        rename = "os.features",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub os_features: Option<Vec<String>>,
}

impl Platform {
    /// Whether an image for `image` is what this asks for: the same system, CPU
    /// and variant, whatever they are called, and the same version of the system
    /// if this names one.
    pub fn takes(&self, image: &Self) -> bool {
        let version = |wanted: &String| image.os_version.as_ref() == Some(wanted);
        self.names() == image.names() && self.os_version.as_ref().is_none_or(version)
    }

    /// System, CPU and variant as Go names them. Some have two names, and some
    /// variants go without saying.
    fn names(&self) -> (String, &str, &str) {
        let os = match self.os.to_lowercase().as_str() {
            "macos" => "darwin".to_owned(),
            os => os.to_owned(),
        };
        let given = self.variant.as_deref().unwrap_or_default();
        let (architecture, variant) = match (self.architecture.as_str(), given) {
            ("x86_64" | "x86-64" | "amd64", "" | "v1") => ("amd64", ""),
            ("x86_64" | "x86-64", variant) => ("amd64", variant),
            ("aarch64" | "arm64", "" | "8" | "v8") => ("arm64", ""),
            ("aarch64", variant) => ("arm64", variant),
            ("armhf", "") | ("arm", "" | "7") => ("arm", "v7"),
            ("armel", "") | ("arm", "6") => ("arm", "v6"),
            ("arm", "5") => ("arm", "v5"),
            ("i386", variant) => ("386", variant),
            (architecture, variant) => (architecture, variant),
        };
        (os, architecture, variant)
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if let Some(variant) = &self.variant {
            write!(f, "/{variant}")?;
        }
        match &self.os_version {
            Some(version) => write!(f, ",osver={version}"),
            None => Ok(()),
        }
    }
}

/// Text that names no platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no platform: expected OS/ARCHITECTURE or OS/ARCHITECTURE/VARIANT, like linux/arm64"
)]
pub struct PlatformError(String);

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let word = |part: &&str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        };
        let (name, version) = match text.split_once(",osver=") {
            Some((name, version)) => (name, Some(version)),
            None => (text, None),
        };
        let parts: Vec<&str> = name.split('/').collect();
        match parts.as_slice() {
            [os, architecture, variant @ ..]
                if variant.len() <= 1 && parts.iter().chain(&version).all(word) =>
            {
                Ok(Self {
                    architecture: (*architecture).to_owned(),
                    os: (*os).to_owned(),
                    variant: variant.first().map(|&variant| variant.to_owned()),
                    os_version: version.map(str::to_owned),
                    os_features: None,
                })
            }
            _ => Err(PlatformError(super::digest::excerpt(text))),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn platforms_parse_and_print_alike() {
        for text in [
            "linux/amd64",
            "linux/arm/v7",
            "windows/amd64",
            "windows/amd64,osver=10.0.17763.1",
        ] {
            assert_eq!(text.parse::<Platform>().unwrap().to_string(), text);
        }
        for text in ["", "linux", "linux/", "/amd64", "a/b/c/d", "linux/amd 64"] {
            assert!(text.parse::<Platform>().is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn h4_a_platform_is_known_by_all_its_names() {
        let platform = |text: &str| text.parse::<Platform>().unwrap();
        for (wanted, image, takes) in [
            ("linux/amd64", "linux/amd64", true),
            ("linux/x86_64", "linux/amd64/v1", true),
            ("linux/amd64", "linux/amd64/v3", false),
            ("linux/arm64", "linux/arm64/v8", true),
            ("linux/aarch64", "linux/arm64", true),
            ("linux/arm", "linux/arm/v7", true),
            ("linux/arm/v7", "linux/arm/v6", false),
            ("linux/arm64", "linux/arm/v8", false),
            ("linux/amd64", "windows/amd64", false),
            ("windows/amd64", "windows/amd64,osver=10.0.17763.1", true),
            (
                "windows/amd64,osver=10.0.2",
                "windows/amd64,osver=10.0.1",
                false,
            ),
            ("unknown/unknown", "unknown/unknown", true),
        ] {
            assert_eq!(
                platform(wanted).takes(&platform(image)),
                takes,
                "{wanted} {image}"
            );
        }
    }

    #[test]
    fn windows_versions_survive() {
        let json = r#"{"architecture":"amd64","os":"windows","os.version":"10.0.17763.1"}"#;
        let platform: Platform = serde_json::from_str(json).unwrap();
        assert_eq!(platform.os_version.as_deref(), Some("10.0.17763.1"));
        assert_eq!(serde_json::to_string(&platform).unwrap(), json);
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in any::<String>()) {
            let _ = text.parse::<Platform>();
        }
    }
}
