//! How images are copied: media types, layers that are elsewhere, a look through
//! everything, hooks, backups.

use std::fs;
use std::path::Path;

use regmirror::oci::{Descriptor, Draft, MediaType};
use regmirror::store::{Sink as _, Source as _};

use crate::support::Fault;
use crate::support::bench::{Bench, failures};
use crate::support::images::{complete, push, push_blob, push_image, push_index, repo, tagged};

const JOB: &str = "source: 'SOURCE/app:1', target: 'TARGET/app:1', type: image";

#[tokio::test]
async fn types_that_are_not_listed_are_left_out() {
    let bench = Bench::new().await;
    push_index(bench.source.store(), &repo("app"), "1").await;
    let only_images = format!(
        "{JOB}, mediaTypes: ['{}', '{}']",
        MediaType::OCI_MANIFEST,
        MediaType::DOCKER_MANIFEST
    );
    let summary = bench.run(&[&only_images]).await;
    assert_eq!((summary.totals.excluded, summary.totals.copied), (1, 0));
    assert_eq!(bench.target.count("PUT") + bench.target.count("POST"), 0);
    let with_indexes = format!("{JOB}, mediaTypes: ['{}']", MediaType::OCI_INDEX);
    assert_eq!(bench.run(&[&with_indexes]).await.totals.copied, 1);
    // What is up to date needs no look at its type.
    assert_eq!(bench.run(&[&only_images]).await.totals.unchanged, 1);
}

#[tokio::test]
async fn layers_that_are_elsewhere_are_copied_when_asked_for() {
    let bench = Bench::new().await;
    let (store, app) = (bench.source.store(), repo("app"));
    let config = push_blob(store, &app, b"{}").await;
    let foreign = Descriptor {
        media_type: MediaType::new("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"),
        urls: Some(vec!["https://elsewhere.test/layer".to_owned()]),
        ..push_blob(store, &app, b"foreign").await
    };
    push(
        store,
        &app,
        Some("1"),
        &Draft::image(&config, std::slice::from_ref(&foreign)).build(),
    )
    .await;
    for include in [false, true] {
        let summary = bench
            .run(&[&format!(
                "{JOB}, includeExternal: {include}, forceRecursive: true"
            )])
            .await;
        assert_eq!(failures(&summary), Vec::<String>::new());
        assert_eq!(
            bench.target.store().has_blob(&app, &foreign).await.unwrap(),
            include
        );
    }
}

#[tokio::test]
async fn force_recursive_brings_back_what_the_target_lost() {
    let bench = Bench::new().await;
    let app = repo("app");
    let index = push_index(bench.source.store(), &app, "1").await;
    bench.run(&[JOB]).await;
    let target = bench.target.store();
    let child = target
        .manifest(&app, &index.children()[0].digest)
        .await
        .unwrap();
    let layer = child.blobs().last().unwrap().clone();
    target.delete_blob(&app, &layer.digest).await.unwrap();
    // Its digest is right, so nobody looks any further.
    assert_eq!(bench.run(&[JOB]).await.totals.unchanged, 1);
    assert!(complete(target, &app, index.digest()).await.is_err());

    let forced = format!("{JOB}, forceRecursive: true");
    let summary = bench.run(&[&forced]).await;
    assert_eq!((summary.totals.copied, summary.totals.blobs_copied), (1, 1));
    complete(target, &app, index.digest()).await.unwrap();
    bench.clear_logs();
    let again = bench.run(&[&forced]).await;
    assert_eq!(
        (again.totals.copied, again.totals.unchanged),
        (0, 1),
        "nothing was missing"
    );
    assert_eq!(bench.target.count("PUT"), 0);
    assert!(
        bench.target.count("HEAD /v2/app/blobs/") >= 5,
        "{:?}",
        bench.target.log()
    );
}

/// A hook that writes what it is told to a file, by the names of the variables.
/// (What is spelled out here as in a configuration would be replaced.)
fn recorder(file: &Path) -> String {
    let file = file.display();
    let script = format!(
        "env | sort | grep -E '^REGMIRROR_(DIGEST|HOOK|JOB|OLD_DIGEST|S.URCE|TAG|T.RGET)=' | cut -d= -f2 | tr '\\n' '|' >> {file}; echo >> {file}"
    );
    format!(
        "{{type: exec, params: [sh, -c, '{}']}}",
        script.replace('\'', "''")
    )
}

#[tokio::test]
async fn hooks_are_told_what_happens() {
    let bench = Bench::new().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("said");
    let hook = recorder(&file);
    let job = format!("{JOB}, name: mine, hooks: {{pre: {hook}, post: {hook}, unchanged: {hook}}}");
    let first = push_image(bench.source.store(), &repo("app"), Some("1"), &[b"1"]).await;
    for _ in 0..2 {
        assert_eq!(failures(&bench.run(&[&job]).await), Vec::<String>::new());
    }
    let second = push_image(bench.source.store(), &repo("app"), Some("1"), &[b"2"]).await;
    bench.run(&[&job]).await;
    let (source, target) = (bench.source.address(), bench.target.address());
    let line = |hook: &str, digest, old: &str| {
        format!("{digest}|{hook}|mine|{old}|{source}/app:1|1|{target}/app:1|")
    };
    let expected = [
        line("pre", first.digest(), ""),
        line("post", first.digest(), ""),
        line("unchanged", first.digest(), ""),
        line("pre", second.digest(), first.digest().as_str()),
        line("post", second.digest(), first.digest().as_str()),
    ];
    let said = fs::read_to_string(&file).unwrap();
    assert_eq!(said.lines().collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn a_pre_hook_that_fails_stops_the_copy_and_others_count_as_failed() {
    let hook = |script: &str| format!("{{type: exec, params: [sh, -c, '{script}']}}");
    for (key, script, told) in [
        ("pre", "echo no room >&2; exit 3", "no room"),
        ("pre", "kill -9 $$", "signal: 9"),
        ("post", "exit 1", "it was copied"),
    ] {
        let bench = Bench::new().await;
        push_image(bench.source.store(), &repo("app"), Some("1"), &[b"1"]).await;
        let summary = bench
            .run(&[&format!("{JOB}, hooks: {{{key}: {}}}", hook(script))])
            .await;
        let said = failures(&summary);
        assert_eq!(said.len(), 1, "{key}");
        assert!(said[0].contains(told) && said[0].contains(key), "{said:?}");
        let found = tagged(bench.target.store(), &repo("app"), "1").await;
        assert_eq!(found.is_some(), key == "post");
        if key == "pre" {
            assert_eq!(bench.target.count("P"), 0, "nothing was sent");
        }
    }
    let bench = Bench::new().await;
    push_image(bench.source.store(), &repo("app"), Some("1"), &[b"1"]).await;
    for (params, timeout, told) in [
        ("[/nowhere/to/be/found]", "1m", "cannot be run"),
        (
            "[sleep, '1000']",
            "50ms",
            "was not done in 0.05 s, and was stopped",
        ),
    ] {
        let job =
            format!("{JOB}, hooks: {{pre: {{type: exec, params: {params}, timeout: {timeout}}}}}");
        let said = failures(&bench.run(&[&job]).await);
        assert!(said[0].contains(told), "{said:?}");
    }
}

#[tokio::test]
async fn a_hook_s_arguments_mean_nothing_to_a_shell() {
    let bench = Bench::new().await;
    let folder = tempfile::tempdir().unwrap();
    let odd = folder.path().join("a b; touch $HOME `c`");
    push_image(bench.source.store(), &repo("app"), Some("1"), &[b"1"]).await;
    let hook = format!("{{type: exec, params: [touch, '{}']}}", odd.display());
    bench
        .run(&[&format!("{JOB}, hooks: {{post: {hook}}}")])
        .await;
    assert!(odd.exists());
}

#[tokio::test]
async fn a_backup_goes_where_its_template_says() {
    let bench = Bench::new().await;
    let folder = tempfile::tempdir().unwrap();
    let (source, target, app) = (bench.source.store(), bench.target.store(), repo("app"));
    let layout = format!("ocidir://{}/kept:{{{{.Ref.Tag}}}}", folder.path().display());
    for (number, (backup, place)) in [
        ("old-{{.Ref.Tag}}", Some(("app", "old-1"))),
        (
            "{{.Ref.Registry}}/backups/{{.Ref.Repository}}:{{.Ref.Tag}}-{{len .Sync.Type}}",
            Some(("backups/app", "1-5")),
        ),
        (
            "  {{ .Ref.Tag | printf \"%s-kept\" }}  ",
            Some(("app", "1-kept")),
        ),
        (layout.as_str(), None),
    ]
    .into_iter()
    .enumerate()
    {
        let old = push_image(
            target,
            &app,
            Some("1"),
            &[format!("old {number}").as_bytes()],
        )
        .await;
        push_image(
            source,
            &app,
            Some("1"),
            &[format!("new {number}").as_bytes()],
        )
        .await;
        let job = format!("{JOB}, backup: '{backup}'");
        let summary = bench.run(&[&job]).await;
        assert_eq!(failures(&summary), Vec::<String>::new(), "{backup}");
        assert_eq!(
            (summary.totals.copied, summary.totals.backups),
            (1, 1),
            "{backup}"
        );
        match place {
            Some((repository, tag)) => {
                let kept = tagged(target, &repo(repository), tag).await;
                assert_eq!(kept.as_ref(), Some(old.digest()), "{backup}");
                complete(target, &repo(repository), old.digest())
                    .await
                    .unwrap();
            }
            None => assert!(folder.path().join("kept/index.json").exists()),
        }
        // What does not change is not kept.
        assert_eq!(bench.run(&[&job]).await.totals.backups, 0);
    }
}

#[tokio::test]
async fn a_backup_that_fails_keeps_the_tag_unless_told_otherwise() {
    for (failure, copied) in [
        ("", false),
        (", backupFailure: stop", false),
        (", backupFailure: continue", true),
    ] {
        let bench = Bench::new().await;
        let app = repo("app");
        let new = push_image(bench.source.store(), &app, Some("1"), &[b"new"]).await;
        let old = push_image(bench.target.store(), &app, Some("1"), &[b"old"]).await;
        bench.target.on(
            "PUT",
            "/manifests/kept",
            usize::MAX,
            Fault::reply(403, &[], ""),
        );
        let summary = bench.run(&[&format!("{JOB}, backup: kept{failure}")]).await;
        assert_eq!(
            (summary.totals.copied == 1, summary.totals.failed == 0),
            (copied, copied),
            "{failure}"
        );
        let found = tagged(bench.target.store(), &app, "1").await;
        let expected = if copied { &new } else { &old };
        assert_eq!(found.as_ref(), Some(expected.digest()), "{failure}");
    }
}

#[tokio::test]
async fn what_others_put_there_meanwhile_is_kept_as_well() {
    let bench = Bench::new().await;
    let app = repo("app");
    push_image(bench.source.store(), &app, Some("1"), &[b"new"]).await;
    let old = push_image(bench.target.store(), &app, Some("1"), &[b"old"]).await;
    // While the first one is being kept, somebody moves the tag.
    bench.target.on("PUT", "/manifests/kept", 1, Fault::Hold);
    let others = async {
        bench.target.held().await;
        let theirs = push_image(bench.target.store(), &app, Some("1"), &[b"theirs"]).await;
        bench.target.release();
        theirs
    };
    let job = format!("{JOB}, backup: 'kept'");
    let jobs = [job.as_str()];
    let (summary, theirs) = tokio::join!(bench.run(&jobs), others);
    assert_eq!(failures(&summary), Vec::<String>::new());
    assert_eq!(summary.totals.backups, 2);
    let kept = tagged(bench.target.store(), &app, "kept").await;
    assert_eq!(
        kept.as_ref(),
        Some(theirs.digest()),
        "the last one has the name"
    );
    complete(bench.target.store(), &app, old.digest())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_backup_onto_the_tag_itself_is_refused() {
    let bench = Bench::new().await;
    let app = repo("app");
    push_image(bench.source.store(), &app, Some("1"), &[b"new"]).await;
    let old = push_image(bench.target.store(), &app, Some("1"), &[b"old"]).await;
    let said = failures(
        &bench
            .run(&[&format!("{JOB}, backup: '{{{{.Ref.Tag}}}}'")])
            .await,
    );
    assert!(said[0].contains("the very tag"), "{said:?}");
    assert_eq!(
        tagged(bench.target.store(), &app, "1").await.as_ref(),
        Some(old.digest())
    );
}
