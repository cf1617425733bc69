//! The HTTP surface of the real process.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use regmirror::report::schema_text;
use reqwest::Method;
use serde_json::Value;

use crate::support::bench::Bench;
use crate::support::daemon::{Server, TOKEN};
use crate::support::images::{push_image, repo, tagged};
use crate::support::{Fault, client};

const APP: &str = "name: team/app, source: SOURCE/app, target: TARGET/app, type: repository, schedule: '0 0 1 1 *'";
const GONE: &str = "name: gone, source: 'SOURCE/gone:1', target: 'TARGET/gone:1', type: image, schedule: '0 0 1 1 *'";

/// Every route that changes something.
const CHANGES: [(&str, &str); 9] = [
    ("POST", "/api/v1/jobs/team%2Fapp/trigger"),
    ("POST", "/api/v1/jobs/team%2Fapp/pause"),
    ("POST", "/api/v1/jobs/team%2Fapp/resume"),
    ("POST", "/api/v1/pause"),
    ("POST", "/api/v1/resume"),
    ("POST", "/api/v1/reload"),
    ("POST", "/api/v1/runs/x/cancel"),
    ("PUT", "/api/v1/log-level"),
    ("POST", "/api/v1/runs/20261124-000000-abcdefgh/cancel"),
];

async fn bench() -> Bench {
    let bench = Bench::new().await;
    push_image(bench.source.store(), &repo("app"), Some("1"), &[b"1"]).await;
    bench
}

fn validator() -> jsonschema::Validator {
    let schema: Value = serde_json::from_str(&schema_text()).unwrap();
    jsonschema::validator_for(&schema).unwrap()
}

#[tokio::test]
async fn every_answer_is_in_the_schema_of_reports() {
    let bench = bench().await;
    let mut server = Server::with_token(bench.program(&[APP, GONE], &["server"]));
    server.run_job("team/app").await;
    server.run_job("gone").await;
    let jobs = server.get("/api/v1/jobs").await;
    assert_eq!(jobs["jobs"][0]["state"], "failing");
    assert_eq!(jobs["jobs"][1]["state"], "ok");
    let (failing, fine) = (&jobs["jobs"][0], &jobs["jobs"][1]);
    assert_eq!(failing["sync_job"], "gone");
    let error = failing["last_run"]["error"].as_str().unwrap();
    assert!(
        error.contains("could not find") && error.contains("/gone:1"),
        "{error}"
    );
    assert_eq!(failing["last_success"], Value::Null);
    assert_eq!(fine["tags"]["in_sync"], 1);
    let source = format!("{}/app", bench.source.address());
    assert_eq!(fine["source"], source.as_str());
    assert!(fine["last_run"]["lag_ms"].as_u64().unwrap() < 10_000);

    let validator = validator();
    let run = failing["last_run"]["run_id"].as_str().unwrap().to_owned();
    for (path, status, kind) in [
        ("/api/v1/status", 200, "status"),
        ("/api/v1/jobs", 200, "jobs"),
        ("/api/v1/jobs/team%2Fapp", 200, "job_status"),
        ("/api/v1/jobs/none", 404, "error"),
        ("/api/v1/runs", 200, "runs"),
        ("/api/v1/runs?failed=1", 200, "runs"),
        (&format!("/api/v1/runs/{run}"), 200, "run"),
        ("/api/v1/runs/none", 404, "error"),
        ("/api/v1/registries", 200, "registries"),
        ("/api/v1/config", 200, "config"),
        ("/api/v1/version", 200, "version"),
        ("/api/v1/log-level", 200, "log_level"),
        ("/api/v1/none", 404, "error"),
        ("/api/v1/reload", 405, "error"),
    ] {
        let answer = server.ask(Method::GET, path, TOKEN).await;
        assert_eq!(answer.status(), status, "{path}");
        assert_eq!(
            answer.headers()["x-content-type-options"],
            "nosniff",
            "{path}"
        );
        let value: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        assert_eq!(value["type"], kind, "{path}: {value}");
        if let Some(error) = validator.iter_errors(&value).next() {
            panic!("{path}: {error} in {value:#}");
        }
    }
    let status = server.get("/api/v1/status").await;
    assert_eq!(
        (&status["healthy"], &status["changeable"]),
        (&false.into(), &true.into())
    );
    assert_eq!(status["jobs"]["failing"], 1);
    let failed = server.get("/api/v1/runs?failed=1").await;
    let failed = failed["runs"].as_array().unwrap();
    assert!(
        failed.iter().all(|run| run["result"] == "failure"),
        "{failed:?}"
    );
    let config = server.get("/api/v1/config").await;
    let yaml = config["yaml"].as_str().unwrap();
    assert!(
        yaml.contains("team/app") && !yaml.contains("pass: p\n"),
        "{yaml}"
    );
}

#[tokio::test]
async fn what_changes_something_takes_the_token_and_comes_from_nowhere_else() {
    let bench = bench().await;
    let mut server = Server::with_token(bench.program(&[APP], &["server"]));
    let url = server.url().await;
    let ask = |method: &str, path: &str| {
        client().request(method.parse().unwrap(), format!("{url}{path}"))
    };
    let too_long = "x".repeat((1 << 20) + 1);
    for (method, path) in CHANGES {
        let status = async |request: reqwest::RequestBuilder| {
            request.send().await.unwrap().status().as_u16()
        };
        assert_eq!(status(ask(method, path)).await, 401, "{path}");
        let wrong = ask(method, path).bearer_auth("wrong");
        assert_eq!(status(wrong).await, 401, "{path}");
        let right = || ask(method, path).bearer_auth(TOKEN);
        let foreign = right().header("origin", "https://evil.example");
        assert_eq!(status(foreign).await, 403, "{path}");
        let opaque = right().header("origin", "null");
        assert_eq!(status(opaque).await, 403, "{path}");
        let rebound = right().header("host", "evil.example:9090");
        assert_eq!(status(rebound).await, 421, "{path}");
        // Before the body has come, a connection may be closed over one.
        if let Ok(answer) = right().body(too_long.clone()).send().await {
            assert_eq!(answer.status(), 413, "{path}");
        }
    }
    // Nothing came of all that.
    let jobs = server.ask(Method::GET, "/api/v1/jobs", TOKEN).await;
    assert!(jobs.text().await.unwrap().contains("\"paused\":false"));
    // Looking takes the token as well, where there is one, but health does not.
    for path in ["/api/v1/status", "/api/v1/config", "/api/v1/events"] {
        assert_eq!(
            server.ask(Method::GET, path, "").await.status(),
            401,
            "{path}"
        );
    }
    for path in ["/livez", "/readyz", "/healthz", "/metrics", "/"] {
        assert_eq!(
            server.ask(Method::GET, path, "").await.status(),
            200,
            "{path}"
        );
    }
    let own = ask("POST", "/api/v1/pause")
        .bearer_auth(TOKEN)
        .header("origin", url.as_str());
    assert_eq!(own.send().await.unwrap().status(), 202);

    // Without a token nobody may.
    let mut open = Server::start(bench.program(&[APP], &["server"]));
    for (method, path) in CHANGES {
        let method = method.parse().unwrap();
        let answer = open.ask(method, path, TOKEN).await;
        assert_eq!(answer.status(), 403, "{path}");
        let text = answer.text().await.unwrap();
        assert!(text.contains("--admin-token-file"), "{text}");
    }
    let url = open.url().await;
    let rebound = client()
        .get(format!("{url}/api/v1/status"))
        .header("host", "evil.example");
    assert_eq!(rebound.send().await.unwrap().status(), 421);
    let page = client()
        .get(format!("{url}/"))
        .header("host", "evil.example");
    assert_eq!(page.send().await.unwrap().status(), 421);
}

#[tokio::test]
async fn a_job_is_run_paused_resumed_and_its_run_cancelled() {
    let bench = bench().await;
    let mut server = Server::with_token(bench.program(&[APP], &["server"]));
    let job = "/api/v1/jobs/team%2Fapp";
    server.run_job("team/app").await;
    let post = async |server: &mut Server, path: &str| {
        let answer = server.ask(Method::POST, path, TOKEN).await;
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        assert!(validator().is_valid(&value), "{value}");
        (status, value)
    };
    // A run that is asked for, and what it is called.
    push_image(bench.source.store(), &repo("app"), Some("2"), &[b"2"]).await;
    let (status, accepted) = post(&mut server, &format!("{job}/trigger")).await;
    assert_eq!(status, 202);
    let id = accepted["run_id"].as_str().unwrap().to_owned();
    let run = server
        .until(&format!("/api/v1/runs/{id}"), |run| {
            run["result"] == "success"
        })
        .await;
    assert_eq!(
        (&run["trigger"], &run["totals"]["copied"]),
        (&"request".into(), &1.into())
    );
    assert_eq!(run["tags"][0]["result"], "copied");
    assert!(
        tagged(bench.target.store(), &repo("app"), "2")
            .await
            .is_some()
    );

    // One under way cannot be begun again, and can be cancelled: what is under way
    // is finished, the rest is not begun.
    push_image(bench.source.store(), &repo("app"), Some("3"), &[b"3"]).await;
    bench.target.on("PUT", "/manifests/3", 1, Fault::Hold);
    let (_, accepted) = post(&mut server, &format!("{job}/trigger")).await;
    let id = accepted["run_id"].as_str().unwrap().to_owned();
    bench.target.held().await;
    let (status, error) = post(&mut server, &format!("{job}/trigger")).await;
    assert_eq!((status, &error["type"]), (409, &"error".into()));
    let shown = server.until(job, |job| job["state"] == "running").await;
    assert_eq!(shown["running"]["run_id"], id.as_str());
    let (status, _) = post(&mut server, &format!("/api/v1/runs/{id}/cancel")).await;
    assert_eq!(status, 202);
    bench.target.release();
    let run = server
        .until(&format!("/api/v1/runs/{id}"), |run| run["type"] == "run")
        .await;
    assert!(
        ["canceled", "success"].contains(&run["result"].as_str().unwrap()),
        "{run}"
    );
    assert!(
        tagged(bench.target.store(), &repo("app"), "3")
            .await
            .is_some()
    );
    let (status, _) = post(&mut server, &format!("/api/v1/runs/{id}/cancel")).await;
    assert_eq!(status, 404, "it is over");

    assert_eq!(post(&mut server, &format!("{job}/pause")).await.0, 202);
    let shown = server.until(job, |job| job["paused"] == true).await;
    assert_eq!(shown["state"], "paused");
    assert_eq!(post(&mut server, &format!("{job}/resume")).await.0, 202);
    server.until(job, |job| job["paused"] == false).await;
    let (status, all) = post(&mut server, "/api/v1/pause").await;
    assert_eq!((status, &all["jobs"]), (202, &1.into()));
    let (status, _) = post(&mut server, "/api/v1/jobs/none/pause").await;
    assert_eq!(status, 404);

    // How much is logged.
    let answer = client()
        .put(server.url().await + "/api/v1/log-level")
        .bearer_auth(TOKEN);
    let level = async |body: &'static str| {
        let request = answer.try_clone().unwrap().body(body);
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let (status, text) = level("{\"level\": \"debug\"}").await;
    assert!(status == 200 && text.contains("\"debug\""), "{text}");
    post(&mut server, &format!("{job}/trigger")).await;
    server.says("DEBUG").await;
    let (status, text) = level("loud").await;
    assert!(status == 400 && text.contains("expected trace"), "{text}");
    assert_eq!(level("warn").await.0, 200);

    // The configuration.
    let path = server.program.folder.path().join("mirror.yml");
    std::fs::write(&path, "sync: [").unwrap();
    let (status, error) = post(&mut server, "/api/v1/reload").await;
    assert_eq!(status, 422);
    assert!(
        error["error"].as_str().unwrap().contains("mirror.yml:1:"),
        "{error}"
    );
    let status = server.ask(Method::GET, "/api/v1/status", TOKEN).await;
    let status: Value = serde_json::from_str(&status.text().await.unwrap()).unwrap();
    assert!(
        status["config_error"]
            .as_str()
            .unwrap()
            .contains("mirror.yml:1:")
    );
    assert_eq!(status["healthy"], false);
    std::fs::write(&path, bench.config(&[APP, GONE])).unwrap();
    let (status, answer) = post(&mut server, "/api/v1/reload").await;
    assert_eq!((status, &answer["jobs"]), (200, &2.into()));
    let (status, _) = post(&mut server, "/api/v1/jobs/gone/trigger").await;
    // It may be due in this very moment.
    assert!(status == 202 || status == 409, "{status}");
}

#[tokio::test]
async fn events_tell_everything_first_and_then_what_changes() {
    let bench = bench().await;
    let mut server = Server::with_token(bench.program(&[APP, GONE], &["server"]));
    let job = "/api/v1/jobs/team%2Fapp";
    server.run_job("team/app").await;
    let mut events = server.ask(Method::GET, "/api/v1/events", TOKEN).await;
    assert_eq!(events.headers()["content-type"], "text/event-stream");
    let mut next = async || {
        let chunk = tokio::time::timeout(Duration::from_secs(20), events.chunk());
        let chunk = chunk
            .await
            .expect("it is told in time")
            .unwrap()
            .expect("it goes on");
        let text = String::from_utf8(chunk.to_vec()).unwrap();
        let validator = validator();
        let told = text
            .split("\n\n")
            .filter(|part| !part.is_empty())
            .map(|part| {
                let (name, data) = part.split_once('\n').unwrap();
                let data: Value =
                    serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
                assert!(validator.is_valid(&data), "{data}");
                (name.strip_prefix("event: ").unwrap().to_owned(), data)
            });
        told.collect::<Vec<_>>()
    };
    let first = next().await;
    let names: Vec<_> = first.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["status", "registries", "jobs", "failures"]);
    assert_eq!(first[2].1["jobs"].as_array().unwrap().len(), 2);
    push_image(bench.source.store(), &repo("app"), Some("2"), &[b"2"]).await;
    server
        .ask(Method::POST, &format!("{job}/trigger"), TOKEN)
        .await;
    loop {
        let told = next().await;
        let changed = told.iter().find(|(name, _)| name == "changed");
        let Some((_, changed)) = changed else {
            continue;
        };
        let mut jobs = changed["jobs"].as_array().unwrap().iter();
        if jobs.any(|job| job["sync_job"] == "team/app" && job["last_run"]["totals"]["copied"] == 1)
        {
            break;
        }
    }
    // It ends with the server, which does not wait for it.
    server.signal(rustix::process::Signal::TERM);
    assert_eq!(server.end().await, 0);
}

#[tokio::test]
async fn a_registry_that_is_waited_for_is_shown_with_who_waits() {
    let bench = bench().await;
    bench.source.limit_pulls(3, 100, 3600);
    let limited = format!("{APP}, ratelimit: {{min: 10, retry: 10m}}");
    let mut server = Server::with_token(bench.program(&[&limited, GONE], &["server"]));
    let shown = server
        .until("/api/v1/registries", |shown| {
            let registries = shown["registries"].as_array();
            registries.is_some_and(|all| all.iter().any(|one| one["paused"] == true))
        })
        .await;
    let source = bench.source.address();
    let mut registries = shown["registries"].as_array().unwrap().iter();
    let source = registries.find(|one| one["registry"] == source).unwrap();
    assert_eq!(source["waiting"][0]["sync_job"], "team/app");
    assert_eq!(source["pulls_allowed"], 100);
    assert!(source["pulls_left"].as_u64().unwrap() <= 3, "{source}");
    assert!(
        source["resets"].is_string() && source["resumes"].is_string(),
        "{source}"
    );
    let job = server
        .until("/api/v1/jobs/team%2Fapp", |job| job["state"] == "waiting")
        .await;
    assert_eq!(job["waits_for"][0], source["registry"]);
    // Nobody else waits with it, and it holds no place.
    assert_eq!(server.run_job("gone").await["result"], "failure");
    let text = server.metrics().await;
    let line = format!(
        "regmirror_registry_paused{{registry=\"{}\"}} 1",
        bench.source.address()
    );
    assert!(text.lines().any(|known| known == line), "{text}");
    assert!(text.contains("regmirror_workers_busy 0\n"), "{text}");
    server.signal(rustix::process::Signal::TERM);
    assert_eq!(server.end().await, 0);
}

#[tokio::test]
async fn health_says_what_is_wrong_and_slow_clients_hold_nothing() {
    let bench = bench().await;
    bench.target.on("PUT", "/manifests/1", 1, Fault::Hold);
    let mut server = Server::start(bench.program(&[APP], &["server"]));
    let get = async |server: &mut Server, path: &str| {
        let answer = server.ask(Method::GET, path, "").await;
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    assert_eq!(get(&mut server, "/livez").await, (200, "ok\n".to_owned()));
    assert_eq!(get(&mut server, "/healthz").await.0, 200);
    let (status, text) = get(&mut server, "/readyz?verbose").await;
    assert!(
        status == 200 && text.contains("[+] scheduler: ok"),
        "{text}"
    );

    // A request whose headers never end is given up.
    let address = server.url().await.replace("http://", "");
    let slow = tokio::task::spawn_blocking(move || {
        let mut slow = TcpStream::connect(address).unwrap();
        slow.set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        slow.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n")
            .unwrap();
        let mut rest = Vec::new();
        slow.read_to_end(&mut rest).map(|_| rest)
    });
    let answer = slow.await.unwrap().expect("it is closed within 30 s");
    assert!(
        answer.is_empty() || answer.starts_with(b"HTTP/1.1 408"),
        "{answer:?}"
    );
    // And one whose headers are too long.
    let long = client()
        .get(server.url().await + "/livez")
        .header("x", "y".repeat(300 << 10));
    if let Ok(answer) = long.send().await {
        assert_eq!(answer.status(), 431);
    }

    // While it drains it lives, and is not ready.
    bench.target.held().await;
    server.signal(rustix::process::Signal::TERM);
    server.says("a second signal stops at once").await;
    server
        .until("/api/v1/status", |status| status["draining"] == true)
        .await;
    assert_eq!(get(&mut server, "/livez").await.0, 200);
    let (status, text) = get(&mut server, "/readyz").await;
    assert!(status == 503 && text.contains("[-] serving"), "{text}");
    bench.target.release();
    assert_eq!(server.end().await, 0);
}
