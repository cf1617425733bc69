//! Trying again.

use regmirror::registry::Credential;
use regmirror::store::{ErrorKind, Source};

use super::{Fault, registry_client, repo, started, stored, tag};
use crate::support::TestRegistry;

#[tokio::test]
async fn what_stays_is_told_with_the_trouble_taken() {
    let (server, client) = started().await;
    server.on("HEAD", "/a/", usize::MAX, Fault::reply(503, &[], "tired"));
    let error = client.resolve(&repo("a"), &tag("1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    // The answer to HEAD has no body.
    assert!(
        error
            .one_line()
            .contains("503 Service Unavailable (3 attempts in "),
        "{}",
        error.one_line()
    );
}

#[tokio::test]
async fn nobody_there_is_said_in_so_many_words() {
    let server = TestRegistry::start().await;
    let client = registry_client(&server, Credential::Anonymous);
    drop(server);
    let error = client.resolve(&repo("a"), &tag("1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let text = error.one_line().to_lowercase();
    assert!(
        text.contains("refused") && text.contains("(3 attempts"),
        "{text}"
    );
    assert!(!text.contains("http://"), "{text}");
}

#[tokio::test]
async fn a_wait_that_is_asked_for_is_kept_by_all() {
    let (server, client) = started().await;
    stored(&server, "a", "1").await;
    server.on(
        "HEAD",
        "/a/",
        1,
        Fault::reply(429, &[("retry-after", "1")], ""),
    );
    let began = std::time::Instant::now();
    client.resolve(&repo("a"), &tag("1")).await.unwrap();
    assert!(began.elapsed().as_millis() >= 1000, "{:?}", began.elapsed());

    // Longer than is worth a wait: fails at once, and so do all others until
    // then, without another request.
    server.clear_log();
    server.on(
        "HEAD",
        "/a/",
        1,
        Fault::reply(429, &[("retry-after", "60")], ""),
    );
    for _ in 0..2 {
        let error = client.resolve(&repo("a"), &tag("1")).await.unwrap_err();
        let ErrorKind::RateLimited(Some(wait)) = error.kind() else {
            panic!("{}", error.one_line());
        };
        assert!((59..=60).contains(&wait.as_secs()), "{wait:?}");
    }
    assert_eq!(server.count("HEAD "), 1);
}
