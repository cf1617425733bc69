//! `regmirror auth check`: who we are at each registry, and what we may.

use serde_json::Value;

use crate::support::bench::Bench;
use crate::support::images::{push_image, repo};
use crate::support::{Auth, Fault};

const ALL: &str = "name: app, source: SOURCE/app, target: TARGET/app, type: repository";

#[tokio::test]
async fn it_tells_who_we_are_and_what_we_may() {
    let bench = Bench::new().await;
    push_image(bench.source.store(), &repo("app"), Some("1"), &[b"x"]).await;
    bench.source.limit_pulls(76, 100, 21600);
    bench.source.require_auth(Auth::Basic {
        user: "u".to_owned(),
        password: "p".to_owned(),
    });
    let image = "name: one, source: 'SOURCE/app:1', target: 'TARGET/one:1', type: image";
    let arguments = ["auth", "check", "-o", "json", "-v", "off"];
    let (code, out, err) = bench.program(&[ALL, image], &arguments).run().await;
    assert_eq!(code, 0, "{out}{err}");
    let found: Value = serde_json::from_str(&out).unwrap();
    let of = |address: &str| {
        let registries = found["registries"].as_array().unwrap();
        let mut registries = registries.iter();
        registries
            .find(|one| one["registry"] == address)
            .unwrap_or_else(|| panic!("{address}: {out}"))
            .clone()
    };
    let (source, target) = (of(bench.source.address()), of(bench.target.address()));
    assert_eq!(source["reachable"], true);
    assert_eq!(source["credential"], "user \"u\"");
    assert_eq!(source["credential_from"], "the configuration");
    assert_eq!(source["pulls_left"], 76);
    assert_eq!(source["pulls_allowed"], 100);
    let may = |one: &Value| {
        let list = one["repositories"].as_array().unwrap().clone();
        let text = |one: Value| {
            let repository = one["repository"].as_str().unwrap().to_owned();
            let name = repository.split_once('/').unwrap().1.to_owned();
            format!(
                "{} {name} {}",
                one["action"].as_str().unwrap(),
                one["allowed"]
            )
        };
        list.into_iter().map(text).collect::<Vec<_>>()
    };
    assert_eq!(may(&source), ["pull app true"]);
    assert_eq!(may(&target), ["push app true", "push one true"]);
    // Nothing is left behind.
    assert_eq!(bench.target.count("POST /v2/"), 2);
    assert_eq!(bench.target.count("DELETE /v2/"), 2);
    assert_eq!(bench.source.count("GET /v2/app/manifests/"), 0, "no pull");
    assert!(
        !out.contains("\"p\"") && !err.contains("\"p\""),
        "{out}{err}"
    );
}

#[tokio::test]
async fn what_may_not_be_done_is_told_and_is_1() {
    let bench = Bench::new().await;
    push_image(bench.source.store(), &repo("app"), Some("1"), &[b"x"]).await;
    let refused = Fault::reply(
        403,
        &[],
        r#"{"errors":[{"code":"DENIED","message":"read only here"}]}"#,
    );
    bench.target.on("POST", "/blobs/uploads/", 9, refused);
    let (code, out, _) = bench.program(&[ALL], &["auth", "check"]).run().await;
    assert_eq!(code, 1, "{out}");
    let target = bench.target.address();
    let line = format!("MAY NOT push {target}/app: ");
    let line = out.lines().find(|known| known.contains(&line)).expect(&out);
    assert!(
        line.contains("read only here") && line.contains("credentials"),
        "{line}"
    );
    assert!(
        out.contains(&format!("may pull {}/app", bench.source.address())),
        "{out}"
    );
}

#[tokio::test]
async fn a_registry_that_is_not_there_is_told_and_the_others_are_asked() {
    let bench = Bench::new().await;
    let gone = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().to_string()
    };
    let text = bench.config(&[ALL]).replace(
        "sync:\n",
        &format!("  - {{registry: '{gone}', tls: disabled}}\nsync:\n"),
    );
    let mut program = crate::support::program::Program::new(&text, &["auth", "check"]);
    let (code, out, _) = program.run().await;
    assert_eq!(code, 1, "{out}");
    assert!(out.contains(&format!("{gone}: NOT REACHABLE")), "{out}");
    for there in [&bench.source, &bench.target] {
        assert!(
            out.contains(&format!("{}: reachable", there.address())),
            "{out}"
        );
    }
}

#[tokio::test]
async fn docker_s_file_is_named_and_so_is_wrong_access() {
    let bench = Bench::new().await;
    push_image(bench.source.store(), &repo("app"), Some("1"), &[b"x"]).await;
    bench.source.require_auth(Auth::Bearer {
        user: "robot".to_owned(),
        password: "right".to_owned(),
    });
    let text = bench
        .config(&[ALL])
        .replace("skipDockerConfig: true", "skipDockerConfig: false")
        .replace(", user: u, pass: p", "");
    for (password, code, allowed) in [("right", 0, "may pull"), ("wrong-7d", 1, "MAY NOT pull")] {
        let mut program = crate::support::program::Program::new(&text, &["auth", "check"]);
        use base64::Engine as _;
        let auth = base64::engine::general_purpose::STANDARD.encode(format!("robot:{password}"));
        let docker = format!(
            "{{\"auths\": {{\"{}\": {{\"auth\": \"{auth}\"}}}}}}",
            bench.source.address()
        );
        let file = program.folder.path().join("config.json");
        std::fs::write(&file, docker).unwrap();
        program.command.env("DOCKER_CONFIG", program.folder.path());
        let (ended, out, err) = program.run().await;
        assert_eq!(ended, code, "{out}{err}");
        let who = format!(
            "as user \"robot\", from the credentials file {}",
            file.display()
        );
        assert!(out.contains(&who) && out.contains(allowed), "{out}");
        assert!(
            !out.contains("NOT REACHABLE"),
            "it answers, and refuses us: {out}"
        );
        assert!(
            !out.contains("wrong-7d") && !err.contains("wrong-7d"),
            "{out}{err}"
        );
    }
}
