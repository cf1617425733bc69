//! Files of other tools to configurations.
//!
//! What a tool keeps secret in its file comes from a variable in ours: what is
//! printed can be shown and checked in.

mod dregsy;
mod image_syncer;
mod skopeo;

use serde::de::DeserializeOwned;

use super::raw;

/// A tool whose files are understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// <https://github.com/xelalexv/dregsy>
    Dregsy,
    /// <https://github.com/AliyunContainerService/image-syncer>
    ImageSyncer,
    /// <https://github.com/containers/skopeo/blob/main/docs/skopeo-sync.1.md>
    Skopeo,
}

/// What a file comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Converted {
    /// The configuration, in YAML.
    pub text: String,
    /// What has no counterpart, and what is left to do: a line each.
    pub remarks: Vec<String>,
}

/// A file that cannot be converted.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// The file has another form.
    #[error("not a file of {tool}: {reason}")]
    Form {
        /// Whose it should be.
        tool: &'static str,
        /// What it has instead, and where.
        reason: String,
    },
    /// It does not say where images go.
    #[error("{0} does not say where images go: name it with --target HOST[/PATH]")]
    NoTarget(String),
}

/// Converts `text`, a file of `tool`. Images whose target it does not name go
/// below `target`, `HOST[/PATH]`.
///
/// # Errors
///
/// When the file has another form, or needs a `target`.
pub fn convert(tool: Tool, text: &str, target: Option<&str>) -> Result<Converted, ConvertError> {
    let mut draft = Draft::default();
    match tool {
        Tool::Dregsy => dregsy::convert(&mut draft, text)?,
        Tool::ImageSyncer => image_syncer::convert(&mut draft, text, target)?,
        Tool::Skopeo => skopeo::convert(&mut draft, text, target)?,
    }
    Ok(draft.finished())
}

/// Reads another tool's file. Its errors quote no values, some of which are
/// secrets.
fn read<T: DeserializeOwned>(tool: &'static str, text: &str) -> Result<T, ConvertError> {
    serde_yaml::from_str(text).map_err(|error| {
        let text = error.to_string();
        // The library quotes texts that are something else than was expected.
        let reason = match (text.find('"'), text.rfind('"')) {
            (Some(first), Some(last)) if first < last => {
                format!("{}…{}", &text[..=first], &text[last..])
            }
            _ => text,
        };
        ConvertError::Form { tool, reason }
    })
}

/// The configuration so far.
#[derive(Debug, Default)]
struct Draft {
    config: raw::Config,
    remarks: Vec<String>,
}

/// What another tool's file says of a registry.
#[derive(Debug, Default)]
struct Known {
    user: Option<String>,
    password: bool,
    tls: Option<&'static str>,
    regcert: Option<String>,
}

impl Draft {
    fn remark(&mut self, text: String) {
        if !self.remarks.contains(&text) {
            self.remarks.push(text);
        }
    }

    /// Notes how a registry is reached.
    fn registry(&mut self, name: &str, known: Known) {
        let mut entry = raw::Creds {
            registry: Some(name.to_owned()),
            user: known.user,
            tls: known.tls.map(str::to_owned),
            regcert: known.regcert,
            ..raw::Creds::default()
        };
        if known.password {
            let variable = variable(name);
            entry.pass = Some(format!("{{{{env \"{variable}\"}}}}"));
            self.remark(format!("set {variable} to the password for {name}"));
        }
        let plain = raw::Creds {
            registry: entry.registry.clone(),
            ..raw::Creds::default()
        };
        let creds = &mut self.config.creds;
        match creds
            .iter_mut()
            .find(|other| other.registry == entry.registry)
        {
            Some(other) if *other == entry || entry == plain => {}
            Some(other) if *other == plain => *other = entry,
            Some(_) => self.remark(format!(
                "{name} is reached in several ways: one entry of creds is all there is for a \
                 registry, and the first was kept"
            )),
            None if entry == plain => {}
            None => creds.push(entry),
        }
    }

    fn job(&mut self, entry: raw::Sync) {
        self.config.sync.push(entry);
    }

    fn finished(mut self) -> Converted {
        self.config.version = Some(1);
        let text = serde_yaml::to_string(&self.config).expect("maps with text for keys");
        Converted {
            text,
            remarks: self.remarks,
        }
    }
}

/// A job of this kind, so far without a choice of tags.
fn entry(kind: &str, source: String, target: String) -> raw::Sync {
    raw::Sync {
        source: Some(source),
        target: Some(target),
        kind: Some(kind.to_owned()),
        ..raw::Sync::default()
    }
}

/// The variable that holds the password for a registry: `QUAY_IO_PASS`.
fn variable(registry: &str) -> String {
    let upper = registry.to_ascii_uppercase();
    let name: String = upper
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect();
    match name.starts_with(|c: char| c.is_ascii_digit()) {
        true => format!("REGISTRY_{name}_PASS"),
        false => format!("{name}_PASS"),
    }
}

/// A pattern that is found anywhere in a name, as one for the whole name.
fn anywhere(pattern: &str) -> String {
    let inner = pattern
        .strip_prefix('^')
        .and_then(|rest| rest.strip_suffix('$'));
    match inner {
        Some(inner) if !inner.contains('|') && !inner.ends_with('\\') => inner.to_owned(),
        _ => format!(".*(?:{pattern}).*"),
    }
}

/// Splits `host/repo` where the host ends: Docker Hub's short names have none.
fn host_of(name: &str) -> &str {
    match name.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host,
        _ => "docker.io",
    }
}

/// The last part of a repository's name.
fn base(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}
