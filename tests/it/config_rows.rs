//! Every key of the configuration language, and the test that shows its effect.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use regmirror::config::{Check, Config, ConfigError, schema};
use serde_json::Value;

/// The keys, by the part of the file that has them, each with a test of what it
/// does.
const ROWS: &[(&str, &[(&str, &str)])] = &[
    (
        "Config",
        &[
            ("version", "messages_are_as_they_were"),
            ("creds", "creds_say_how_a_registry_is_reached"),
            ("defaults", "defaults_hold_until_an_entry_says_otherwise"),
            ("sync", "regsync_s_example_gives_regsync_s_jobs"),
        ],
    ),
    (
        "Creds",
        &[
            ("registry", "creds_say_how_a_registry_is_reached"),
            ("hostname", "creds_say_how_a_registry_is_reached"),
            ("tls", "creds_say_how_a_registry_is_reached"),
            (
                "regcert",
                "j6_bad_certificates_and_times_are_faults_of_the_file",
            ),
            (
                "clientCert",
                "j6_bad_certificates_and_times_are_faults_of_the_file",
            ),
            (
                "clientKey",
                "j6_bad_certificates_and_times_are_faults_of_the_file",
            ),
            ("user", "creds_say_how_a_registry_is_reached"),
            ("pass", "creds_say_how_a_registry_is_reached"),
            ("token", "creds_say_how_a_registry_is_reached"),
            ("credHelper", "f10_the_configuration_s_keys_go_together"),
            ("credExpire", "f10_the_configuration_s_keys_go_together"),
            ("credHost", "f10_the_configuration_s_keys_go_together"),
            ("pathPrefix", "path_prefix_stands_before_every_repository"),
            (
                "mirrors",
                "mirrors_are_read_first_in_the_order_of_their_priority",
            ),
            (
                "priority",
                "mirrors_are_read_first_in_the_order_of_their_priority",
            ),
            ("repoAuth", "one_repository_a_token_where_it_is_asked_for"),
            ("blobChunk", "chunks_are_as_regsync_has_them"),
            ("blobMax", "chunks_are_as_regsync_has_them"),
            ("reqPerSec", "requests_begin_no_faster_than_they_may"),
            ("reqConcurrent", "creds_say_how_a_registry_is_reached"),
            (
                "idleTimeout",
                "j6_bad_certificates_and_times_are_faults_of_the_file",
            ),
            ("apiOpts", "without_head_tags_are_asked_for_with_get"),
            ("api", "what_creds_say_is_read"),
            ("scheme", "what_creds_say_is_read"),
        ],
    ),
    (
        "Defaults",
        &[
            ("backup", "defaults_hold_until_an_entry_says_otherwise"),
            ("backupFailure", "what_defaults_say_holds_for_every_entry"),
            ("interval", "regsync_s_example_gives_regsync_s_jobs"),
            ("schedule", "an_entry_is_due_by_regsync_s_rules"),
            ("ratelimit", "a_reserve_of_pulls_is_read_key_by_key"),
            ("parallel", "defaults_hold_until_an_entry_says_otherwise"),
            ("referrers", "defaults_hold_until_an_entry_says_otherwise"),
            ("referrerFilters", "what_defaults_say_holds_for_every_entry"),
            ("referrerSource", "what_defaults_say_holds_for_every_entry"),
            ("referrerTarget", "what_defaults_say_holds_for_every_entry"),
            ("referrerSlow", "what_defaults_say_holds_for_every_entry"),
            ("digestTags", "what_defaults_say_holds_for_every_entry"),
            ("fastCheck", "what_defaults_say_holds_for_every_entry"),
            ("fastCopy", "what_defaults_say_holds_for_every_entry"),
            ("forceRecursive", "what_defaults_say_holds_for_every_entry"),
            ("includeExternal", "what_defaults_say_holds_for_every_entry"),
            ("mediaTypes", "what_defaults_say_holds_for_every_entry"),
            ("platformIndex", "what_defaults_say_holds_for_every_entry"),
            ("hooks", "what_defaults_say_holds_for_every_entry"),
            ("blobLimit", "what_defaults_say_of_registries_is_read"),
            ("cacheCount", "a_cache_spares_a_registry_the_same_question"),
            ("cacheTime", "a_cache_spares_a_registry_the_same_question"),
            (
                "skipDockerConfig",
                "defaults_hold_until_an_entry_says_otherwise",
            ),
            ("userAgent", "defaults_hold_until_an_entry_says_otherwise"),
        ],
    ),
    (
        "Sync",
        &[
            ("name", "jobs_are_named_after_their_target_and_never_alike"),
            ("source", "regsync_s_example_gives_regsync_s_jobs"),
            ("target", "regsync_s_example_gives_regsync_s_jobs"),
            ("type", "regsync_s_example_gives_regsync_s_jobs"),
            ("tags", "allow_deny_and_ranges_choose_and_tell_why"),
            ("tagSets", "sets_of_tags_are_joined"),
            ("repos", "repositories_are_chosen_by_pattern"),
            (
                "platform",
                "h4_platform_makes_the_tag_one_image_and_is_recognised_without_a_copy",
            ),
            (
                "platforms",
                "h5_platforms_leave_the_index_as_it_is_and_bring_what_is_wanted_of_it",
            ),
            (
                "platformIndex",
                "h5_a_rewritten_index_lists_what_was_copied_and_is_recognised",
            ),
            ("backup", "a_backup_goes_where_its_template_says"),
            (
                "backupFailure",
                "a_backup_that_fails_keeps_the_tag_unless_told_otherwise",
            ),
            ("interval", "an_entry_is_due_by_regsync_s_rules"),
            ("schedule", "an_entry_is_due_by_regsync_s_rules"),
            ("ratelimit", "a_reserve_of_pulls_is_read_key_by_key"),
            (
                "referrers",
                "filters_choose_referrers_by_type_and_annotation_at_every_level",
            ),
            (
                "referrerFilters",
                "filters_choose_referrers_by_type_and_annotation_at_every_level",
            ),
            (
                "referrerSource",
                "referrers_may_be_kept_in_other_repositories",
            ),
            (
                "referrerTarget",
                "referrers_may_be_kept_in_other_repositories",
            ),
            (
                "referrerSlow",
                "referrer_slow_reads_what_a_listing_does_not_show",
            ),
            (
                "digestTags",
                "e11_digest_tags_go_with_their_image_and_before_its_tag",
            ),
            ("fastCheck", "fast_check_looks_at_the_digest_alone"),
            ("fastCopy", "fast_check_looks_at_the_digest_alone"),
            (
                "forceRecursive",
                "force_recursive_brings_back_what_the_target_lost",
            ),
            (
                "includeExternal",
                "layers_that_are_elsewhere_are_copied_when_asked_for",
            ),
            ("mediaTypes", "types_that_are_not_listed_are_left_out"),
            ("hooks", "hooks_are_told_what_happens"),
        ],
    ),
    (
        "Tags",
        &[
            ("semverRange", "allow_deny_and_ranges_choose_and_tell_why"),
            ("allow", "allow_deny_and_ranges_choose_and_tell_why"),
            ("deny", "allow_deny_and_ranges_choose_and_tell_why"),
            ("latest", "the_latest_are_taken_by_version_or_name"),
            ("sort", "the_latest_are_taken_by_when_they_were_created"),
        ],
    ),
    (
        "TagSet",
        &[
            ("semverRange", "sets_of_tags_are_joined"),
            ("allow", "sets_of_tags_are_joined"),
            ("deny", "sets_of_tags_are_joined"),
        ],
    ),
    (
        "Patterns",
        &[
            ("allow", "repositories_are_chosen_by_pattern"),
            ("deny", "repositories_are_chosen_by_pattern"),
        ],
    ),
    (
        "RateLimit",
        &[
            ("min", "a_reserve_of_pulls_is_read_key_by_key"),
            ("retry", "a_reserve_of_pulls_is_read_key_by_key"),
        ],
    ),
    (
        "ReferrerFilter",
        &[
            (
                "artifactType",
                "filters_choose_referrers_by_type_and_annotation_at_every_level",
            ),
            (
                "annotations",
                "filters_choose_referrers_by_type_and_annotation_at_every_level",
            ),
        ],
    ),
    (
        "Hooks",
        &[
            (
                "pre",
                "a_pre_hook_that_fails_stops_the_copy_and_others_count_as_failed",
            ),
            ("post", "hooks_are_told_what_happens"),
            ("unchanged", "hooks_are_told_what_happens"),
        ],
    ),
    (
        "Hook",
        &[
            ("type", "messages_are_as_they_were"),
            ("params", "a_hook_s_arguments_mean_nothing_to_a_shell"),
            (
                "timeout",
                "a_pre_hook_that_fails_stops_the_copy_and_others_count_as_failed",
            ),
        ],
    ),
];

#[test]
fn every_key_has_a_test_of_what_it_does() {
    let mut parts: BTreeMap<&str, &Value> = BTreeMap::from([("Config", schema())]);
    for (name, part) in schema()["definitions"].as_object().unwrap() {
        parts.insert(name, part);
    }
    let rows: BTreeMap<&str, BTreeSet<&str>> = ROWS
        .iter()
        .map(|(part, keys)| (*part, keys.iter().map(|(key, _)| *key).collect()))
        .collect();
    for (name, part) in &parts {
        let keys: BTreeSet<&str> = part["properties"]
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        assert_eq!(rows.get(name), Some(&keys), "{name}");
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut text = String::new();
    for folder in ["tests/it", "src"] {
        for file in sources(&root.join(folder)) {
            text.push_str(&fs::read_to_string(file).unwrap());
        }
    }
    for (part, keys) in ROWS {
        for (key, test) in *keys {
            assert!(
                text.contains(&format!("fn {test}()")),
                "{part}.{key}: there is no test {test}"
            );
        }
    }
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
    found
}

/// A key of the language: its path with `[0]` for each list, and its type.
fn scalars(prefix: &str, part: &'static Value, found: &mut Vec<(String, String)>) {
    for (name, value) in part["properties"].as_object().into_iter().flatten() {
        let path = format!("{prefix}{name}");
        let value = resolve(value);
        let kind = value["type"].as_str().unwrap().to_owned();
        match kind.as_str() {
            "object" => scalars(&format!("{path}."), value, found),
            "array" => {
                let items = resolve(&value["items"]);
                match items["type"].as_str().unwrap() {
                    "object" => scalars(&format!("{path}[0]."), items, found),
                    inner => found.push((format!("{path}[0]"), inner.to_owned())),
                }
            }
            _ => {}
        }
        found.push((path, kind));
    }
}

fn resolve(part: &'static Value) -> &'static Value {
    let part = part.get("allOf").and_then(|all| all.get(0)).unwrap_or(part);
    match part["$ref"].as_str() {
        Some(path) => &schema()["definitions"][path.trim_start_matches("#/definitions/")],
        None => part,
    }
}

/// `sync[0].tags.allow` with `value` for it, in YAML's flow style.
fn nested(path: &str, value: &str) -> String {
    path.rsplit('.').fold(value.to_owned(), |inner, name| {
        match name.strip_suffix("[0]") {
            Some(name) => format!("{{{name}: [{inner}]}}"),
            None => format!("{{{name}: {inner}}}"),
        }
    })
}

#[test]
fn a_value_of_a_wrong_type_is_found_at_every_key() {
    let mut keys = Vec::new();
    scalars("", schema(), &mut keys);
    assert!(keys.len() > 120, "{}", keys.len());
    for (path, kind) in keys {
        let wrong: &[&str] = match kind.as_str() {
            "string" => &["[a]", "{a: b}"],
            "boolean" => &["maybe", "7", "[true]", "{a: b}", "'true'"],
            "integer" => &["some", "1.5", "true", "[1]", "{a: b}", "'1'"],
            "number" => &["some", "true", "[1]", "{a: b}", ".nan"],
            "array" => &["text", "7", "{a: b}"],
            "object" => &["text", "true", "[a]"],
            other => panic!("{path} is of type {other}"),
        };
        for value in wrong {
            let text = nested(&path, value);
            let report = match Config::parse(&text, "test") {
                Err(ConfigError::Faulty(report)) => report,
                other => panic!("{text}: {other:?}"),
            };
            let found = report
                .findings()
                .iter()
                .find(|finding| finding.at == path && finding.check == Check::Form);
            let found = found.unwrap_or_else(|| panic!("{text}: {report}"));
            assert!(
                found.message.starts_with("expected ") && found.place.is_some(),
                "{text}: {found}"
            );
        }
        // Nothing, and what is empty, is not there.
        if let Err(ConfigError::Faulty(report)) = Config::parse(&nested(&path, "~"), "test") {
            let form = report
                .findings()
                .iter()
                .find(|finding| finding.at == path && finding.check == Check::Form);
            assert!(form.is_none() || path.ends_with(']'), "{path}: {report}");
        }
    }
}
