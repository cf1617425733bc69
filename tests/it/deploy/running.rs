//! The pods' settings, against what the program does with them.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::CronJob;
use k8s_openapi::api::core::v1::{ConfigMap, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use reqwest::Method;
use rustix::process::Signal;

use super::monitored::PodMonitor;
use super::pod::Pod;
use super::rendered::Rendered;
use crate::support::Fault;
use crate::support::bench::Bench;
use crate::support::client;
use crate::support::daemon::Server;
use crate::support::images::{arrives, push_image, repo, tagged};
use crate::support::program::{Program, end, regmirror};

const JOB: &str =
    "name: app, source: SOURCE/app, target: TARGET/app, type: repository, interval: 1s";

/// The server's pod, in a cluster that has these.
pub(super) fn server(held: &[(&str, &[(&str, &str)])]) -> Option<Pod> {
    let rendered = Rendered::overlay("singleton")?;
    let deployment = rendered.only::<Deployment>("Deployment").spec.unwrap();
    Some(Pod::new(deployment.template.spec.unwrap(), held))
}

/// The CronJob's pod.
pub(super) fn once(held: &[(&str, &[(&str, &str)])]) -> Option<Pod> {
    let rendered = Rendered::overlay("cronjob")?;
    let job = rendered.only::<CronJob>("CronJob").spec.unwrap();
    let job = job.job_template.spec.unwrap();
    Some(Pod::new(job.template.spec.unwrap(), held))
}

/// A pod's container as a process here: its arguments and variables, where its
/// directories are laid out. It listens where there is a place.
pub(super) fn program(pod: &Pod) -> Program {
    let arguments = pod.arguments().into_iter();
    let arguments: Vec<String> = arguments
        .filter(|argument| !argument.starts_with("--http-addr="))
        .map(|argument| pod.outside(&argument))
        .collect();
    let mut command = regmirror(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    for (name, value) in pod.variables() {
        command.env(name, pod.outside(&value));
    }
    // Every pod has it.
    command.env("KUBERNETES_SERVICE_HOST", "10.96.0.1");
    Program::of(command)
}

/// The path that a probe asks, at the port with which name.
fn asked(probe: &Option<Probe>) -> (String, String) {
    let probe = probe
        .as_ref()
        .expect("a probe")
        .http_get
        .as_ref()
        .expect("over HTTP");
    let IntOrString::String(port) = &probe.port else {
        panic!("a port has a name");
    };
    (probe.path.clone().unwrap(), port.clone())
}

#[tokio::test]
async fn the_server_s_pod_starts_and_is_reached_where_its_objects_say() {
    let bench = Bench::new().await;
    push_image(bench.source.store(), &repo("app"), Some("1"), &[b"1"]).await;
    let text = bench.config(&[JOB]);
    let Some(pod) = server(&[("regmirror-config", &[("config.yml", &text)])]) else {
        return;
    };
    let container = pod.container();
    let address = pod.option("http-addr").unwrap();
    let ports = container.ports.as_ref().unwrap();
    assert_eq!(address, format!("0.0.0.0:{}", ports[0].container_port));

    let mut server = Server::start(program(&pod));
    arrives(&bench.target, "app", "1").await;
    for probe in [
        &container.startup_probe,
        &container.liveness_probe,
        &container.readiness_probe,
    ] {
        let (path, port) = asked(probe);
        assert_eq!(Some(port.as_str()), ports[0].name.as_deref());
        assert_eq!(
            server.ask(Method::GET, &path, "").await.status(),
            200,
            "{path}"
        );
    }
    let monitor: PodMonitor = Rendered::with_everything("singleton")
        .unwrap()
        .only("PodMonitor");
    let path = &monitor.spec.pod_metrics_endpoints[0].path;
    let metrics = server
        .ask(Method::GET, path, "")
        .await
        .text()
        .await
        .unwrap();
    assert!(metrics.contains("\nregmirror_sync_running"), "{metrics}");
    // By the names of its Service.
    let url = server.url().await + "/api/v1/status";
    for (host, status) in [
        ("regmirror:9090", 200),
        ("regmirror.regmirror:9090", 200),
        ("regmirror.regmirror.svc:9090", 200),
        ("regmirror.regmirror.svc.cluster.local:9090", 200),
        ("10.1.2.3:9090", 200),
        ("regmirror.example.com", 421),
    ] {
        let answer = client()
            .get(&url)
            .header("host", host)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), status, "{host}");
    }
    assert!(
        pod.folder("data").join("state").is_dir(),
        "what it knows has a place"
    );
    server.signal(Signal::TERM);
    assert_eq!(server.end().await, 0);
    assert!(pod.folder("data").join("state/state.json").is_file());
}

#[tokio::test]
async fn whoever_has_the_token_of_its_secret_may_change_something_and_nobody_else() {
    let bench = Bench::new().await;
    push_image(bench.source.store(), &repo("app"), Some("1"), &[b"1"]).await;
    let text = bench.config(&[JOB]);
    let Some(rendered) = Rendered::with_everything("singleton") else {
        return;
    };
    let deployment = rendered.only::<Deployment>("Deployment").spec.unwrap();
    let held: &[(&str, &[(&str, &str)])] = &[
        ("regmirror-config", &[("config.yml", &text)]),
        ("regmirror-admin", &[("token", "s3cret")]),
    ];
    let pod = Pod::new(deployment.template.spec.unwrap(), held);
    let mut server = Server::start(program(&pod));
    for (token, status) in [("", 401), ("other", 401), ("s3cret", 202)] {
        let answer = server.ask(Method::POST, "/api/v1/jobs/app/pause", token);
        assert_eq!(answer.await.status(), status, "{token}");
    }
    // By `kubectl exec`, with the container's variables.
    let mut ctl = regmirror(&["ctl", "pause", "app"]);
    ctl.env("REGMIRROR_URL", server.url().await);
    for (name, value) in pod.variables() {
        ctl.env(name, pod.outside(&value));
    }
    let (code, out, err) = Program::of(ctl).run().await;
    assert_eq!(code, 0, "{out}{err}");
    server.signal(Signal::TERM);
    assert_eq!(server.end().await, 0);
}

#[tokio::test]
async fn it_drains_within_the_grace_period_and_is_not_ready_meanwhile() {
    let bench = Bench::new().await;
    push_image(bench.source.store(), &repo("app"), Some("1"), &[b"1"]).await;
    bench.target.on("PUT", "/blobs/uploads/", 1, Fault::Hold);
    let text = bench.config(&[JOB]);
    let Some(pod) = server(&[("regmirror-config", &[("config.yml", &text)])]) else {
        return;
    };
    let grace = pod.spec.termination_grace_period_seconds.unwrap();
    assert!(
        pod.seconds("drain-timeout") + 10 <= grace,
        "time to end after the drain"
    );
    let mut server = Server::start(program(&pod));
    server.url().await;
    bench.target.held().await;
    server.signal(Signal::TERM);
    server.says("a second signal stops at once").await;
    let container = pod.container().clone();
    let ready = asked(&container.readiness_probe).0;
    let live = asked(&container.liveness_probe).0;
    assert_eq!(server.ask(Method::GET, &ready, "").await.status(), 503);
    assert_eq!(
        server.ask(Method::GET, &live, "").await.status(),
        200,
        "it is not killed early"
    );
    bench.target.release();
    assert_eq!(server.end().await, 0);
    assert!(
        tagged(bench.target.store(), &repo("app"), "1")
            .await
            .is_some()
    );
}

/// What `kubectl create secret docker-registry` puts into a Secret.
fn docker(bench: &Bench) -> String {
    let auth = serde_json::json!({"username": "u", "password": "p"});
    let registries = [bench.source.address(), bench.target.address()];
    let auths: serde_json::Map<_, _> = registries
        .map(|registry| (registry.to_owned(), auth.clone()))
        .into_iter()
        .collect();
    serde_json::json!({ "auths": auths }).to_string()
}

#[tokio::test]
async fn a_secret_that_comes_later_is_used_without_a_restart() {
    let bench = Bench::new().await;
    push_image(bench.source.store(), &repo("app"), Some("1"), &[b"1"]).await;
    for registry in [&bench.source, &bench.target] {
        registry.require_auth(crate::support::Auth::Basic {
            user: "u".to_owned(),
            password: "p".to_owned(),
        });
    }
    let text = bench.config(&[JOB]);
    let text = text
        .replace(", user: u, pass: p", "")
        .replace("skipDockerConfig: true", "parallel: 2");
    let Some(pod) = server(&[("regmirror-config", &[("config.yml", &text)])]) else {
        return;
    };
    let mut server = Server::start(program(&pod));
    let line = server.says("there is no config.json").await;
    assert!(
        line.contains("\"level\":\"WARN\"") && line.contains("DOCKER_CONFIG"),
        "{line}"
    );
    server.says("access denied").await;
    let folder = pod.folder("docker");
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
    pod.update(
        "regmirror-registry",
        &[(".dockerconfigjson", &docker(&bench))],
    );
    server.says("was read again").await;
    arrives(&bench.target, "app", "1").await;
    server.signal(Signal::TERM);
    assert_eq!(server.end().await, 0);
}

#[tokio::test]
async fn a_cron_job_s_codes_are_those_of_its_policy() {
    let bench = Bench::new().await;
    push_image(bench.source.store(), &repo("app"), Some("1"), &[b"1"]).await;
    let Some(rendered) = Rendered::overlay("cronjob") else {
        return;
    };
    let job = rendered.only::<CronJob>("CronJob").spec.unwrap();
    let policy = job.job_template.spec.unwrap().pod_failure_policy.unwrap();
    let [ignore, fail] = &policy.rules[..] else {
        panic!("two rules")
    };
    assert_eq!(
        (ignore.action.as_str(), fail.action.as_str()),
        ("Ignore", "FailJob")
    );
    let conditions = ignore.on_pod_conditions.as_ref().unwrap();
    assert_eq!(conditions[0].type_, "DisruptionTarget");
    let codes = fail.on_exit_codes.as_ref().unwrap();
    assert_eq!(codes.operator, "In");

    let good = bench.config(&[JOB]);
    let missing = good.replace("/app, target", "/none, target");
    let run = async |text: &str, more: &[&str]| {
        let held: &[_] = &[("regmirror-config", &[("config.yml", text)][..])];
        let pod = once(held).unwrap();
        let name = &pod.container().name;
        assert_eq!(codes.container_name.as_ref(), Some(name));
        let mut program = program(&pod);
        program.command.args(more);
        program.run().await
    };
    // The code, and whether another try is of no use.
    for (text, more, wanted, last) in [
        (good.as_str(), &[][..], 0, ""),
        (missing.as_str(), &[], 1, ""),
        (
            good.as_str(),
            &["--no-such-option"],
            2,
            "For more information",
        ),
        ("sync: [", &[], 3, "config.yml cannot be used: 1 error"),
    ] {
        let (code, out, err) = run(text, more).await;
        assert_eq!(code, wanted, "{out}{err}");
        assert!(
            err.lines().last().unwrap_or_default().contains(last),
            "{err}"
        );
        assert_eq!(
            codes.values.contains(&code),
            [2, 3].contains(&code),
            "{code}"
        );
        if code == 1 {
            let last = out.lines().last().unwrap();
            assert!(
                last.starts_with("FAILED") && last.contains("/none"),
                "{out}"
            );
        }
    }
    bench
        .source
        .on("HEAD", "/manifests/", 99, Fault::reply(429, &[], ""));
    let (code, out, err) = run(&good, &[]).await;
    assert_eq!(code, 5, "{out}{err}");
    assert!(
        codes.values.contains(&code),
        "a limit is not gone in ten seconds"
    );
    bench.source.heal();

    // The node is drained: what is under way is finished, and nothing has failed.
    bench.target.on("PUT", "/blobs/uploads/", 1, Fault::Hold);
    push_image(bench.source.store(), &repo("app"), Some("2"), &[b"2"]).await;
    let held: &[_] = &[("regmirror-config", &[("config.yml", good.as_str())][..])];
    let pod = once(held).unwrap();
    let child = program(&pod).start();
    bench.target.held().await;
    let id = rustix::process::Pid::from_raw(child.id().cast_signed()).unwrap();
    rustix::process::kill_process(id, Signal::TERM).unwrap();
    bench.target.release();
    let (code, out, err) = end(child).await;
    // Perhaps it was through before it looked.
    assert!([0, 143].contains(&code), "{code} {out}{err}");
    assert!(!codes.values.contains(&code));
    assert!(
        tagged(bench.target.store(), &repo("app"), "2")
            .await
            .is_some()
    );
}

#[tokio::test]
async fn the_configuration_that_comes_along_starts_a_server() {
    let Some(rendered) = Rendered::overlay("singleton") else {
        return;
    };
    let map: ConfigMap = rendered.only("ConfigMap");
    let text = map.data.unwrap()["config.yml"].clone();
    let pod = server(&[("regmirror-config", &[("config.yml", &text)])]).unwrap();
    let mut server = Server::start(program(&pod));
    let line = server.says("serving").await;
    assert!(line.contains("\"jobs\":2"), "{line}");
    server.signal(Signal::INT);
    assert_eq!(server.end().await, 0);
}
