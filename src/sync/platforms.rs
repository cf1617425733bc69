//! Platforms: which part of an index is copied.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use super::job::{IndexForm, Platforms, Policy};
use super::step::image_name;
use super::transfer::End;
use crate::oci::{Descriptor, Digest, Manifest, with_children};
use crate::store::{ErrorKind, Source, StoreError};

/// How many bytes of manifests are remembered.
const REMEMBERED: usize = 32 << 20;

/// What is copied of what a tag points at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// What the source's tag points at.
    pub tagged: Digest,
    /// What is read from the source.
    pub from: Digest,
    /// What the target's tag points at when it is done.
    pub to: Digest,
}

impl Choice {
    /// All of it, as it is.
    pub fn whole(digest: Digest) -> Self {
        Self {
            tagged: digest.clone(),
            from: digest.clone(),
            to: digest,
        }
    }
}

/// Manifests of sources that planning had to read, for those who copy them and
/// for the next run. They are named by their digest, so that they never age.
#[derive(Debug, Default)]
pub struct Manifests(Mutex<Remembered>);

#[derive(Debug, Default)]
struct Remembered {
    known: HashMap<Digest, Manifest>,
    order: VecDeque<Digest>,
    bytes: usize,
}

impl Manifests {
    /// The manifest with this digest, if it is remembered.
    pub(super) fn get(&self, digest: &Digest) -> Option<Manifest> {
        let remembered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        remembered.known.get(digest).cloned()
    }

    fn insert(&self, manifest: &Manifest) {
        let mut remembered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let digest = manifest.digest();
        if remembered
            .known
            .insert(digest.clone(), manifest.clone())
            .is_some()
        {
            return;
        }
        remembered.bytes += manifest.bytes().len();
        remembered.order.push_back(digest.clone());
        while remembered.bytes > REMEMBERED {
            let Some(oldest) = remembered.order.pop_front() else {
                break;
            };
            if let Some(gone) = remembered.known.remove(&oldest) {
                remembered.bytes -= gone.bytes().len();
            }
        }
    }

    /// Reads a manifest, once.
    pub(super) async fn read(
        &self,
        source: End<'_, dyn Source>,
        digest: &Digest,
    ) -> Result<Manifest, StoreError> {
        if let Some(manifest) = self.get(digest) {
            return Ok(manifest);
        }
        let manifest = source.store.manifest(source.repo, digest).await?;
        self.insert(&manifest);
        Ok(manifest)
    }
}

/// Which part of `tagged` the policy wants. Reads it when that decides.
///
/// # Errors
///
/// When it has nothing for the platforms that are wanted.
pub(super) async fn choose(
    policy: &Policy,
    source: End<'_, dyn Source>,
    tagged: &Digest,
    manifests: &Manifests,
) -> Result<Choice, StoreError> {
    let choice = |from: &Digest, to: &Digest| Choice {
        tagged: tagged.clone(),
        from: from.clone(),
        to: to.clone(),
    };
    if policy.platforms.takes_tags_as_they_are() {
        return Ok(choice(tagged, tagged));
    }
    let index = manifests.read(source, tagged).await?;
    if !index.media_type().is_index() {
        // There is nothing to choose from.
        return Ok(choice(tagged, tagged));
    }
    let kept = kept(&policy.platforms, source, &index)?;
    Ok(match &policy.platforms {
        Platforms::One(_) => {
            let image = kept.first().map_or(tagged, |child| &child.digest);
            choice(image, image)
        }
        _ => choice(tagged, rewritten(&index, &kept, source)?.digest()),
    })
}

/// The index of just the children `kept`.
pub(super) fn rewritten(
    index: &Manifest,
    kept: &[Descriptor],
    source: End<'_, dyn Source>,
) -> Result<Manifest, StoreError> {
    let digests: HashSet<&Digest> = kept.iter().map(|child| &child.digest).collect();
    if digests.len() == index.children().len() {
        return Ok(index.clone());
    }
    let malformed = |cause: String| {
        let subject = image_name(
            source.store.name(),
            source.repo,
            &index.digest().clone().into(),
        );
        StoreError::new(ErrorKind::Malformed, "rewrite", subject).because(cause)
    };
    let bytes = with_children(index, |digest| digests.contains(digest))
        .ok_or_else(|| malformed("it has no list of manifests".to_owned()))?;
    Manifest::parse(bytes, Some(index.media_type())).map_err(|error| malformed(error.to_string()))
}

/// The children of an index that are wanted, in its order: those of the
/// platforms, and the attestations about them. Children that are for no
/// platform stay.
///
/// # Errors
///
/// When it has nothing for any of the platforms.
pub(super) fn kept(
    platforms: &Platforms,
    source: End<'_, dyn Source>,
    index: &Manifest,
) -> Result<Vec<Descriptor>, StoreError> {
    let children = index.children();
    let wanted = match platforms {
        Platforms::All => return Ok(children.to_vec()),
        Platforms::One(platform) => std::slice::from_ref(platform),
        Platforms::Some { platforms, .. } => platforms.as_slice(),
    };
    let fits = |child: &Descriptor| {
        let platform = child.platform.as_ref();
        about(child).is_none()
            && platform.is_some_and(|image| wanted.iter().any(|wanted| wanted.takes(image)))
    };
    let images: HashSet<&Digest> = children
        .iter()
        .filter(|child| fits(child))
        .map(|child| &child.digest)
        .collect();
    if images.is_empty() {
        let there: Vec<String> = children
            .iter()
            .filter(|child| about(child).is_none())
            .filter_map(|child| Some(child.platform.as_ref()?.to_string()))
            .collect();
        let wanted: Vec<String> = wanted.iter().map(ToString::to_string).collect();
        let subject = image_name(
            source.store.name(),
            source.repo,
            &index.digest().clone().into(),
        );
        let cause = format!(
            "it has nothing for {}, only for {}",
            wanted.join(", "),
            there.join(", ")
        );
        return Err(
            StoreError::new(ErrorKind::NotFound, "choose a platform of", subject).because(cause),
        );
    }
    if let Platforms::One(_) = platforms {
        let image = children.iter().find(|child| images.contains(&child.digest));
        return Ok(image.cloned().into_iter().collect());
    }
    let stays = |child: &&Descriptor| match (about(child), &child.platform) {
        (Some(image), _) => images.iter().any(|kept| kept.as_str() == image),
        (None, Some(_)) => images.contains(&child.digest),
        (None, None) => true,
    };
    Ok(children.iter().filter(stays).cloned().collect())
}

/// The digest of the image that a child is an attestation about, as BuildKit
/// writes it. Its own platform is `unknown/unknown`.
fn about(child: &Descriptor) -> Option<&str> {
    let kind = child.annotation("vnd.docker.reference.type")?;
    (kind == "attestation-manifest").then(|| {
        child
            .annotation("vnd.docker.reference.digest")
            .unwrap_or_default()
    })
}

impl Platforms {
    /// Whether the target's tag gets the digest of the source's.
    pub(super) fn takes_tags_as_they_are(&self) -> bool {
        match self {
            Self::All => true,
            Self::One(_) => false,
            Self::Some { index, .. } => *index == IndexForm::Sparse,
        }
    }
}
