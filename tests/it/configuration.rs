//! What a configuration means.

use proptest::prelude::*;
use regmirror::config::{Config, Login};
use regmirror::http::Tls;
use regmirror::oci::Location;
use regmirror::sync::{Job, Scope};
use regmirror::template::Process;

fn parse(text: &str) -> Config {
    Config::parse(text, "test.yml").unwrap_or_else(|error| panic!("{error}"))
}

fn faults(text: &str) -> String {
    Config::parse(text, "test.yml").unwrap_err().to_string()
}

fn job(entry: &str) -> Job {
    let mut config = parse(&format!("sync:\n- {{{entry}}}\n"));
    config.jobs.remove(0)
}

#[test]
fn creds_say_how_a_registry_is_reached() {
    let config = parse(
        "creds:\n\
         - registry: index.docker.io\n  user: me\n  pass: hunter2\n  reqConcurrent: 2\n\
         - registry: r.test:5000\n  hostname: 127.0.0.1:5001\n  tls: disabled\n  token: abc\n\
         - {registry: insecure.test, tls: insecure}\n",
    );
    let hub = &config.registries[&"docker.io".parse().unwrap()];
    let Some(Login::Password { user, password }) = &hub.login else {
        panic!("{hub:?}");
    };
    assert_eq!((user.as_str(), password.expose()), ("me", "hunter2"));
    assert_eq!((hub.tls, hub.concurrent), (Tls::Enabled, Some(2)));
    assert!(
        !format!("{config:?}").contains("hunter2"),
        "a secret is printed"
    );

    let local = &config.registries[&"r.test:5000".parse().unwrap()];
    assert_eq!(local.hostname.as_deref(), Some("127.0.0.1:5001"));
    assert_eq!(local.tls, Tls::Disabled);
    assert!(matches!(&local.login, Some(Login::Token(token)) if token.expose() == "abc"));
    assert_eq!(
        config.registries[&"insecure.test".parse().unwrap()].tls,
        Tls::Insecure
    );
}

#[test]
fn defaults_hold_until_an_entry_says_otherwise() {
    let config = parse(
        "defaults: {backup: old, referrers: true, parallel: 9, userAgent: me/1, skipDockerConfig: true}\n\
         sync:\n\
         - {source: a, target: r.test/a, type: image}\n\
         - {source: b, target: r.test/b, type: image, backup: kept, referrers: false}\n",
    );
    let policies: Vec<_> = config
        .jobs
        .iter()
        .map(|job| {
            let backup = job.policy.backup.as_ref();
            let backup = backup.map(|backup| backup.template.text());
            (backup, job.policy.referrers.is_some())
        })
        .collect();
    assert_eq!(policies, [(Some("old"), true), (Some("kept"), false)]);
    assert_eq!((config.parallel, config.docker_config), (9, false));
    assert_eq!(config.user_agent.as_deref(), Some("me/1"));
    let usual = parse("sync: []");
    assert_eq!(
        (usual.parallel, usual.docker_config),
        (Config::PARALLEL, true)
    );
}

#[test]
fn a_backup_with_a_colon_or_a_slash_is_a_reference() {
    let backup = |text: &str| {
        let entry = format!("source: a, target: r.test/a, type: image, backup: \"{text}\"");
        let job = job(&entry);
        let Scope::Image { target, .. } = &job.scope else {
            panic!("{job:?}");
        };
        let (backup, tag) = (job.policy.backup.unwrap(), target.tag_to_write().unwrap());
        let place = backup.place(&target.location, &target.repository, &tag, &Process);
        place.unwrap().repository.is_some()
    };
    assert!(!backup("old"));
    for text in ["r.test/attic/a:old", "attic/a", "ocidir://attic:old"] {
        assert!(backup(text), "{text}");
    }
}

#[test]
fn a_registry_job_takes_a_prefix_at_the_target() {
    let scope = job("source: s.test, target: \"t.test:5000/mirror/s\", type: registry").scope;
    let Scope::Registry {
        source,
        target,
        prefix,
        ..
    } = &scope
    else {
        panic!("{scope:?}");
    };
    assert_eq!(source, &Location::Registry("s.test".parse().unwrap()));
    assert_eq!(target, &Location::Registry("t.test:5000".parse().unwrap()));
    assert_eq!(prefix.as_str(), "mirror/s");
    let scope = job("source: s.test, target: \"ocidir://mirror\", type: registry").scope;
    assert_eq!(scope.target(), &Location::Layout("mirror".into()));
}

#[test]
fn jobs_are_named_after_their_target_and_never_alike() {
    let config = parse(
        "sync:\n\
         - {source: a, target: r.test/a, type: image}\n\
         - {source: b, target: r.test/a, type: image}\n\
         - {source: c, target: r.test/c, type: image, name: mine}\n",
    );
    let names: Vec<&str> = config.jobs.iter().map(|job| job.name.as_str()).collect();
    assert_eq!(names, ["r.test/a", "r.test/a (2)", "mine"]);
    let twice = "sync:\n\
                 - {source: a, target: r.test/a, type: image, name: x}\n\
                 - {source: a, target: r.test/b, type: image, name: x}\n";
    assert!(faults(twice).contains("sync[1].name: another entry is called \"x\""));
}

#[test]
fn all_faults_are_told_at_once_with_their_places() {
    let text = "version: 3\n\
                creds:\n- {registry: \"no host\", tls: maybe}\n\
                defaults: {parallel: -1}\n\
                sync:\n\
                - {source: a, target: r.test/a, type: image, platforms: [amd64]}\n\
                - {target: \"r.test/A\", type: repository, tags: {deny: [\"[\"]}}\n";
    let told = faults(text);
    for place in [
        "version:",
        "creds[0].registry:",
        "creds[0].tls:",
        "defaults.parallel:",
        "sync[0].platforms[0]:",
        "sync[1].source: missing",
        "sync[1].tags.deny[0]:",
    ] {
        assert!(
            told.lines()
                .any(|line| line.starts_with("test.yml:") && line.contains(&format!(": {place}"))),
            "{place} is missing:\n{told}"
        );
    }
}

#[test]
fn oddities_are_warnings() {
    let config = parse(
        "colour: red\n\
         x-anchors: {a: b}\n\
         sync:\n\
         - {source: \"a:1\", target: r.test/a, type: repository, repos: {allow: [x]}}\n",
    );
    let told = config.warnings.to_string();
    assert_eq!(
        told.lines().collect::<Vec<_>>(),
        [
            "test.yml:1:1: colour: no such key; it has no effect",
            "test.yml:4:12: sync[0].source: the tag has no effect: all tags are copied",
            "test.yml:4:55: sync[0].repos: has no effect for this type",
        ]
    );
}

#[test]
fn a_backup_that_several_tags_would_share_is_warned_of() {
    let entry = |kind: &str| {
        format!("sync:\n- {{source: r.test/a, target: t.test/a, type: {kind}, backup: old}}\n")
    };
    assert!(parse(&entry("image")).warnings.is_empty());
    let warnings = parse(&entry("repository")).warnings;
    assert!(
        warnings
            .to_string()
            .contains("sync[0].backup: one place for all tags"),
        "{warnings}"
    );
}

#[test]
fn a_hostname_is_no_url() {
    let told = faults("creds:\n- {registry: r.test, hostname: \"http://b/x\"}\n");
    assert!(told.contains("creds[0].hostname"), "{told}");
}

#[test]
fn a_file_that_is_too_long_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("long.yml");
    std::fs::write(&path, "# x\n".repeat(2 << 20)).unwrap();
    let error = Config::read(&path).unwrap_err().to_string();
    assert!(
        error.contains("long.yml") && error.contains("4 MiB"),
        "{error}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn arbitrary_text_never_panics(text: String) {
        let _ = Config::parse(&text, "test.yml");
    }

    #[test]
    fn what_is_near_a_configuration_never_panics(
        key in "[a-z]{1,8}",
        value in "[a-zA-Z0-9:/@.\\[\\]{}\"' -]{0,30}",
    ) {
        for text in [
            format!("{key}: {value}\n"),
            format!("sync:\n- source: {value}\n  target: {value}\n  type: image\n  {key}: {value}\n"),
            format!("creds:\n- registry: {value}\n  {key}: {value}\n"),
        ] {
            let _ = Config::parse(&text, "test.yml");
        }
    }
}

#[test]
fn a_reserve_of_pulls_is_read_key_by_key() {
    let text = |defaults: &str, entry: &str| {
        format!(
            "defaults: {{{defaults}}}\n\
             sync:\n- {{source: a, target: r.test/a, type: image, {entry}}}\n"
        )
    };
    let limit = |defaults: &str, entry: &str| {
        parse(&text(defaults, entry)).jobs[0]
            .policy
            .rate_limit
            .map(|limit| (limit.min, limit.retry.as_secs()))
    };
    assert_eq!(limit("", ""), None);
    assert_eq!(limit("", "ratelimit: {retry: 15m}"), None);
    assert_eq!(limit("", "ratelimit: {min: 10}"), Some((10, 300)));
    assert_eq!(
        limit("", "ratelimit: {min: 10, retry: 15m}"),
        Some((10, 900))
    );
    assert_eq!(
        limit("ratelimit: {min: 100, retry: 1h}", "ratelimit: {min: 10}"),
        Some((10, 3600))
    );
    assert_eq!(
        limit("ratelimit: {min: 100, retry: 1h}", "ratelimit: {retry: 2h}"),
        Some((100, 7200))
    );

    let short = parse(&text("", "ratelimit: {min: 1, retry: 1m}"));
    assert_eq!(
        short.jobs[0].policy.rate_limit.unwrap().retry.as_secs(),
        300
    );
    assert_eq!(
        short.warnings.to_string(),
        "test.yml:3:73: sync[0].ratelimit.retry: raised to the least, 5m"
    );
    let wrong = faults(&text(
        "ratelimit: {retry: often}",
        "ratelimit: {min: -1}, name: x",
    ));
    assert!(wrong.contains("sync[0].ratelimit.min: expected a number of pulls"));
    let wrong = faults(&text(
        "ratelimit: {retry: often}",
        "ratelimit: {min: 1}, name: x",
    ));
    assert!(wrong.contains("defaults.ratelimit.retry: \"often\" is no duration"));
}

#[test]
fn what_defaults_say_holds_for_every_entry() {
    use regmirror::sync::{BackupFailure, IndexForm, Platforms};

    let defaults = "referrers: true, referrerFilters: [{artifactType: sbom}], referrerSlow: true, \
                    referrerSource: r.test/from, referrerTarget: r.test/to, digestTags: true, \
                    fastCopy: true, includeExternal: true, platformIndex: rewrite, backup: old, \
                    backupFailure: continue, mediaTypes: [application/vnd.oci.image.index.v1+json], \
                    hooks: {pre: {type: exec, params: [a]}, post: {type: exec, params: [b]}}";
    let config = parse(&format!(
        "defaults: {{{defaults}}}\nsync:\n\
         - {{source: a, target: r.test/a, type: image, platforms: [linux/amd64]}}\n\
         - {{source: b, target: r.test/b, type: image, platforms: [linux/amd64], \
         referrers: false, digestTags: false, fastCheck: false, includeExternal: false, \
         platformIndex: sparse, backupFailure: stop, forceRecursive: true, \
         mediaTypes: [application/vnd.oci.image.manifest.v1+json], \
         hooks: {{pre: {{type: exec, params: [c]}}}}}}\n"
    ));
    let [all, own] = [&config.jobs[0].policy, &config.jobs[1].policy];
    let referrers = all.referrers.as_ref().unwrap();
    assert_eq!(referrers.filters[0].artifact_type.as_deref(), Some("sbom"));
    assert!(referrers.slow && all.digest_tags && all.fast_check && all.include_external);
    let place =
        |reference: &Option<regmirror::oci::Reference>| reference.as_ref().unwrap().to_string();
    assert_eq!(
        (place(&referrers.source), place(&referrers.target)),
        ("r.test/from".to_owned(), "r.test/to".to_owned())
    );
    assert_eq!(
        all.backup.as_ref().unwrap().failure,
        BackupFailure::Continue
    );
    assert!(matches!(
        all.platforms,
        Platforms::Some {
            index: IndexForm::Rewrite,
            ..
        }
    ));
    assert_eq!(all.media_types.len(), 1);
    let program =
        |hook: &Option<regmirror::sync::Hook>| hook.as_ref().map(|hook| hook.program.clone());
    assert_eq!(
        (
            program(&all.hooks.pre).unwrap(),
            program(&all.hooks.post).unwrap()
        ),
        ("a".to_owned(), "b".to_owned())
    );

    assert!(
        own.referrers.is_none() && !own.digest_tags && !own.include_external && own.force_recursive
    );
    // The entry has the one name of it, the defaults the other.
    assert!(!own.fast_check);
    assert_eq!(own.backup.as_ref().unwrap().failure, BackupFailure::Stop);
    assert!(matches!(
        own.platforms,
        Platforms::Some {
            index: IndexForm::Sparse,
            ..
        }
    ));
    assert_ne!(own.media_types, all.media_types);
    assert_eq!(program(&own.hooks.pre).unwrap(), "c");
    assert_eq!(
        program(&own.hooks.post).unwrap(),
        "b",
        "each hook by itself"
    );

    let forced = parse(
        "defaults: {forceRecursive: yes}\nsync:\n- {source: a, target: r.test/a, type: image}\n",
    );
    assert!(forced.jobs[0].policy.force_recursive);
}

#[test]
fn an_entry_is_due_by_regsync_s_rules() {
    let due = |defaults: &str, entry: &str| {
        let text = format!(
            "defaults: {{{defaults}}}\nsync:\n- {{source: a, target: r.test/a, type: image, name: x, {entry}}}\n"
        );
        let config = parse(&text);
        let due = config.schedules.get("x").map(ToString::to_string);
        (due.unwrap_or_default(), config.warnings.to_string())
    };
    let cron = "'5 4 * * sun'";
    for (defaults, entry, expected) in [
        ("", "", ""),
        ("interval: 1h", "", "@every 3600s"),
        ("interval: 1h", "interval: 5m", "@every 300s"),
        ("interval: 1h", &format!("schedule: {cron}"), "5 4 * * sun"),
        (
            "",
            &format!("schedule: {cron}, interval: 5m"),
            "5 4 * * sun",
        ),
        (&format!("schedule: {cron}"), "", "5 4 * * sun"),
        (
            "schedule: '@daily'",
            &format!("schedule: {cron}"),
            "5 4 * * sun",
        ),
        ("schedule: '@daily', interval: 1h", "", "@daily"),
    ] {
        let (due, warnings) = due(defaults, entry);
        assert_eq!(
            (due.as_str(), warnings.as_str()),
            (expected, ""),
            "{defaults} {entry}"
        );
    }
    let (due, warnings) = due("schedule: '@daily'", "interval: 5m");
    assert_eq!(due, "@daily");
    assert!(
        warnings.contains("sync[0].interval: has no effect: the schedule of defaults comes first"),
        "{warnings}"
    );
}
