//! Backups: the image behind a target tag is kept before the tag is moved.

use super::copy::Copier;
use super::job::Stores;
use super::step::image_name;
use super::transfer::{End, Shared};
use crate::oci::{Digest, Location, Reference, Repository, Tag, TagOrDigest};
use crate::store::{ErrorKind, Source, StoreError};
use crate::template::{Process, Surroundings, Template, Value};

/// Where overwritten images are kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Backup {
    /// Gives the place of each: a tag of the same repository, or with a `:` or
    /// `/` a full reference, as regsync tells them.
    pub template: Template,
    /// What `.Sync` and `.Step` stand for in it.
    pub entry: Value,
    /// What becomes of a tag whose backup failed.
    pub failure: BackupFailure,
}

impl Eq for Backup {}

/// What becomes of a tag whose backup failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BackupFailure {
    /// It stays as it is, and counts as failed.
    #[default]
    Stop,
    /// It is overwritten, and what was there is lost.
    Continue,
}

/// Where one image is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The store; the target's when there is none.
    pub location: Option<Location>,
    /// The repository; the target's when there is none.
    pub repository: Option<Repository>,
    /// The tag; without it the digest is all that names the image.
    pub tag: Option<Tag>,
}

impl Backup {
    /// Where the image behind `tag` of the target's repository is kept.
    ///
    /// # Errors
    ///
    /// Why the template gives no place, in one line.
    pub fn place(
        &self,
        location: &Location,
        repository: &Repository,
        tag: &Tag,
        surroundings: &dyn Surroundings,
    ) -> Result<Place, String> {
        let data = Value::map([
            ("Ref", Self::facts(location, repository, tag)),
            ("Sync", self.entry.clone()),
            ("Step", self.entry.clone()),
        ]);
        let rendered = self
            .template
            .render(&data, surroundings)
            .map_err(|error| error.to_string())?;
        parse(rendered.text.trim()).map_err(|reason| match rendered.secret {
            true => "what the template gives is no tag and no reference".to_owned(),
            false => reason,
        })
    }

    /// The fields of `.Ref`, as regsync's `ref.Ref` has them.
    pub fn facts(location: &Location, repository: &Repository, tag: &Tag) -> Value {
        let reference = Reference {
            location: location.clone(),
            repository: repository.clone(),
            tag: Some(tag.clone()),
            digest: None,
        };
        let (scheme, registry, repository, path) = match location {
            Location::Registry(host) => (
                "reg",
                host.to_string(),
                repository.to_string(),
                String::new(),
            ),
            Location::Layout(_) => {
                let bare = Reference {
                    tag: None,
                    ..reference.clone()
                };
                let path = bare.to_string();
                let path = path.trim_start_matches("ocidir://").to_owned();
                ("ocidir", String::new(), String::new(), path)
            }
        };
        Value::map([
            ("Scheme", scheme.to_owned()),
            ("Registry", registry),
            ("Repository", repository),
            ("Tag", tag.to_string()),
            ("Digest", String::new()),
            ("Path", path),
            ("Reference", reference.to_string()),
        ])
    }
}

fn parse(text: &str) -> Result<Place, String> {
    if !text.contains([':', '/']) {
        let tag = text.parse().map_err(|error| format!("{error}"))?;
        return Ok(Place {
            location: None,
            repository: None,
            tag: Some(tag),
        });
    }
    let reference: Reference = text.parse().map_err(|error| format!("{error}"))?;
    match reference.digest {
        Some(_) => Err(format!(
            "{text:?}: a backup is named by a tag, not by a digest"
        )),
        None => Ok(Place {
            tag: reference.tag_to_write(),
            location: Some(reference.location),
            repository: Some(reference.repository),
        }),
    }
}

/// Keeps the image `old` that the target's `tag` points at.
///
/// # Errors
///
/// Whatever the copy fails with.
pub(super) async fn keep(
    old: &Digest,
    target: (&Location, &Repository, &Tag),
    backup: &Backup,
    stores: &Stores,
    shared: Shared<'_>,
) -> Result<(), StoreError> {
    let (location, target, tag) = target;
    let place = backup
        .place(location, target, tag, &Process)
        .map_err(|reason| {
            let subject = image_name(stores.target.name(), target, &tag.clone().into());
            StoreError::new(ErrorKind::Refused, "name the backup of", subject).because(reason)
        })?;
    let store = match &place.location {
        Some(location) => stores.at(location)?,
        None => stores.target.clone(),
    };
    let repo = place.repository.as_ref().unwrap_or(target);
    if store.name() == stores.target.name() && repo == target && place.tag.as_ref() == Some(tag) {
        let subject = image_name(store.name(), repo, &tag.clone().into());
        let reason = "the backup would be the very tag that is overwritten";
        return Err(
            StoreError::new(ErrorKind::Refused, "back up", subject).because(reason.to_owned())
        );
    }
    if let Some(tag) = &place.tag {
        let kept = store.resolve(repo, &TagOrDigest::from(tag.clone())).await?;
        if kept.as_ref() == Some(old) {
            return Ok(());
        }
    }
    let from: End<'_, dyn Source> = End {
        store: &*stores.target,
        repo: target,
    };
    let copier = Copier::whole(
        from,
        End {
            store: &*store,
            repo,
        },
        shared,
    );
    let (fetched, _turn) = copier.begin(old).await?;
    copier.bring(&fetched).await?;
    copier.put(&fetched.manifest, place.tag.as_ref()).await?;
    shared.tally.backup(true);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(template: &str, location: &Location) -> Result<Place, String> {
        let backup = Backup {
            template: Template::parse(template).unwrap(),
            entry: Value::map([("Type", "image")]),
            failure: BackupFailure::Stop,
        };
        backup.place(
            location,
            &"team/app".parse().unwrap(),
            &"v1".parse().unwrap(),
            &Process,
        )
    }

    #[test]
    fn a_template_gives_a_tag_or_a_reference() {
        let registry = Location::Registry("r.test:5000".parse().unwrap());
        let text = |template: &str| {
            let place = place(template, &registry).unwrap();
            let location = place.location.map(|location| location.to_string());
            let repository = place.repository.map(|repository| repository.to_string());
            (location, repository, place.tag.map(|tag| tag.to_string()))
        };
        let own = |text: &str| Some(text.to_owned());
        assert_eq!(text("old-{{.Ref.Tag}}"), (None, None, own("old-v1")));
        assert_eq!(
            text("{{.Ref.Registry}}/backups/{{.Ref.Repository}}:{{.Ref.Tag}}-{{.Sync.Type}}"),
            (own("r.test:5000"), own("backups/team/app"), own("v1-image"))
        );
        assert_eq!(
            text("{{.Ref.Reference}}-{{.Step.Type}}"),
            (own("r.test:5000"), own("team/app"), own("v1-image"))
        );
        let layout = Location::Layout("/srv/mirror".into());
        let kept = place("ocidir://{{.Ref.Path}}-old:{{.Ref.Tag}}", &layout).unwrap();
        assert!(kept.location.is_some() && kept.tag.is_some(), "{kept:?}");
        for wrong in [
            "{{.Ref.Tga}}",
            "-",
            "a@sha256:x",
            "R.test/A:b",
            "{{env \"NOT_SET\"}}",
        ] {
            assert!(place(wrong, &registry).is_err(), "{wrong}");
        }
    }
}
