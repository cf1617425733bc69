//! image-syncer's rules: the images file, or images and auth in one.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{ConvertError, Draft, Known, anywhere, base, entry, host_of, read};

#[derive(Deserialize)]
struct Whole {
    #[serde(default)]
    auth: BTreeMap<String, Auth>,
    images: BTreeMap<String, Targets>,
}

#[derive(Deserialize)]
struct Auth {
    #[serde(default)]
    username: String,
    #[serde(default)]
    insecure: bool,
}

/// Where an image goes: one place, several, or the usual one.
#[derive(Default)]
struct Targets(Vec<String>);

impl<'de> Deserialize<'de> for Targets {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        match serde_yaml::Value::deserialize(deserializer)? {
            serde_yaml::Value::String(one) => Ok(Self(vec![one])),
            serde_yaml::Value::Null => Ok(Self(vec![String::new()])),
            serde_yaml::Value::Sequence(list) => {
                let texts = list.into_iter().map(|item| match item {
                    serde_yaml::Value::String(text) => Ok(text),
                    _ => Err(D::Error::custom("a target has to be text")),
                });
                texts.collect::<Result<_, _>>().map(Self)
            }
            _ => Err(D::Error::custom("a target is text or a list")),
        }
    }
}

pub(super) fn convert(
    draft: &mut Draft,
    text: &str,
    target: Option<&str>,
) -> Result<(), ConvertError> {
    let tree: BTreeMap<String, serde_yaml::Value> = read("image-syncer", text)?;
    let whole = match tree.contains_key("images") {
        true => read("image-syncer", text)?,
        false => Whole {
            auth: BTreeMap::new(),
            images: read("image-syncer", text)?,
        },
    };
    for (name, auth) in whole.auth {
        let host = match name.split_once('/') {
            Some((host, _)) => {
                draft.remark(format!(
                    "{name}: credentials hold for a whole registry; they were taken for {host}"
                ));
                host.to_owned()
            }
            None => name,
        };
        draft.registry(
            &host,
            Known {
                password: !auth.username.is_empty(),
                user: Some(variable_or_text(auth.username)).filter(|user| !user.is_empty()),
                tls: auth.insecure.then_some("disabled"),
                regcert: None,
            },
        );
    }
    for (source, targets) in whole.images {
        for to in targets.0 {
            job(draft, &source, &to, target)?;
        }
    }
    Ok(())
}

fn job(draft: &mut Draft, source: &str, to: &str, usual: Option<&str>) -> Result<(), ConvertError> {
    let (name, tags) = split_tag(source);
    let to = match (to, usual) {
        ("", Some(usual)) => format!("{}/{}", usual.trim_end_matches('/'), base(name)),
        ("", None) => return Err(ConvertError::NoTarget(source.to_owned())),
        (to, _) => to.to_owned(),
    };
    if host_of(&to) == "docker.io" && !to.starts_with("docker.io/") {
        draft.remark(format!("{to}: it has no host, so it is Docker Hub's"));
    }
    // A pattern is written `/…/` in place of the tag.
    let pattern = tags.and_then(|tags| tags.strip_prefix('/')?.strip_suffix('/'));
    match (tags, pattern) {
        (None, _) => draft.job(entry("repository", name.to_owned(), to)),
        (_, Some(pattern)) => {
            let mut job = entry("repository", name.to_owned(), to);
            job.tags.allow = vec![anywhere(pattern)];
            draft.job(job);
        }
        (Some(tags), None) => match tags.split(',').collect::<Vec<_>>().as_slice() {
            [tag] => {
                let to = match split_tag(&to).1 {
                    Some(_) => to,
                    None => format!("{to}:{tag}"),
                };
                draft.job(entry("image", format!("{name}:{tag}"), to));
            }
            tags => {
                let mut job = entry("repository", name.to_owned(), to);
                job.tags.allow = tags.iter().map(|tag| regex::escape(tag.trim())).collect();
                draft.job(job);
            }
        },
    }
    Ok(())
}

/// `host:5000/a:b` to `host:5000/a` and `b`. A pattern may have slashes.
fn split_tag(name: &str) -> (&str, Option<&str>) {
    if let Some(colon) = name.find(":/") {
        return (&name[..colon], Some(&name[colon + 1..]));
    }
    let path = name.rfind('/').map_or(0, |slash| slash + 1);
    match name[path..].split_once(':') {
        Some((last, tag)) => (&name[..path + last.len()], Some(tag)),
        None => (name, None),
    }
}

/// `${NAME}` and `$NAME` stand for variables.
fn variable_or_text(text: String) -> String {
    let name = text.strip_prefix('$').map(|name| {
        let inner = name
            .strip_prefix('{')
            .and_then(|name| name.strip_suffix('}'));
        inner.unwrap_or(name)
    });
    match name {
        Some(name) => format!("{{{{env \"{name}\"}}}}"),
        None => text,
    }
}
