//! A pod as its template describes it, laid out on disk as the kubelet would.

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use chrono::DateTime;
use chrono_tz::Tz;
use k8s_openapi::api::core::v1::{Container, PodSpec, Volume};
use regmirror::schedule::Schedule;
use tempfile::TempDir;

/// The namespace that the pod is in.
pub(super) const NAMESPACE: &str = "regmirror";

/// A pod, with a folder on disk for each of its volumes.
pub(super) struct Pod {
    pub(super) spec: PodSpec,
    root: TempDir,
}

/// A directory in the container.
pub(super) struct Mount {
    /// Where it is in the container.
    pub(super) path: String,
    /// Where it is on disk.
    pub(super) folder: PathBuf,
    pub(super) read_only: bool,
}

impl Pod {
    /// A pod in a cluster that has these ConfigMaps and Secrets, by their names: their
    /// keys with what they hold.
    pub(super) fn new(spec: PodSpec, held: &[(&str, &[(&str, &str)])]) -> Self {
        let pod = Self {
            spec,
            root: tempfile::tempdir().expect("a directory"),
        };
        // Whoever the container runs as.
        std::fs::set_permissions(pod.root.path(), PermissionsExt::from_mode(0o755))
            .expect("a directory");
        for volume in pod.spec.volumes.iter().flatten() {
            let folder = pod.folder(&volume.name);
            std::fs::create_dir(&folder).expect("a directory");
            match source(volume) {
                Some((name, optional)) => {
                    let found = held.iter().find(|(known, _)| *known == name);
                    match found {
                        Some((_, keys)) => pod.put(volume, keys),
                        None => assert!(optional, "it would wait for {name} for ever"),
                    }
                }
                // Anybody may write to it, as `fsGroup` would have it for its group.
                None => std::fs::set_permissions(&folder, PermissionsExt::from_mode(0o777))
                    .expect("a directory"),
            }
        }
        pod
    }

    /// Where a volume is on disk.
    pub(super) fn folder(&self, volume: &str) -> PathBuf {
        self.root.path().join(volume)
    }

    /// Replaces what is in the ConfigMap or Secret `name`, as the kubelet does: in one
    /// step, by a link that leads elsewhere.
    pub(super) fn update(&self, name: &str, keys: &[(&str, &str)]) {
        let mut volumes = self.spec.volumes.iter().flatten();
        let volume = volumes.find(|volume| source(volume).is_some_and(|(known, _)| known == name));
        self.put(volume.expect("a volume of it"), keys);
    }

    fn put(&self, volume: &Volume, keys: &[(&str, &str)]) {
        let folder = self.folder(&volume.name);
        let count = std::fs::read_dir(&folder).expect("a directory").count();
        let version = format!("..version_{count}");
        std::fs::create_dir(folder.join(&version)).expect("a directory");
        let items = volume
            .config_map
            .as_ref()
            .and_then(|map| map.items.as_ref());
        let items = items.or(volume.secret.as_ref().and_then(|map| map.items.as_ref()));
        for (key, text) in keys {
            let path = match items {
                None => Some(*key),
                Some(items) => items
                    .iter()
                    .find_map(|item| (item.key == *key).then_some(item.path.as_str())),
            };
            let Some(path) = path else { continue };
            std::fs::write(folder.join(&version).join(path), text).expect("a file");
            let link = folder.join(path);
            if !link.is_symlink() {
                symlink(Path::new("..data").join(path), link).expect("a link");
            }
        }
        symlink(&version, folder.join("..data_tmp")).expect("a link");
        std::fs::rename(folder.join("..data_tmp"), folder.join("..data")).expect("a link");
    }

    /// Its only container.
    pub(super) fn container(&self) -> &Container {
        assert_eq!(self.spec.containers.len(), 1);
        &self.spec.containers[0]
    }

    /// The directories of its container.
    pub(super) fn mounts(&self) -> Vec<Mount> {
        let mounts = self.container().volume_mounts.iter().flatten();
        mounts
            .map(|mount| Mount {
                path: mount.mount_path.clone(),
                folder: self.folder(&mount.name),
                read_only: mount.read_only.unwrap_or_default(),
            })
            .collect()
    }

    /// Its container's variables.
    pub(super) fn variables(&self) -> BTreeMap<String, String> {
        let variables = self.container().env.iter().flatten();
        variables
            .map(|variable| {
                let from = variable.value_from.as_ref();
                let field =
                    from.and_then(|from| Some(from.field_ref.as_ref()?.field_path.as_str()));
                let value = match field {
                    Some("metadata.namespace") => NAMESPACE.to_owned(),
                    Some(other) => panic!("{other} is not known here"),
                    None => variable.value.clone().expect("a value"),
                };
                (variable.name.clone(), value)
            })
            .collect()
    }

    /// Its container's arguments, with what Kubernetes puts for variables.
    pub(super) fn arguments(&self) -> Vec<String> {
        let variables = self.variables();
        let arguments = self.container().args.iter().flatten();
        arguments
            .map(|argument| {
                variables
                    .iter()
                    .fold(argument.clone(), |text, (name, value)| {
                        text.replace(&format!("$({name})"), value)
                    })
            })
            .collect()
    }

    /// The value of one of its arguments, `--name=value`.
    pub(super) fn option(&self, name: &str) -> Option<String> {
        let arguments = self.arguments();
        let mut values = arguments.iter().filter_map(|argument| {
            let (known, value) = argument.strip_prefix("--")?.split_once('=')?;
            (known == name).then(|| value.to_owned())
        });
        values.next()
    }

    /// The value of one of its arguments that is a duration, in seconds.
    pub(super) fn seconds(&self, name: &str) -> i64 {
        let text = self.option(name).unwrap_or_else(|| panic!("no --{name}"));
        let schedule = Schedule::parse(&format!("@every {text}")).expect("a duration");
        let next = schedule
            .next(DateTime::UNIX_EPOCH, Tz::UTC)
            .expect("a time");
        next.timestamp()
    }

    /// A path of the container as it is on disk here, where `text` holds one.
    pub(super) fn outside(&self, text: &str) -> String {
        let (option, path) = match text.split_once('=') {
            Some((option, path)) => (format!("{option}="), path),
            None => (String::new(), text),
        };
        for mount in self.mounts() {
            let rest = path.strip_prefix(&mount.path);
            if let Some(rest) = rest.filter(|rest| rest.is_empty() || rest.starts_with('/')) {
                return format!("{option}{}{rest}", mount.folder.display());
            }
        }
        text.to_owned()
    }
}

/// The ConfigMap or Secret that a volume shows, and whether it may be missing.
pub(super) fn source(volume: &Volume) -> Option<(String, bool)> {
    if let Some(map) = &volume.config_map {
        return Some((map.name.clone(), map.optional.unwrap_or_default()));
    }
    let secret = volume.secret.as_ref()?;
    let name = secret.secret_name.clone().expect("a name");
    Some((name, secret.optional.unwrap_or_default()))
}
