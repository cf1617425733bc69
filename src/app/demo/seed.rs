//! What the demo's source registry holds: a few images as teams have them.

use crate::oci::{Descriptor, Digest, Draft, Manifest, MediaType, Platform, Repository, Tag};
use crate::store::{Blob, MemoryStore, Sink, Source, StoreError};

const PLATFORMS: [&str; 2] = ["linux/amd64", "linux/arm64"];

/// Sizes of layers, in bytes.
const BASE: usize = 3 << 20;
const RUNTIME: usize = 2 << 20;
const APP: usize = 400 << 10;

/// What the source registry was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Seeded {
    /// Repositories.
    pub repositories: u64,
    /// Tags.
    pub tags: u64,
    /// Manifests that refer to an image: signatures and SBOMs.
    pub referrers: u64,
}

/// Fills `store`: two applications on one runtime, in several versions, for
/// two platforms; one release is signed and has an SBOM.
pub(super) async fn fill(store: &MemoryStore) -> Result<Seeded, StoreError> {
    let mut seeder = Seeder {
        store,
        seeded: Seeded::default(),
    };
    let runtime: Repository = repository("team/runtime");
    let base = seeder
        .image(&runtime, "runtime 21", &["base 12", "runtime 21"])
        .await?;
    seeder.tag(&runtime, &["21", "latest"], &base).await?;

    let web: Repository = repository("team/web");
    for (version, names) in [("1.4.0", &["1.4.0"][..]), ("1.5.0", &["1.5.0", "latest"])] {
        let app = format!("web {version}");
        let image = seeder
            .image(&web, &app, &["base 12", "runtime 21", &app])
            .await?;
        seeder.tag(&web, names, &image).await?;
        if version == "1.5.0" {
            let signature = "application/vnd.dev.sigstore.bundle.v0.3+json";
            seeder.refer(&web, &image, signature, "a signature").await?;
            seeder
                .refer(&web, &image, "application/spdx+json", "an SBOM")
                .await?;
        }
    }

    let api: Repository = repository("team/api");
    for version in ["2.0.1", "2.1.0", "2.2.0-rc1"] {
        let app = format!("api {version}");
        let image = seeder
            .image(&api, &app, &["base 12", "runtime 21", &app])
            .await?;
        seeder.tag(&api, &[version], &image).await?;
    }
    seeder.seeded.repositories = 3;
    Ok(seeder.seeded)
}

struct Seeder<'a> {
    store: &'a MemoryStore,
    seeded: Seeded,
}

impl Seeder<'_> {
    /// An index with an image of these layers for each platform.
    async fn image(
        &self,
        repo: &Repository,
        name: &str,
        layers: &[&str],
    ) -> Result<Manifest, StoreError> {
        let mut children = Vec::new();
        for text in PLATFORMS {
            let platform: Platform = text.parse().expect("a constant that is a platform");
            let mut descriptors = Vec::new();
            for layer in layers {
                let content = pseudo_random(&format!("{layer} {text}"), size_of_layer(layer));
                descriptors.push(self.blob(repo, MediaType::OCI_LAYER_GZIP, content).await?);
            }
            let config = format!(
                r#"{{"os":"{}","architecture":"{}","config":{{"Labels":{{"title":"{name}"}}}}}}"#,
                platform.os, platform.architecture
            );
            let config = self
                .blob(repo, MediaType::OCI_CONFIG, config.into_bytes())
                .await?;
            let image = Draft::image(&config, &descriptors).build();
            self.store.put_manifest(repo, &image, None).await?;
            children.push(Descriptor {
                platform: Some(platform),
                ..image.descriptor()
            });
        }
        Ok(Draft::index(&children).build())
    }

    async fn tag(
        &mut self,
        repo: &Repository,
        names: &[&str],
        image: &Manifest,
    ) -> Result<(), StoreError> {
        for name in names {
            let tag: Tag = name.parse().expect("a constant that is a tag");
            self.store.put_manifest(repo, image, Some(&tag)).await?;
            self.seeded.tags += 1;
        }
        Ok(())
    }

    async fn refer(
        &mut self,
        repo: &Repository,
        subject: &Manifest,
        artifact_type: &str,
        content: &str,
    ) -> Result<(), StoreError> {
        let text = format!("{content} of {}", subject.digest());
        let blob = self
            .blob(repo, MediaType::new(artifact_type), text.into_bytes())
            .await?;
        self.blob(repo, MediaType::OCI_EMPTY, b"{}".to_vec())
            .await?;
        let manifest = Draft::artifact(artifact_type, &[blob])
            .subject(subject)
            .build();
        self.store.put_manifest(repo, &manifest, None).await?;
        self.seeded.referrers += 1;
        Ok(())
    }

    async fn blob(
        &self,
        repo: &Repository,
        media_type: MediaType,
        content: Vec<u8>,
    ) -> Result<Descriptor, StoreError> {
        let blob = Blob::from_bytes(media_type, content);
        let descriptor = blob.descriptor().clone();
        if !self.store.has_blob(repo, &descriptor).await? {
            self.store.put_blob(repo, blob).await?;
        }
        Ok(descriptor)
    }
}

fn repository(name: &str) -> Repository {
    name.parse().expect("a constant that is a repository")
}

fn size_of_layer(name: &str) -> usize {
    match name.split(' ').next() {
        Some("base") => BASE,
        Some("runtime") => RUNTIME,
        _ => APP,
    }
}

/// Bytes that look like a compressed layer, the same for the same name.
fn pseudo_random(name: &str, size: usize) -> Vec<u8> {
    let seed = Digest::sha256(name.as_bytes());
    let seed = u64::from_str_radix(&seed.hex()[..16], 16).expect("16 hex digits");
    let mut random = fastrand::Rng::with_seed(seed);
    std::iter::repeat_with(|| random.u8(..))
        .take(size)
        .collect()
}
