//! The distribution-spec, endpoint by endpoint, against the embedded registry.
//!
//! The flows follow the conformance tests of the OCI distribution-spec 1.1:
//! pull, push, content discovery, content management. They speak plain HTTP to
//! a real port and know nothing of the store, so that each store runs them all.

mod content_discovery;
mod content_management;
mod limits;
mod pull;
mod push_blobs;
mod push_manifests;

use std::sync::Arc;

use regmirror::embedded::{Options, router, serve};
use regmirror::layout::LayoutStore;
use regmirror::oci::{Descriptor, Digest, MediaType};
use regmirror::store::{Hosted, MemoryStore};
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// Runs every flow over a store that `$make` gives.
macro_rules! flows_over {
    ($store:ident: $make:expr) => {
        mod $store {
            use super::*;

            flows_over! { $make =>
                pull::end_1_says_that_this_is_a_registry,
                pull::end_2_gives_blobs,
                pull::end_2_gives_parts_of_blobs,
                pull::end_3_gives_manifests,
                pull::what_the_client_has_is_not_sent_again,
                pull::what_is_not_there_is_404,
                push_blobs::end_4a_and_6_take_a_blob_in_one_put,
                push_blobs::end_4b_takes_a_blob_in_one_post,
                push_blobs::end_5_takes_a_stream,
                push_blobs::end_5_and_13_take_chunks_in_order_only,
                push_blobs::a_chunk_is_as_long_as_it_says,
                push_blobs::a_cut_chunk_is_continued,
                push_blobs::end_11_mounts,
                push_blobs::end_14_cancels,
                push_blobs::a_wrong_digest_is_refused,
                push_blobs::an_upload_belongs_to_its_repository,
                push_blobs::empty_blobs_and_sha512,
                push_manifests::end_7_takes_manifests,
                push_manifests::an_image_needs_its_blobs_and_an_index_no_children,
                push_manifests::what_is_no_manifest_is_refused,
                content_discovery::end_8_lists_tags,
                content_discovery::the_catalog_lists_repositories,
                content_discovery::end_12_lists_referrers,
                content_discovery::end_12_is_never_404,
                content_management::end_9_deletes_tags_and_manifests,
                content_management::end_10_deletes_blobs,
                content_management::a_deleted_referrer_is_not_listed,
            }
        }
    };
    ($make:expr => $($module:ident::$flow:ident,)*) => {
        $(
            #[tokio::test]
            async fn $flow() {
                let (store, _folder) = $make;
                $module::$flow(&Server::over(Arc::new(store), Options::default()).await).await;
            }
        )*
    };
}

flows_over! { in_memory: (MemoryStore::new("test"), ()) }
flows_over! { in_layouts: layouts() }

/// A directory of layouts, and what keeps it there.
fn layouts() -> (LayoutStore, TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    (LayoutStore::new(folder.path().to_owned()), folder)
}

/// An embedded registry on a port of its own; it ends when it is dropped.
struct Server {
    address: String,
    client: reqwest::Client,
    _task: JoinSet<std::io::Result<()>>,
}

/// An answer, read to its end.
#[derive(Debug)]
struct Reply {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Server {
    async fn over(store: Arc<dyn Hosted>, options: Options) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        let mut task = JoinSet::new();
        let router = router(store, options);
        task.spawn(serve(listener, router, std::future::pending()));
        Self {
            address,
            client: crate::support::client(),
            _task: task,
        }
    }

    async fn ask(&self, method: &str, path: &str) -> Reply {
        self.send(method, path, &[], Vec::new()).await
    }

    async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<reqwest::Body>,
    ) -> Reply {
        let method = method.parse().expect("a method");
        let url = format!("http://{}{path}", self.address);
        let mut request = self.client.request(method, url).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.expect("an answer");
        Reply {
            status: answer.status().as_u16(),
            headers: answer.headers().clone(),
            body: answer.bytes().await.expect("a whole body").to_vec(),
        }
    }

    async fn push_blob(&self, repo: &str, content: &str) -> Digest {
        let digest = Digest::sha256(content.as_bytes());
        let path = format!("/v2/{repo}/blobs/uploads/?digest={digest}");
        let reply = self.send("POST", &path, &[], content.to_owned()).await;
        assert_eq!(reply.status, 201, "{reply:?}");
        digest
    }

    async fn put_manifest(&self, repo: &str, reference: &str, document: &Value) -> Reply {
        let kind = document["mediaType"].as_str().expect("a media type");
        let path = format!("/v2/{repo}/manifests/{reference}");
        let headers = [("content-type", kind)];
        self.send("PUT", &path, &headers, document.to_string())
            .await
    }

    /// Pushes an image of one layer, and gives its manifest's digest.
    async fn push_image(&self, repo: &str, tag: &str, layer: &str) -> Digest {
        self.push_blob(repo, "{}").await;
        self.push_blob(repo, layer).await;
        let document = image(layer);
        let reply = self.put_manifest(repo, tag, &document).await;
        assert_eq!(reply.status, 201, "{reply:?}");
        digest_of(&document)
    }

    /// Begins an upload and gives its path.
    async fn begin(&self, repo: &str) -> String {
        let reply = self
            .ask("POST", &format!("/v2/{repo}/blobs/uploads/"))
            .await;
        assert_eq!((reply.status, reply.header("range")), (202, "0-0"));
        assert!(!reply.header("docker-upload-uuid").is_empty());
        reply.header("location").to_owned()
    }
}

impl Reply {
    /// A header's value, or nothing.
    fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.map_or("", |value| value.to_str().expect("visible ASCII"))
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    /// The status and the code of an error in the specification's form.
    fn error(&self) -> (u16, String) {
        assert_eq!(self.header("content-type"), "application/json", "{self:?}");
        let document = self.json();
        let error = &document["errors"][0];
        assert!(error["message"].is_string(), "{document}");
        let code = error["code"].as_str().expect("a code");
        (self.status, code.to_owned())
    }
}

#[track_caller]
fn assert_error(reply: &Reply, status: u16, code: &str) {
    assert_eq!(reply.error(), (status, code.to_owned()), "{reply:?}");
}

fn image(layer: &str) -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OCI_MANIFEST,
        "config": Descriptor::empty(),
        "layers": [Descriptor::of(MediaType::OCI_LAYER, layer.as_bytes())],
    })
}

fn digest_of(document: &Value) -> Digest {
    Digest::sha256(document.to_string().as_bytes())
}
