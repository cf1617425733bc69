//! The objects: what Kubernetes knows, safe, and leading to each other.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::CronJob;
use k8s_openapi::api::core::v1::{
    ConfigMap, Namespace, PersistentVolumeClaim, PodSpec, PodTemplateSpec, Service, ServiceAccount,
};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use regmirror::config::Config;
use regmirror::schedule::Schedule;

use super::VERSION;
use super::alerts::rules;
use super::monitored::{PodMonitor, PrometheusRule};
use super::pod::{NAMESPACE, Pod, source};
use super::rendered::{Rendered, every, typed};

/// The templates of all pods there are.
fn pods(rendered: &Rendered) -> Vec<PodTemplateSpec> {
    let deployments = rendered.all::<Deployment>("Deployment").into_iter();
    let deployments = deployments.map(|deployment| deployment.spec.unwrap().template);
    let jobs = rendered.all::<CronJob>("CronJob").into_iter();
    let jobs = jobs.map(|job| job.spec.unwrap().job_template.spec.unwrap().template);
    let pods: Vec<_> = deployments.chain(jobs).collect();
    assert_eq!(pods.len(), 1, "one kind of pod an overlay");
    pods
}

fn labels(pod: &PodTemplateSpec) -> &BTreeMap<String, String> {
    pod.metadata.as_ref().unwrap().labels.as_ref().unwrap()
}

fn spec(pod: &PodTemplateSpec) -> &PodSpec {
    pod.spec.as_ref().unwrap()
}

#[test]
fn every_object_is_of_a_type_that_knows_its_fields() {
    let mut kinds = BTreeSet::new();
    for (name, rendered) in every() {
        for object in &rendered.objects {
            let kind = (
                object["apiVersion"].as_str().unwrap(),
                object["kind"].as_str().unwrap(),
            );
            match kind {
                ("v1", "Namespace") => drop(typed::<Namespace>(object)),
                ("v1", "ServiceAccount") => drop(typed::<ServiceAccount>(object)),
                ("v1", "ConfigMap") => drop(typed::<ConfigMap>(object)),
                ("v1", "Service") => drop(typed::<Service>(object)),
                ("v1", "PersistentVolumeClaim") => drop(typed::<PersistentVolumeClaim>(object)),
                ("apps/v1", "Deployment") => drop(typed::<Deployment>(object)),
                ("batch/v1", "CronJob") => drop(typed::<CronJob>(object)),
                ("networking.k8s.io/v1", "NetworkPolicy") => drop(typed::<NetworkPolicy>(object)),
                ("monitoring.coreos.com/v1", "PodMonitor") => drop(typed::<PodMonitor>(object)),
                ("monitoring.coreos.com/v1", "PrometheusRule") => {
                    drop(typed::<PrometheusRule>(object));
                }
                other => panic!("{name}: {other:?} is checked by nobody"),
            }
            kinds.insert(kind.1.to_owned());
            let namespace = match kind.1 {
                "Namespace" => &object["metadata"]["name"],
                _ => &object["metadata"]["namespace"],
            };
            assert_eq!(namespace, NAMESPACE, "{name}: {object:#}");
            assert_eq!(
                object["metadata"]["labels"]["app.kubernetes.io/name"],
                "regmirror"
            );
        }
    }
    assert!(kinds.is_empty() || kinds.len() == 10, "{kinds:?}");
}

#[test]
fn a_field_that_kubernetes_does_not_know_is_noticed() {
    let object = serde_json::json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"},
        "spec": {"ports": [{"port": 1, "targetport": "http"}]},
    });
    let read = std::panic::catch_unwind(|| typed::<Service>(&object));
    let told = read.unwrap_err().downcast::<String>().unwrap();
    assert!(told.contains("spec.?.ports.?.0.targetport"), "{told}");
}

/// Pod Security Standards, "restricted".
///
/// Source: <https://kubernetes.io/docs/concepts/security/pod-security-standards/>
#[test]
fn pods_are_restricted_and_have_no_more_than_they_need() {
    for (name, rendered) in every() {
        for pod in pods(&rendered) {
            let spec = spec(&pod);
            let all = spec.security_context.as_ref().unwrap();
            assert_eq!(all.run_as_non_root, Some(true), "{name}");
            // Numbers, as in the image: names cannot be checked before it runs.
            for id in [all.run_as_user, all.run_as_group, all.fs_group] {
                assert_eq!(id, Some(65532), "{name}");
            }
            assert_eq!(
                all.seccomp_profile.as_ref().unwrap().type_,
                "RuntimeDefault"
            );
            assert_eq!(spec.automount_service_account_token, Some(false), "{name}");
            assert_eq!(spec.enable_service_links, Some(false), "{name}");
            for taken in [spec.host_network, spec.host_pid, spec.host_ipc] {
                assert_eq!(taken, None, "{name}");
            }
            assert_eq!(spec.containers.len(), 1);
            let container = &spec.containers[0];
            let own = container.security_context.as_ref().unwrap();
            assert_eq!(own.allow_privilege_escalation, Some(false), "{name}");
            assert_eq!(own.read_only_root_filesystem, Some(true), "{name}");
            assert_eq!(own.privileged, None);
            let capabilities = own.capabilities.as_ref().unwrap();
            assert_eq!(capabilities.drop.as_deref(), Some(&["ALL".to_owned()][..]));
            assert_eq!(capabilities.add, None);
            assert_eq!(
                container.termination_message_policy.as_deref(),
                Some("FallbackToLogsOnError"),
                "{name}: its status shows why it ended"
            );
            let resources = container.resources.as_ref().unwrap();
            let limits = resources.limits.as_ref().unwrap();
            assert!(
                limits.contains_key("memory") && !limits.contains_key("cpu"),
                "{name}"
            );
            let requests = resources.requests.as_ref().unwrap();
            assert!(
                requests.contains_key("memory") && requests.contains_key("cpu"),
                "{name}"
            );
            for port in container.ports.iter().flatten() {
                assert!(
                    port.container_port >= 1024 && port.host_port.is_none(),
                    "{name}"
                );
            }
        }
        if let Some(namespace) = rendered.all::<Namespace>("Namespace").first() {
            let labels = namespace.metadata.labels.as_ref().unwrap();
            assert_eq!(labels["pod-security.kubernetes.io/enforce"], "restricted");
        }
    }
}

#[test]
fn volumes_are_whole_directories_and_all_that_they_show_is_there_or_may_be_missing() {
    // What operators make; the guide says how.
    let made = ["regmirror-registry", "regmirror-env", "regmirror-admin"];
    for (name, rendered) in every() {
        let maps: Vec<ConfigMap> = rendered.all("ConfigMap");
        let claims: Vec<PersistentVolumeClaim> = rendered.all("PersistentVolumeClaim");
        let accounts: Vec<ServiceAccount> = rendered.all("ServiceAccount");
        for pod in pods(&rendered) {
            let spec = spec(&pod);
            let account = spec.service_account_name.as_deref();
            assert!(
                accounts
                    .iter()
                    .any(|known| known.metadata.name.as_deref() == account)
            );
            let volumes = spec.volumes.as_ref().unwrap();
            let mounts = spec.containers[0].volume_mounts.as_ref().unwrap();
            let mounted: BTreeSet<&str> = mounts.iter().map(|mount| mount.name.as_str()).collect();
            let there: BTreeSet<&str> = volumes.iter().map(|volume| volume.name.as_str()).collect();
            assert_eq!(mounted, there, "{name}");
            for mount in mounts {
                assert_eq!(
                    mount.sub_path, None,
                    "{name}: {} would never change",
                    mount.name
                );
                assert_eq!(mount.sub_path_expr, None);
            }
            for volume in volumes {
                let shown = source(volume);
                let read_only = mounts.iter().find(|mount| mount.name == volume.name);
                assert_eq!(
                    read_only.unwrap().read_only.is_some(),
                    shown.is_some(),
                    "{name}"
                );
                if volume.config_map.is_some() {
                    let (shown, _) = shown.unwrap();
                    let known = maps
                        .iter()
                        .any(|map| map.metadata.name.as_ref() == Some(&shown));
                    assert!(known, "{name}: there is no ConfigMap {shown}");
                } else if let Some((secret, optional)) = shown {
                    assert!(made.contains(&secret.as_str()), "{name}: {secret}");
                    // Whoever asks for it is told that it is missing.
                    assert_eq!(optional, secret != "regmirror-admin", "{name}: {secret}");
                } else if let Some(claim) = &volume.persistent_volume_claim {
                    let known = |known: &PersistentVolumeClaim| {
                        known.metadata.name.as_deref() == Some(claim.claim_name.as_str())
                    };
                    assert!(claims.iter().any(known), "{name}");
                    assert!(volume.empty_dir.is_none(), "{name}: both");
                } else {
                    let limit = volume.empty_dir.as_ref().unwrap().size_limit.as_ref();
                    assert!(limit.is_some(), "{name}: a node's disk is not ours");
                }
            }
            let everything = name.ends_with("with everything");
            let claimed = volumes
                .iter()
                .any(|volume| volume.persistent_volume_claim.is_some());
            assert_eq!(claimed, everything, "{name}");
        }
    }
}

#[test]
fn what_selects_pods_or_ports_finds_them() {
    for (name, rendered) in every() {
        let pods = pods(&rendered);
        let (pod, spec) = (&pods[0], spec(&pods[0]));
        let port = |wanted: &str| {
            let ports = spec.containers[0].ports.iter().flatten();
            let mut found = ports.filter(|port| port.name.as_deref() == Some(wanted));
            found
                .next()
                .unwrap_or_else(|| panic!("{name}: no port {wanted}"));
        };
        let selects = |selector: &BTreeMap<String, String>| {
            assert!(!selector.is_empty(), "{name}");
            for (label, value) in selector {
                assert_eq!(labels(pod).get(label), Some(value), "{name}: {label}");
            }
        };
        for deployment in rendered.all::<Deployment>("Deployment") {
            let spec = deployment.spec.unwrap();
            selects(&spec.selector.match_labels.unwrap());
            assert_eq!(spec.replicas, Some(1), "{name}");
            assert_eq!(spec.strategy.unwrap().type_.as_deref(), Some("Recreate"));
        }
        for service in rendered.all::<Service>("Service") {
            let spec = service.spec.unwrap();
            selects(&spec.selector.unwrap());
            for found in spec.ports.unwrap() {
                let Some(IntOrString::String(target)) = found.target_port else {
                    panic!("{name}: a port has a name");
                };
                port(&target);
            }
        }
        for policy in rendered.all::<NetworkPolicy>("NetworkPolicy") {
            let policy = policy.spec.unwrap();
            selects(&policy.pod_selector.unwrap().match_labels.unwrap());
            assert_eq!(policy.policy_types.unwrap(), ["Ingress", "Egress"]);
            for rule in policy.ingress.unwrap() {
                let Some(IntOrString::String(known)) = rule.ports.unwrap().remove(0).port else {
                    panic!("{name}: a port has a name");
                };
                // Of a CronJob's pods there is none to reach.
                if rendered.has("Deployment") {
                    port(&known);
                }
            }
        }
        for monitor in rendered.all::<PodMonitor>("PodMonitor") {
            selects(&monitor.spec.selector.match_labels);
            port(&monitor.spec.pod_metrics_endpoints[0].port);
            // The name that alerts know it by.
            assert_eq!(labels(pod)[&monitor.spec.job_label], "regmirror");
        }
        assert_eq!(
            rendered.has("Service"),
            rendered.has("Deployment"),
            "{name}"
        );
    }
}

#[test]
fn the_configuration_works_and_a_change_of_it_makes_no_new_pod() {
    for (name, rendered) in every() {
        let maps: Vec<ConfigMap> = rendered.all("ConfigMap");
        let map = maps
            .iter()
            .find(|map| map.metadata.name.as_deref() == Some("regmirror-config"))
            .unwrap_or_else(|| panic!("{name}: its name is not what is mounted"));
        let text = &map.data.as_ref().unwrap()["config.yml"];
        let config = Config::parse(text, "config.yml").unwrap_or_else(|error| panic!("{error}"));
        assert!(config.warnings.is_empty(), "{}", config.warnings);
        assert!(
            !config.schedules.is_empty(),
            "a server has something to wait for"
        );
    }
}

#[test]
fn all_that_runs_is_this_version() {
    for (name, rendered) in every() {
        for pod in pods(&rendered) {
            let image = spec(&pod).containers[0].image.as_deref().unwrap();
            assert_eq!(image.rsplit_once(':').unwrap().1, VERSION, "{name}");
        }
    }
}

#[test]
fn somebody_s_own_overlay_brings_its_own_configuration() {
    // As the guide has it.
    let own = |text: String| {
        text + "\nconfigMapGenerator:\n\
                - name: regmirror-config\n  behavior: replace\n  literals: ['config.yml=sync: []']\n\
                images:\n- name: ghcr.io/regmirror/regmirror\n  newName: r.test/regmirror\n  newTag: '9'\n"
    };
    for overlay in ["singleton", "cronjob"] {
        let Some(rendered) = Rendered::altered(overlay, own) else {
            return;
        };
        let maps: Vec<ConfigMap> = rendered.all("ConfigMap");
        assert_eq!(maps.len(), 1, "{overlay}");
        assert_eq!(maps[0].metadata.name.as_deref(), Some("regmirror-config"));
        assert_eq!(maps[0].data.as_ref().unwrap()["config.yml"], "sync: []");
        let pod = pods(&rendered).remove(0);
        let image = spec(&pod).containers[0].image.clone();
        assert_eq!(image.as_deref(), Some("r.test/regmirror:9"));
    }
}

#[test]
fn a_cron_job_s_times_fit_into_each_other() {
    let Some(rendered) = Rendered::overlay("cronjob") else {
        return;
    };
    let spec = rendered.only::<CronJob>("CronJob").spec.unwrap();
    assert_eq!(spec.concurrency_policy.as_deref(), Some("Forbid"));
    assert!(spec.time_zone.is_some() && spec.starting_deadline_seconds.is_some());
    assert!(Schedule::parse(&spec.schedule).is_ok());
    let job = spec.job_template.spec.unwrap();
    assert!(
        job.backoff_limit.unwrap() <= 2,
        "what fails is retried by the next run"
    );
    let template = job.template.spec.unwrap();
    assert_eq!(
        template.restart_policy.as_deref(),
        Some("Never"),
        "podFailurePolicy wants it"
    );
    let pod = Pod::new(template, &[("regmirror-config", &[])]);
    let (run, drain) = (pod.seconds("max-duration"), pod.seconds("drain-timeout"));
    let tries = i64::from(job.backoff_limit.unwrap()) + 1;
    let deadline = job.active_deadline_seconds.unwrap();
    assert!(
        tries * (run + drain) < deadline,
        "it is for all tries together"
    );
    // Whoever is told that it does not succeed waits until it cannot any more.
    let rule = rules("monitoring-once").all().next().unwrap().expr.clone();
    let (_, patience) = rule.split_once(") > ").unwrap();
    let patience: i64 = patience.split_whitespace().next().unwrap().parse().unwrap();
    assert!(86400 + deadline < patience, "{rule}");
    assert!(drain < pod.spec.termination_grace_period_seconds.unwrap());
}
