//! Lists of tags and referrers.

use axum::Router;
use axum::http::Uri;
use axum::response::{IntoResponse, Response};
use futures::TryStreamExt;
use futures::future::join_all;
use regmirror::http::{HostOptions, HttpClient, RetryPolicy, Tls};
use regmirror::oci::{
    Algorithm, Descriptor, Digest, Draft, Manifest, MediaType, Tag, fallback_tag, referrers_index,
};
use regmirror::registry::{Credential, Registry};
use regmirror::store::{ErrorKind, Page, Sink, Source, StoreError};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::registry_client::{attached, blob, manifest, repo, started, stored};
use crate::support::bench::{Bench, failures};
use crate::support::images::{push, push_image, push_referrer, tagged};
use crate::support::{Fault, TestRegistry, registry_client};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// The names of a list of tags, and what was set aside.
async fn tags(client: &Registry) -> Result<(Vec<String>, Vec<String>), StoreError> {
    let repo = repo("a");
    let pages: Vec<Page<Tag>> = client.tags(&repo).try_collect().await?;
    let names = pages.iter().flat_map(|page| &page.names);
    let refused = pages.iter().flat_map(|page| page.refused.clone());
    Ok((names.map(ToString::to_string).collect(), refused.collect()))
}

/// A registry that answers each path and query as `answer` says.
async fn answering(
    answer: impl Fn(&str) -> Response + Clone + Send + Sync + 'static,
) -> (JoinSet<()>, Registry) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let router = Router::new().fallback(move |uri: Uri| {
        let answer = answer(uri.path_and_query().unwrap().as_str());
        std::future::ready(answer)
    });
    let mut server = JoinSet::new();
    server.spawn(async move { axum::serve(listener, router).await.unwrap() });
    let client = HttpClient::new("test/1").unwrap();
    let options = HostOptions::new(&address).with_tls(Tls::Disabled);
    let host = address.parse().unwrap();
    let retry = RetryPolicy::none();
    let registry = Registry::new(host, &options, Credential::Anonymous, &client, retry);
    (server, registry.unwrap())
}

/// The number at the end of a query, from 0.
fn number(path: &str) -> usize {
    let query = path.split_once("page=").map(|(_, number)| number);
    query.map_or(0, |number| number.parse().unwrap())
}

#[tokio::test]
async fn e1_a_link_counts_however_short_the_page() {
    let (server, client) = started().await;
    stored(&server, "a", "z").await;
    // Quay's own parameter; the last name of the page would give another list.
    let link = "</v2/a/tags/list?n=50&next_page=gAAAA%2B%3D>; rel=\"next\"";
    let first = Fault::reply(200, &[("link", link)], r#"{"tags":["1"]}"#);
    // An empty page with a link is no end either.
    let last = Fault::reply(
        200,
        &[("link", "</v2/a/tags/list?next_page=B>; rel=\"next\"")],
        r#"{"tags":[]}"#,
    );
    server.on("GET", "n=1000", 1, first);
    server.on("GET", "next_page=gAAAA", 1, last);
    assert_eq!(tags(&client).await.unwrap().0, ["1", "z"]);
    assert_eq!(
        server.log(),
        [
            "GET /v2/a/tags/list?n=1000 200",
            "GET /v2/a/tags/list?n=50&next_page=gAAAA%2B%3D 200",
            "GET /v2/a/tags/list?next_page=B 200",
        ]
    );

    // A short page without a link is the end.
    server.clear_log();
    let end = Fault::reply(200, &[], r#"{"tags":["1"]}"#);
    server.on("GET", "/tags/list", 1, end);
    assert_eq!(tags(&client).await.unwrap().0, ["1"]);
    assert_eq!(server.log().len(), 1);
}

#[tokio::test]
async fn e1_a_full_page_without_a_link_is_asked_on() {
    let (server, client) = started().await;
    let names: Vec<String> = (0..1000).map(|n| format!("{n:04}")).collect();
    let full = json!({ "tags": names }).to_string();
    let last = Fault::reply(200, &[], r#"{"tags":["last"]}"#);
    server.on("GET", "last=0999", 1, last);
    server.on(
        "GET",
        "/tags/list",
        1,
        Fault::reply(200, &[], full.as_str()),
    );
    let (found, _) = tags(&client).await.unwrap();
    assert_eq!(
        (found.len(), found.last().unwrap().as_str()),
        (1001, "last")
    );

    // A server that does not page answers the same again.
    server.clear_log();
    server.on(
        "GET",
        "/tags/list",
        2,
        Fault::reply(200, &[], full.as_str()),
    );
    assert_eq!(tags(&client).await.unwrap().0, names);
    assert_eq!(server.count("GET "), 2);
}

#[tokio::test]
async fn e2_a_link_to_another_host_stays_on_the_registry() {
    let (elsewhere, (server, client)) = (TestRegistry::start().await, started().await);
    let subject = stored(&server, "a", "1").await;
    let address = elsewhere.address();
    let link = format!("<http://{address}/v2/a/tags/list?n=1000&last=0>; rel=\"next\"");
    let first = Fault::reply(200, &[("link", link.as_str())], r#"{"tags":["0"]}"#);
    server.on("GET", "/tags/list", 1, first);
    assert_eq!(tags(&client).await.unwrap().0, ["0", "1"]);
    let asked = "GET /v2/a/tags/list?n=1000&last=0 200";
    assert_eq!(server.log()[1], asked);

    let digest = subject.digest();
    let link = format!("<http://{address}/v2/a/referrers/{digest}?page=2>; rel=\"next\"");
    let headers = [("content-type", INDEX), ("link", link.as_str())];
    let page = r#"{"schemaVersion":2,"manifests":[]}"#;
    server.on("GET", "/referrers/", 1, Fault::reply(200, &headers, page));
    client.referrers(&repo("a"), digest).await.unwrap();
    let asked = format!("GET /v2/a/referrers/{digest}?page=2 200");
    assert_eq!(server.log().last(), Some(&asked));
    assert_eq!(elsewhere.requests(), 0);
}

#[tokio::test]
async fn e2_a_circle_of_pages_is_an_error() {
    let (server, client) = started().await;
    let link = "</v2/a/tags/list?n=1000>; rel=next";
    let page = Fault::reply(200, &[("link", link)], r#"{"tags":["1"]}"#);
    server.on("GET", "/tags/list", usize::MAX, page);
    let error = tags(&client).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Malformed);
    assert!(error.one_line().contains("circle"), "{}", error.one_line());
    assert_eq!(server.count("GET "), 1);

    let subject = manifest("x");
    let link = format!("</v2/a/referrers/{}>; rel=next", subject.digest());
    let headers = [("content-type", INDEX), ("link", link.as_str())];
    let page = r#"{"schemaVersion":2,"manifests":[]}"#;
    server.on(
        "GET",
        "/referrers/",
        usize::MAX,
        Fault::reply(200, &headers, page),
    );
    let error = client.referrers(&repo("a"), subject.digest()).await;
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Malformed);
    assert!(error.one_line().contains("circle"), "{}", error.one_line());
}

#[tokio::test]
async fn e2_pages_without_end_are_given_up() {
    let (_server, client) = answering(|path| {
        let next = format!("</v2/a/tags/list?page={}>; rel=next", number(path) + 1);
        ([("link", next)], r#"{"tags":["1"]}"#).into_response()
    })
    .await;
    let error = tags(&client).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Malformed);
    let text = error.one_line();
    assert!(text.contains("more than 10000 pages"), "{text}");
}

#[tokio::test]
async fn e2_more_than_a_million_tags_are_given_up() {
    // Four letters each, so that they fit into one page.
    let name = |number: usize| -> String {
        let letter =
            |power: u32| char::from(b'A' + u8::try_from(number / 32usize.pow(power) % 32).unwrap());
        let letter = |power| match letter(power) {
            c if c.is_ascii_alphabetic() => c,
            c => char::from(b'0' + (c as u8 - b'[')),
        };
        (0..4).rev().map(letter).collect()
    };
    let names: Vec<String> = (0..1_000_001).map(name).collect();
    let page = json!({ "tags": names }).to_string();
    let (server, client) = started().await;
    server.on("GET", "/tags/list", 1, Fault::reply(200, &[], page));
    let error = tags(&client).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Malformed);
    let text = error.one_line();
    assert!(text.contains("more than 1000000 names"), "{text}");
}

#[tokio::test]
async fn e2_a_list_of_referrers_without_end_is_given_up() {
    let padding = "x".repeat(8_000_000);
    let page = json!({"schemaVersion": 2, "manifests": [], "annotations": {"x": padding}});
    let page = bytes::Bytes::from(page.to_string());
    let (_server, client) = answering(move |path| {
        let next = format!("</v2/a/referrers/x?page={}>; rel=next", number(path) + 1);
        let headers = [("content-type", INDEX.to_owned()), ("link", next)];
        (headers, page.clone()).into_response()
    })
    .await;
    let error = client.referrers(&repo("a"), &Digest::sha256(b"x")).await;
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Malformed);
    let text = error.one_line();
    assert!(text.contains("longer than 67108864 bytes"), "{text}");
}

#[tokio::test]
async fn e3_what_is_no_tag_is_left_out() {
    let (server, client) = started().await;
    let digest = format!("sha256:{}", "0".repeat(64));
    let page = format!(r#"{{"name":"a","tags":["1",null,"","{digest}",7,"../../x","1","2"]}}"#);
    server.on("GET", "/tags/list", 1, Fault::reply(200, &[], page));
    let (names, refused) = tags(&client).await.unwrap();
    assert_eq!(names, ["1", "2"]);
    assert_eq!(refused, [digest.as_str(), "../../x"]);

    for page in [
        r#"{"name":"a","tags":null}"#,
        r#"{"name":"a","tags":[]}"#,
        r#"{"name":"a"}"#,
        r#"{"tags":[null,""]}"#,
    ] {
        server.on("GET", "/tags/list", 1, Fault::reply(200, &[], page));
        let (names, refused) = tags(&client).await.unwrap();
        assert!(names.is_empty() && refused.is_empty(), "{page}");
    }
    // What is no list at all is not an empty one.
    let errors = r#"{"errors":[{"code":"UNKNOWN"}]}"#;
    for page in [
        "",
        "[]",
        " [null]",
        "null",
        r#"{"tags":"1"}"#,
        errors,
        "<html>",
    ] {
        server.on("GET", "/tags/list", 1, Fault::reply(200, &[], page));
        let error = tags(&client).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Malformed, "{page}");
    }
}

/// Tags the list of a subject's referrers behind the server's back.
async fn listed(server: &TestRegistry, subject: &Manifest, referrers: &[Descriptor]) -> Tag {
    let list = Manifest::parse(referrers_index(referrers), None).unwrap();
    let tag = fallback_tag(subject.digest());
    push(server.store(), &repo("a"), Some(tag.as_str()), &list).await;
    tag
}

#[tokio::test]
async fn e4_only_these_answers_mean_that_there_is_no_api() {
    for missing in [
        Fault::reply(404, &[], "404 page not found\n"),
        Fault::Status(400),
        Fault::Status(405),
        Fault::Status(406),
        Fault::Status(501),
        Fault::reply(200, &[("content-type", "text/html")], "<html>"),
        Fault::reply(200, &[("content-type", "application/json")], "{}"),
        Fault::reply(200, &[], "{}"),
        // GHCR.
        Fault::reply(
            303,
            &[("location", "https://github.com/-/v2/packages/x")],
            "",
        ),
        Fault::reply(302, &[("location", "//login.example/")], ""),
    ] {
        let (server, client) = started().await;
        let (repo, subject) = (repo("a"), stored(&server, "a", "1").await);
        let one = attached(&subject, "one").referrer_descriptor();
        let tag = listed(&server, &subject, std::slice::from_ref(&one)).await;

        server.on("GET", "/referrers/", 1, missing.clone());
        for _ in 0..2 {
            let found = client.referrers(&repo, subject.digest()).await.unwrap();
            assert_eq!(found, std::slice::from_ref(&one), "{missing:?}");
        }
        assert_eq!(server.count("GET /v2/a/referrers/"), 1, "it is remembered");
        assert_eq!(server.count(&format!("GET /v2/a/manifests/{tag} 200")), 2);
    }
}

#[tokio::test]
async fn e4_any_other_answer_is_a_failure() {
    for (status, kind) in [
        (401, ErrorKind::Denied),
        (403, ErrorKind::Denied),
        (429, ErrorKind::RateLimited(None)),
        (500, ErrorKind::Unavailable),
        (502, ErrorKind::Unavailable),
        (503, ErrorKind::Unavailable),
        (504, ErrorKind::Unavailable),
        (204, ErrorKind::Malformed),
        (304, ErrorKind::Malformed),
        (410, ErrorKind::Refused),
    ] {
        let (server, client) = started().await;
        let (repo, subject) = (repo("a"), stored(&server, "a", "1").await);
        let one = attached(&subject, "one").referrer_descriptor();
        listed(&server, &subject, &[one]).await;
        server.on("GET", "/referrers/", 9, Fault::Status(status));
        let error = client.referrers(&repo, subject.digest()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{status}");
        assert_eq!(server.count("GET /v2/a/manifests/"), 0, "{status}");
    }
    // Nor is a later page's answer a sign that there is no API.
    let (server, client) = started().await;
    let subject = stored(&server, "a", "1").await;
    let link = format!("</v2/a/referrers/{}?page=2>; rel=next", subject.digest());
    let headers = [("content-type", INDEX), ("link", link.as_str())];
    let page = r#"{"schemaVersion":2,"manifests":[]}"#;
    server.on("GET", "page=2", 1, Fault::Status(404));
    server.on("GET", "/referrers/", 1, Fault::reply(200, &headers, page));
    let error = client.referrers(&repo("a"), subject.digest()).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn e4_a_failure_to_list_fails_the_copy() {
    let job = "source: SOURCE/app, target: TARGET/app, type: repository, referrers: true";
    for (path, status) in [
        ("/referrers/", 401),
        ("/referrers/", 403),
        ("/referrers/", 429),
        ("/referrers/", 503),
        // There is no API, and the tag that stands in for it cannot be read.
        ("/manifests/sha256-", 403),
        ("/manifests/sha256-", 500),
    ] {
        let bench = Bench::new().await;
        push_image(bench.source.store(), &repo("app"), Some("1"), &[b"x"]).await;
        if !path.contains("referrers") {
            bench.source.forget_referrers();
        }
        bench.source.on("GET", path, 99, Fault::Status(status));
        let summary = bench.run(&[job]).await;
        let failed = failures(&summary);
        assert_eq!(failed.len(), 1, "{path} {status}: {failed:?}");
        assert!(failed[0].contains("list the referrers of"), "{failed:?}");
        let tag = tagged(bench.target.store(), &repo("app"), "1").await;
        assert_eq!(tag, None, "{path} {status}");
    }
    // 404 on both is "none".
    let bench = Bench::new().await;
    push_image(bench.source.store(), &repo("app"), Some("1"), &[b"x"]).await;
    bench.source.forget_referrers();
    let summary = bench.run(&[job]).await;
    assert_eq!((summary.totals.copied, summary.totals.failed), (1, 0));
}

#[tokio::test]
async fn e4_a_missing_repository_says_nothing_about_the_api() {
    let (server, client) = started().await;
    let unknown = r#"{"errors":[{"code":"NAME_UNKNOWN"}]}"#;
    let subject = manifest("x");
    server.on("GET", "/referrers/", 1, Fault::reply(404, &[], unknown));
    for _ in 0..2 {
        let found = client.referrers(&repo("a"), subject.digest()).await;
        assert!(found.unwrap().is_empty());
    }
    assert_eq!(server.count("GET /v2/a/referrers/"), 2);
}

#[tokio::test]
async fn e5_a_list_that_cannot_be_read_is_an_error_and_not_none() {
    // By the API.
    let (server, client) = started().await;
    let (repo, subject) = (repo("a"), stored(&server, "a", "1").await);
    for page in [
        "",
        "<html>back soon</html>",
        r#"{"manifests":{}}"#,
        r#"{"errors":[]}"#,
        r#"{"schemaVersion":2}"#,
        r#"{"schemaVersion":2,"manifests":[{"mediaType":"a/b","digest":"sha256:x","size":1}]}"#,
    ] {
        let answer = Fault::reply(200, &[("content-type", INDEX)], page);
        server.on("GET", "/referrers/", 1, answer);
        let error = client.referrers(&repo, subject.digest()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Malformed, "{page}");
    }
    // Go writes an empty list so.
    let nothing = r#"{"schemaVersion":2,"manifests":null}"#;
    let answer = Fault::reply(200, &[("content-type", INDEX)], nothing);
    server.on("GET", "/referrers/", 1, answer);
    let found = client.referrers(&repo, subject.digest()).await.unwrap();
    assert_eq!(found, []);
    for cut in [Fault::cut(5), Fault::Drop] {
        server.on("GET", "/referrers/", 9, cut);
        let error = client.referrers(&repo, subject.digest()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        server.heal();
    }

    // By the tag.
    let server = TestRegistry::without_referrers().await;
    let client = registry_client(&server, Credential::Anonymous);
    let damaged = Fault::reply(200, &[], "<html>back soon</html>");
    server.on("GET", "/manifests/sha256-", 1, damaged);
    let error = client.referrers(&repo, subject.digest()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Malformed, "{}", error.one_line());
}

#[tokio::test]
async fn e6_all_pages_are_read_and_nothing_is_left_to_the_registry_s_filter() {
    let (server, client) = started().await;
    let (repo, subject) = (repo("a"), stored(&server, "a", "1").await);
    let one = attached(&subject, "one");
    client.put_manifest(&repo, &one, None).await.unwrap();
    assert_eq!(server.count("GET "), 0, "nothing to keep for this registry");

    let two = attached(&subject, "two").referrer_descriptor();
    let page = json!({"schemaVersion": 2, "manifests": [two.clone(), two.clone()]}).to_string();
    let link = format!(
        "</v2/a/referrers/{}?page=2>; rel=\"next\"",
        subject.digest()
    );
    let headers = [("content-type", INDEX), ("link", link.as_str())];
    server.on("GET", "/referrers/", 1, Fault::reply(200, &headers, page));
    let found = client.referrers(&repo, subject.digest()).await.unwrap();
    assert_eq!(found, [two, one.referrer_descriptor()]);
    let asked = server.seen();
    let asked: Vec<_> = asked
        .iter()
        .filter(|seen| seen.path.contains("/referrers/"))
        .collect();
    assert_eq!(asked.len(), 2);
    assert!(asked.iter().all(|seen| !seen.path.contains("artifactType")));
    assert!(asked.iter().all(|seen| seen.header("accept") == INDEX));
}

#[tokio::test]
async fn e7_the_client_keeps_the_list_where_the_registry_does_not() {
    let server = TestRegistry::without_referrers().await;
    let client = registry_client(&server, Credential::Anonymous);
    let (repo, subject) = (repo("a"), stored(&server, "a", "1").await);
    let typed = attached(&subject, "typed");
    // Without a type of its own it has its config's.
    let untyped = json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OCI_MANIFEST,
        "config": {"mediaType": "application/vnd.example.config", "size": 2, "digest": Descriptor::empty().digest},
        "layers": [],
        "subject": subject.descriptor(),
        "annotations": {"a": "b", "org.example.text": "ü\n"},
    });
    let untyped = Manifest::parse(untyped.to_string().into(), None).unwrap();
    for referrer in [&typed, &untyped, &typed] {
        client.put_manifest(&repo, referrer, None).await.unwrap();
    }
    let tag = fallback_tag(subject.digest());
    let answer = crate::support::client()
        .get(format!("http://{}/v2/a/manifests/{tag}", server.address()))
        .send();
    let answer = answer.await.unwrap();
    assert_eq!(answer.headers()["content-type"], INDEX);
    let list: serde_json::Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    let entry = |of: &Manifest, kind: &str, annotations: serde_json::Value| {
        json!({
            "mediaType": MediaType::OCI_MANIFEST,
            "digest": of.digest(),
            "size": of.size(),
            "artifactType": kind,
            "annotations": annotations,
        })
    };
    let want = json!({
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": [
            entry(&typed, "application/vnd.example", json!({"text": "typed"})),
            entry(&untyped, "application/vnd.example.config", json!({"a": "b", "org.example.text": "ü\n"})),
        ],
    });
    assert_eq!(list, want);

    // Nothing is written for what is on it.
    server.clear_log();
    client.put_manifest(&repo, &typed, None).await.unwrap();
    assert_eq!(server.count("PUT "), 1);

    // A registry that says it keeps the list itself is left to it.
    let (server, client) = started().await;
    let subject = stored(&server, "a", "1").await;
    let referrer = attached(&subject, "x");
    client.put_manifest(&repo, &referrer, None).await.unwrap();
    assert_eq!(
        server.log(),
        [format!("PUT /v2/a/manifests/{} 201", referrer.digest())]
    );
}

#[tokio::test]
async fn e7_the_list_forgets_what_is_deleted() {
    let server = TestRegistry::without_referrers().await;
    let client = registry_client(&server, Credential::Anonymous);
    let (repo, subject) = (repo("a"), stored(&server, "a", "1").await);
    let (one, two) = (attached(&subject, "one"), attached(&subject, "two"));
    for referrer in [&one, &two] {
        client.put_manifest(&repo, referrer, None).await.unwrap();
    }
    let gone = one.digest().clone().into();
    client.delete_manifest(&repo, &gone).await.unwrap();
    let found = client.referrers(&repo, subject.digest()).await.unwrap();
    assert_eq!(found, [two.referrer_descriptor()]);
}

#[tokio::test]
async fn e7_the_tag_of_a_referrer_comes_after_its_place_on_the_list() {
    let server = TestRegistry::without_referrers().await;
    let client = registry_client(&server, Credential::Anonymous);
    let (repo, subject) = (repo("a"), stored(&server, "a", "1").await);
    let signature = attached(&subject, "signature");
    let tag = "signature".parse().unwrap();
    server.clear_log();
    let put = client.put_manifest(&repo, &signature, Some(&tag));
    put.await.unwrap();
    let log = server.log();
    let puts = log
        .iter()
        .filter_map(|line| line.strip_prefix("PUT /v2/a/manifests/"));
    let puts: Vec<&str> = puts.collect();
    let first = format!("{} 201", signature.digest());
    let list = format!("sha256-{} 201", subject.digest().hex());
    assert_eq!(puts, [&first, &list, "signature 201"]);
}

#[tokio::test]
async fn e8_only_an_index_that_is_not_the_subject_is_a_list() {
    let server = TestRegistry::without_referrers().await;
    let client = registry_client(&server, Credential::Anonymous);
    let repo = repo("a");
    let image = stored(&server, "a", "1").await;
    let index = Draft::index(&[image.descriptor()]).build();
    push(server.store(), &repo, Some("index"), &index).await;

    // GitLab gives the subject itself for the tag, an index too.
    for subject in [&image, &index] {
        let tag = fallback_tag(subject.digest());
        push(server.store(), &repo, Some(tag.as_str()), subject).await;
        let found = client.referrers(&repo, subject.digest()).await;
        assert_eq!(found.unwrap(), []);
        let one = attached(subject, "one");
        client.put_manifest(&repo, &one, None).await.unwrap();
        let found = client.referrers(&repo, subject.digest()).await;
        assert_eq!(found.unwrap(), [one.referrer_descriptor()]);
    }

    // Somebody's own tag is not overwritten.
    let tag = fallback_tag(image.digest());
    server.store().put_blob(&repo, blob("{}")).await.unwrap();
    push(server.store(), &repo, Some(tag.as_str()), &manifest("own")).await;
    let found = client.referrers(&repo, image.digest()).await.unwrap();
    assert_eq!(found, []);
    let two = attached(&image, "two");
    let error = client.put_manifest(&repo, &two, None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    let own = tagged(server.store(), &repo, tag.as_str()).await;
    assert_eq!(own.as_ref(), Some(manifest("own").digest()));
}

#[tokio::test]
async fn e9_writers_of_one_process_take_turns() {
    let server = TestRegistry::without_referrers().await;
    let client = registry_client(&server, Credential::Anonymous);
    let (repo, subject) = (repo("a"), stored(&server, "a", "1").await);
    let many: Vec<_> = (0..8).map(|n| attached(&subject, &n.to_string())).collect();
    let put = many.iter().map(|one| client.put_manifest(&repo, one, None));
    for done in join_all(put).await {
        done.unwrap();
    }
    let mut found = client.referrers(&repo, subject.digest()).await.unwrap();
    let mut want: Vec<_> = many.iter().map(Manifest::referrer_descriptor).collect();
    found.sort_by_key(|one| one.digest.clone());
    want.sort_by_key(|one| one.digest.clone());
    assert_eq!(found, want);
    // Nobody's write was lost and made up for.
    assert_eq!(server.count("PUT /v2/a/manifests/sha256-"), 8);
}

/// Two processes that read the same list and write it one after the other.
#[tokio::test]
async fn e9_an_entry_that_another_writer_dropped_is_written_again() {
    let server = TestRegistry::without_referrers().await;
    let (repo, subject) = (repo("a"), stored(&server, "a", "1").await);
    let (one, two) = (attached(&subject, "one"), attached(&subject, "two"));
    let writer = |referrer: &Manifest| {
        let client = registry_client(&server, Credential::Anonymous);
        let (repo, referrer) = (repo.clone(), referrer.clone());
        async move { client.put_manifest(&repo, &referrer, None).await }
    };
    let tag = fallback_tag(subject.digest());
    server.on("PUT", &format!("/manifests/{tag}"), 1, Fault::Hold);
    let (mut first, mut second) = (JoinSet::new(), JoinSet::new());
    first.spawn(writer(&one));
    server.held().await;
    // The second stores its manifest, reads the list, writes it, and is about
    // to read it back when the first one's write arrives.
    server.fail_request(3, Fault::Hold);
    second.spawn(writer(&two));
    server.held().await;
    server.release();
    first.join_next().await.unwrap().unwrap().unwrap();
    server.release();
    second.join_next().await.unwrap().unwrap().unwrap();

    let client = registry_client(&server, Credential::Anonymous);
    let found = client.referrers(&repo, subject.digest()).await.unwrap();
    let want = [one.referrer_descriptor(), two.referrer_descriptor()];
    assert_eq!(found, want);
    assert_eq!(server.count(&format!("PUT /v2/a/manifests/{tag} 201")), 3);
}

#[tokio::test]
async fn e9_a_list_that_others_keep_overwriting_is_given_up() {
    let server = TestRegistry::without_referrers().await;
    let client = registry_client(&server, Credential::Anonymous);
    let (repo, subject) = (repo("a"), stored(&server, "a", "1").await);
    let path = format!("/manifests/{}", fallback_tag(subject.digest()));
    server.on("PUT", &path, usize::MAX, Fault::Status(201));
    let one = attached(&subject, "one");
    let error = client.put_manifest(&repo, &one, None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let text = error.one_line();
    assert!(text.contains("keeps overwriting"), "{text}");
}

#[tokio::test]
async fn e10_a_sha512_subject_has_a_tag_of_64_digits() {
    let server = TestRegistry::without_referrers().await;
    let client = registry_client(&server, Credential::Anonymous);
    let (repo, image) = (repo("a"), stored(&server, "a", "1").await);
    let digest = Digest::of(Algorithm::Sha512, image.bytes());
    let subject = Descriptor::new(MediaType::OCI_MANIFEST, digest.clone(), image.size());
    let document = json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OCI_MANIFEST,
        "artifactType": "application/vnd.example",
        "config": Descriptor::empty(),
        "layers": [],
        "subject": subject,
    });
    let referrer = Manifest::parse(document.to_string().into(), None).unwrap();
    client.put_manifest(&repo, &referrer, None).await.unwrap();
    let tag = format!("sha512-{}", &digest.hex()[..64]);
    assert_eq!(server.count(&format!("PUT /v2/a/manifests/{tag} 201")), 1);
    let found = client.referrers(&repo, &digest).await.unwrap();
    assert_eq!(found, [referrer.referrer_descriptor()]);
    assert_eq!(
        server.count(&format!("GET /v2/a/referrers/{digest} 404")),
        1
    );
}

/// Of a repository, cosign's tags are copied as any other. Only the tag that
/// stands in for the API is left to the referrers, when they are copied.
#[tokio::test]
async fn e11_cosign_s_tags_are_copied_like_any_tag() {
    for (more, plain) in [("", true), (", referrers: true", false)] {
        let bench = Bench::new().await;
        let (store, app) = (bench.source.store(), repo("app"));
        bench.source.forget_referrers();
        let image = push_image(store, &app, Some("1"), &[b"x"]).await;
        let base = fallback_tag(image.digest());
        let mut names = vec!["1".to_owned()];
        for kind in ["sig", "att", "sbom"] {
            let name = format!("{base}.{kind}");
            push_image(store, &app, Some(&name), &[kind.as_bytes()]).await;
            names.push(name);
        }
        let referrer = push_referrer(store, &app, &image, "application/vnd.example.sig").await;
        let list = Draft::index(&[referrer.referrer_descriptor()]).build();
        push(store, &app, Some(base.as_str()), &list).await;

        let job = format!("source: SOURCE/app, target: TARGET/app, type: repository{more}");
        let summary = bench.run(&[&job]).await;
        assert_eq!(failures(&summary), Vec::<String>::new());
        for name in &names {
            let at_source = tagged(store, &app, name).await;
            let at_target = tagged(bench.target.store(), &app, name).await;
            assert_eq!(at_target, at_source, "{name}");
        }
        let at_target = tagged(bench.target.store(), &app, base.as_str()).await;
        assert_eq!(at_target.is_some(), plain, "{more}");
        let listed = bench.target.store().referrers(&app, image.digest()).await;
        let listed = listed.unwrap();
        match plain {
            // The tag came along as bytes, with what it lists.
            true => assert_eq!(at_target.as_ref(), Some(list.digest())),
            false => assert_eq!(listed, [referrer.referrer_descriptor()]),
        }
    }
}
