//! Lists of tags and of repositories.

use futures::TryStreamExt;
use regmirror::store::{ErrorKind, Source};

use super::{Fault, repo, started, stored};

#[tokio::test]
async fn a_list_that_failed_is_not_empty() {
    for (status, kind) in [
        (404, ErrorKind::NotFound),
        (403, ErrorKind::Denied),
        (500, ErrorKind::Unavailable),
    ] {
        let (server, client) = started().await;
        server.on("GET", "/tags/list", 9, Fault::Status(status));
        let listed: Result<Vec<_>, _> = client.tags(&repo("a")).try_collect().await;
        assert_eq!(listed.unwrap_err().kind(), kind);
    }
}

#[tokio::test]
async fn repositories_are_listed_where_the_registry_tells() {
    let (server, client) = started().await;
    stored(&server, "a", "1").await;
    stored(&server, "b/c", "1").await;
    let pages: Vec<_> = client.repositories().try_collect().await.unwrap();
    let names: Vec<_> = pages.into_iter().flat_map(|page| page.names).collect();
    assert_eq!(names, [repo("a"), repo("b/c")]);

    for (status, kind) in [
        (404, ErrorKind::Unsupported),
        (405, ErrorKind::Unsupported),
        (401, ErrorKind::Denied),
        (403, ErrorKind::Denied),
    ] {
        server.on("GET", "/_catalog", 1, Fault::Status(status));
        let listed: Result<Vec<_>, _> = client.repositories().try_collect().await;
        let error = listed.unwrap_err();
        assert_eq!(error.kind(), kind);
        assert!(
            error.one_line().contains("does not list its repositories") || status == 401,
            "{}",
            error.one_line()
        );
    }
}
