//! Lists of tags and of repositories.

use futures::TryStreamExt;
use regmirror::oci::Tag;
use regmirror::registry::Registry;
use regmirror::store::{ErrorKind, Page, Source, StoreError};

use super::{Fault, reply, repo, started, stored};

async fn tags(client: &Registry) -> Result<(Vec<String>, Vec<String>), StoreError> {
    let repo = repo("a");
    let pages: Vec<Page<Tag>> = client.tags(&repo).try_collect().await?;
    let names = pages
        .iter()
        .flat_map(|page| &page.names)
        .map(ToString::to_string);
    let refused = pages.iter().flat_map(|page| page.refused.clone());
    Ok((names.collect(), refused.collect()))
}

#[tokio::test]
async fn all_pages_are_read_and_what_is_no_name_is_set_aside() {
    let (server, client) = started().await;
    stored(&server, "a", "z").await;
    let first = r#"{"name":"a","tags":["1","2",null,"","../../x","2"]}"#;
    let link = r#"<http://elsewhere.example/v2/a/tags/list?n=1000&last=2>; rel="next""#;
    server.on("GET", "/tags/list", 1, reply(200, &[("link", link)], first));
    let (names, refused) = tags(&client).await.unwrap();
    assert_eq!(names, ["1", "2", "z"]);
    assert_eq!(refused, ["../../x"]);
    assert_eq!(
        server.log(),
        [
            "GET /v2/a/tags/list?n=1000 200",
            "GET /v2/a/tags/list?n=1000&last=2 200"
        ]
    );

    server.on(
        "GET",
        "/tags/list",
        1,
        reply(200, &[], r#"{"name":"a","tags":null}"#),
    );
    assert_eq!(tags(&client).await.unwrap().0, Vec::<String>::new());
}

#[tokio::test]
async fn a_full_page_without_a_link_is_asked_on() {
    let (server, client) = started().await;
    let names: Vec<String> = (0..1000).map(|n| format!("{n:04}")).collect();
    let full = serde_json::json!({ "tags": names }).to_string();
    server.on(
        "GET",
        "last=0999",
        1,
        reply(200, &[], r#"{"tags":["last"]}"#),
    );
    server.on("GET", "/tags/list", 1, reply(200, &[], &full));
    let (found, _) = tags(&client).await.unwrap();
    assert_eq!(
        (found.len(), found.last().unwrap().as_str()),
        (1001, "last")
    );

    // A server that does not page answers the same again.
    server.clear_log();
    server.on("GET", "/tags/list", 2, reply(200, &[], &full));
    assert_eq!(tags(&client).await.unwrap().0, names);
    assert_eq!(server.count("GET "), 2);
}

#[tokio::test]
async fn a_circle_of_pages_is_an_error() {
    let (server, client) = started().await;
    let link = "</v2/a/tags/list?n=1000>; rel=next";
    server.on(
        "GET",
        "/tags/list",
        usize::MAX,
        reply(200, &[("link", link)], r#"{"tags":["1"]}"#),
    );
    let error = tags(&client).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Malformed);
    assert!(error.one_line().contains("circle"), "{}", error.one_line());
    assert_eq!(server.count("GET "), 1);
}

#[tokio::test]
async fn a_list_that_failed_is_not_empty() {
    let (server, client) = started().await;
    for (status, kind) in [
        (404, ErrorKind::NotFound),
        (403, ErrorKind::Denied),
        (500, ErrorKind::Unavailable),
    ] {
        server.on("GET", "/tags/list", 3, Fault::Status(status));
        assert_eq!(tags(&client).await.unwrap_err().kind(), kind);
        // What is left of the script does no harm to the next.
        while server.count(&format!("GET /v2/a/tags/list?n=1000 {status}")) < 3 {
            let _ = tags(&client).await;
        }
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
