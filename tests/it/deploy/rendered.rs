//! What `kubectl kustomize` makes of an overlay.

use std::path::Path;
use std::process::Command;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{folder, installed};
use crate::support::program::printed;

/// The objects of an overlay.
pub(super) struct Rendered {
    pub(super) objects: Vec<Value>,
}

/// What is rendered, and whether with every component that it names in a comment.
const OVERLAYS: [(&str, bool); 4] = [
    ("singleton", false),
    ("singleton", true),
    ("cronjob", false),
    ("cronjob", true),
];

/// Each overlay, as it is and with all that it offers. None where there is no kubectl.
pub(super) fn every() -> Vec<(String, Rendered)> {
    let render = |(overlay, all): (&str, bool)| {
        let name = format!("{overlay}{}", if all { " with everything" } else { "" });
        let rendered = match all {
            true => Rendered::with_everything(overlay),
            false => Rendered::overlay(overlay),
        };
        Some((name, rendered?))
    };
    OVERLAYS.into_iter().filter_map(render).collect()
}

impl Rendered {
    /// An overlay as it is.
    pub(super) fn overlay(name: &str) -> Option<Self> {
        Self::of(&folder().join("overlays").join(name))
    }

    /// An overlay with the components that its comments offer.
    pub(super) fn with_everything(name: &str) -> Option<Self> {
        Self::altered(name, |text| {
            let all = text.replace("  # - ../../components/", "  - ../../components/");
            assert_ne!(all, text, "{name} offers nothing more");
            all
        })
    }

    /// An overlay whose kustomization is another, perhaps a new one; a `mirror.yml` is
    /// beside it.
    pub(super) fn altered(name: &str, change: impl Fn(String) -> String) -> Option<Self> {
        let copy = tempfile::tempdir().expect("a directory");
        // What it names it names by paths from where it is.
        printed(Command::new("cp").arg("-r").arg(folder()).arg(copy.path()));
        let overlay = copy.path().join("deploy/overlays").join(name);
        std::fs::create_dir_all(&overlay).expect("a directory");
        let file = overlay.join("kustomization.yaml");
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        std::fs::write(&file, change(text)).expect("a file");
        std::fs::write(overlay.join("mirror.yml"), "sync: []\n").expect("a file");
        Self::of(&overlay)
    }

    /// What kubectl makes of a folder; nothing where there is none.
    pub(super) fn of(folder: &Path) -> Option<Self> {
        if !installed(&["kubectl"]) {
            return None;
        }
        let text = printed(Command::new("kubectl").arg("kustomize").arg(folder));
        let text = String::from_utf8(text).expect("text");
        let objects = documents(&text);
        assert!(!objects.is_empty(), "{}", folder.display());
        Some(Self { objects })
    }

    /// The objects of a kind, as values of Kubernetes' type for it.
    pub(super) fn all<T: DeserializeOwned>(&self, kind: &str) -> Vec<T> {
        let ours = self.objects.iter().filter(|object| object["kind"] == kind);
        ours.map(typed).collect()
    }

    /// The only object of a kind.
    pub(super) fn only<T: DeserializeOwned>(&self, kind: &str) -> T {
        let mut all = self.all(kind);
        assert_eq!(all.len(), 1, "{kind}");
        all.remove(0)
    }

    /// Whether there is one of a kind.
    pub(super) fn has(&self, kind: &str) -> bool {
        self.objects.iter().any(|object| object["kind"] == kind)
    }
}

/// The documents of a YAML text.
pub(super) fn documents(text: &str) -> Vec<Value> {
    let documents = serde_yaml::Deserializer::from_str(text);
    documents
        .map(|document| serde::Deserialize::deserialize(document).expect("YAML"))
        .collect()
}

/// An object as a value of a type. A field that the type does not know, which
/// Kubernetes would drop or refuse, is an error.
pub(super) fn typed<T: DeserializeOwned>(object: &Value) -> T {
    let mut unknown = Vec::new();
    let read = serde_ignored::deserialize(object, |path| unknown.push(path.to_string()));
    let read = read.unwrap_or_else(|error| panic!("{error}: {object:#}"));
    assert_eq!(unknown, Vec::<String>::new(), "{object:#}");
    read
}
