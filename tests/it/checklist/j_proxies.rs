//! Proxies, and where a registry behind one may lead.

use regmirror::oci::Manifest;

use crate::support::images::{push_image, repo};
use crate::support::program::{regmirror, told, with_input};
use crate::support::proxy::TestProxy;
use crate::support::tls::{Ca, TlsFront, Wants};
use crate::support::{Auth, Fault, TestRegistry};

/// Runs `once` on a configuration of these entries, with this environment.
async fn once(creds: &[String], sync: &[String], env: &[(&str, &str)]) -> (i32, String, String) {
    let text = format!(
        "defaults: {{skipDockerConfig: true}}\ncreds: [{}]\nsync: [{}]\n",
        creds.join(", "),
        sync.join(", "),
    );
    let mut command = regmirror(&["once", "-c", "-", "-v", "trace"]);
    command.envs(env.iter().copied());
    let output = tokio::task::spawn_blocking(move || with_input(command, &text));
    let (code, out, err) = told(&output.await.unwrap());
    for text in [&out, &err] {
        assert!(!text.contains("canary"), "{text}");
    }
    (code, out, err)
}

/// `SOURCE` into a layout of its own.
fn into_layout(source: &str, folder: &tempfile::TempDir) -> String {
    let path = folder.path().display();
    format!("{{source: '{source}/a:1', target: 'ocidir://{path}/layout:1', type: image}}")
}

fn plain(registry: &str) -> String {
    format!("{{registry: '{registry}', tls: disabled}}")
}

/// A registry that has `a:1`.
async fn with_image() -> (TestRegistry, Manifest) {
    let registry = TestRegistry::start().await;
    let image = push_image(registry.store(), &repo("a"), Some("1"), &[b"layer"]).await;
    (registry, image)
}

/// Who is asked for, of each connection to the proxy.
fn hosts(proxy: &TestProxy) -> Vec<String> {
    let asked = proxy.asked();
    let host = |head: &String| {
        let target = head.split(' ').nth(1).expect("a target");
        let target = target.trim_start_matches("http://");
        target.split('/').next().unwrap_or_default().to_owned()
    };
    asked.iter().map(host).collect()
}

#[tokio::test]
async fn a_proxy_of_the_environment_is_used_for_both_schemes() {
    let (registry, _) = with_image().await;
    let folder = tempfile::tempdir().unwrap();
    let proxy = TestProxy::start(registry.address()).await;
    let url = format!("http://me:canary-81@{}", proxy.address());
    let sync = [into_layout("registry.example:80", &folder)];
    let creds = [plain("registry.example:80")];
    let (code, out, err) = once(&creds, &sync, &[("HTTP_PROXY", &url)]).await;
    assert_eq!(code, 0, "{out}{err}");
    let asked = proxy.asked();
    let head = asked[0].to_ascii_lowercase();
    let (line, headers) = head.split_once("\r\n").unwrap();
    assert_eq!(
        line,
        "head http://registry.example/v2/a/manifests/1 http/1.1"
    );
    assert!(headers.contains("proxy-authorization: basic bwu6y2fuyxj5ltgx\r\n"));
    assert!(!headers.contains("\r\nauthorization:"), "{headers}");

    let ca = Ca::new();
    let pair = ca.server_called("registry.example");
    let front = TlsFront::start(registry.address(), &pair, Wants::Nothing).await;
    let proxy = TestProxy::start(front.address()).await;
    let url = format!("http://me:canary-81@{}", proxy.address());
    let folder = tempfile::tempdir().unwrap();
    let sync = [into_layout("registry.example", &folder)];
    let certificate = serde_json::to_string(&ca.pem).unwrap();
    let creds = [format!(
        "{{registry: registry.example, regcert: {certificate}}}"
    )];
    registry.clear_log();
    let (code, out, err) = once(&creds, &sync, &[("https_proxy", &url)]).await;
    assert_eq!(code, 0, "{out}{err}");
    let asked = proxy.asked();
    let tunnel = "CONNECT registry.example:443 HTTP/1.1\r\n";
    assert!(
        asked.iter().all(|head| head.starts_with(tunnel)),
        "{asked:?}"
    );
    let head = asked[0].to_ascii_lowercase();
    assert!(head.contains("proxy-authorization: basic "), "{head}");
    // What is in the tunnel is not the proxy's.
    let seen = registry.seen();
    let from = seen.iter().rposition(|seen| seen.method == "HEAD").unwrap();
    let known = |name: &str| {
        seen[from..]
            .iter()
            .any(|seen| !seen.header(name).is_empty())
    };
    assert!(known("user-agent") && !known("proxy-authorization"));
}

#[tokio::test]
async fn no_proxy_is_respected() {
    let (registry, _) = with_image().await;
    let proxy = TestProxy::start(registry.address()).await;
    let url = format!("http://{}", proxy.address());
    let port = registry.address().rsplit(':').next().unwrap();
    // This machine, which is no loopback address.
    let here = format!("0.0.0.0:{port}");
    for (address, no_proxy, proxied) in [
        (here.as_str(), "other.example", true),
        (&here, "other.example, 0.0.0.0", false),
        (&here, "0.0.0.0/8", false),
        (&here, "*", false),
        (registry.address(), "", false),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let before = proxy.asked().len();
        let sync = [into_layout(address, &folder)];
        let env = [("ALL_PROXY", url.as_str()), ("NO_PROXY", no_proxy)];
        let (code, out, err) = once(&[plain(address)], &sync, &env).await;
        assert_eq!(code, 0, "{out}{err}");
        assert_eq!(
            proxy.asked().len() > before,
            proxied,
            "{address} {no_proxy}"
        );
    }
}

/// Places where a public registry may not lead, to a trap if anywhere.
fn inside(trap: &TestRegistry, proxy: &TestProxy) -> Vec<String> {
    let port = trap.address().rsplit(':').next().unwrap();
    vec![
        format!("http://127.0.0.1:{port}"),
        format!("http://2130706433:{port}"),
        format!("http://0x7f.1:{port}"),
        format!("http://localhost:{port}"),
        format!("http://[::ffff:127.0.0.1]:{port}"),
        format!("http://0.0.0.0:{port}"),
        format!("http://{}", proxy.address()),
        "http://10.0.0.1".to_owned(),
        "http://[::ffff:169.254.169.254]".to_owned(),
        "http://metadata.google.internal".to_owned(),
    ]
}

#[tokio::test]
async fn j1_a_public_registry_does_not_lead_inside() {
    let trap = TestRegistry::start().await;
    let registry = TestRegistry::start().await;
    let proxy = TestProxy::start(registry.address()).await;
    let places = inside(&trap, &proxy);
    let folder = tempfile::tempdir().unwrap();
    let mut sync = Vec::new();
    for (number, place) in places.iter().enumerate() {
        let name = format!("r{number}");
        let image = push_image(
            registry.store(),
            &repo(&name),
            Some("1"),
            &[name.as_bytes()],
        )
        .await;
        for blob in image.blobs() {
            let path = format!("/v2/{name}/blobs/{}", blob.digest);
            let location = format!("{place}{path}?sig=canary-77");
            let fault = Fault::reply(307, &[("location", &location)], "");
            registry.on("GET", &path, 99, fault);
        }
        let path = folder.path().join(&name);
        sync.push(format!(
            "{{source: 'registry.example:80/{name}:1', target: 'ocidir://{}:1', type: image}}",
            path.display()
        ));
    }
    let url = format!("http://{}", proxy.address());
    let env = [("ALL_PROXY", url.as_str())];
    let (code, out, err) = once(&[plain("registry.example:80")], &sync, &env).await;
    assert_eq!(code, 1, "{out}{err}");
    let failed = |number| {
        let name = format!("registry.example:80/r{number}:1");
        let mut lines = out.lines().filter(|line| line.starts_with("FAILED"));
        lines.find(|line| line.contains(&name)).expect("a failure")
    };
    for (number, place) in places.iter().enumerate() {
        let line = failed(number);
        assert!(
            line.contains("the server leads to http://"),
            "{place}: {line}"
        );
    }
    assert_eq!(trap.log(), [""; 0]);
    let asked = hosts(&proxy);
    assert!(
        asked.iter().all(|host| host == "registry.example"),
        "{asked:?}"
    );
    let way_out = "to allow it, list 10.0.0.1 under creds with tls: disabled";
    assert!(failed(7).contains(way_out), "{}", failed(7));
}

#[tokio::test]
async fn j1_a_public_registry_leads_to_public_names() {
    let (registry, image) = with_image().await;
    push_image(registry.store(), &repo("s"), None, &[b"layer"]).await;
    for blob in image.blobs() {
        let path = format!("/v2/a/blobs/{}", blob.digest);
        let location = format!("http://storage.example/v2/s/blobs/{}", blob.digest);
        let fault = Fault::reply(307, &[("location", &location)], "");
        registry.on("GET", &path, 1, fault);
    }
    let proxy = TestProxy::start(registry.address()).await;
    // A name for the proxy, which is private.
    let url = proxy.address().replace("127.0.0.1", "http://LocalHost");
    let folder = tempfile::tempdir().unwrap();
    let sync = [into_layout("registry.example:80", &folder)];
    let creds = [plain("registry.example:80")];
    let (code, out, err) = once(&creds, &sync, &[("HTTP_PROXY", &url)]).await;
    assert_eq!(code, 0, "{out}{err}");
    assert!(hosts(&proxy).contains(&"storage.example".to_owned()));
}

#[tokio::test]
async fn c3_an_upload_does_not_go_inside() {
    let (source, _) = with_image().await;
    let target = TestRegistry::start().await;
    let trap = TestRegistry::start().await;
    let proxy = TestProxy::start(target.address()).await;
    let url = format!("http://{}", proxy.address());
    let location = format!("http://{}/v2/a/blobs/uploads/1?s=canary-77", trap.address());
    let fault = Fault::reply(202, &[("location", &location)], "");
    target.on("POST", "/uploads/", 99, fault);
    let from = source.address();
    let sync = [format!(
        "{{source: '{from}/a:1', target: 'registry.example:80/a:1', type: image}}"
    )];
    let creds = [plain(from), plain("registry.example:80")];
    let (code, out, err) = once(&creds, &sync, &[("HTTP_PROXY", &url)]).await;
    assert_eq!(code, 1, "{out}{err}");
    let way_out = format!("list {} under creds", trap.address());
    assert!(out.contains(&way_out), "{out}");
    assert_eq!(trap.log(), [""; 0]);

    // It goes there if the operator says so.
    let creds = [creds.as_slice(), &[plain(trap.address())]].concat();
    let (code, out, err) = once(&creds, &sync, &[("HTTP_PROXY", &url)]).await;
    assert_eq!(code, 1, "the session is unknown there: {out}{err}");
    assert!(trap.count("PUT ") > 0, "{:?}", trap.log());
}

#[tokio::test]
async fn f11_credentials_do_not_go_inside() {
    let (registry, _) = with_image().await;
    let (user, password) = ("u".to_owned(), "canary-90".to_owned());
    registry.require_auth(Auth::Bearer { user, password });
    let proxy = TestProxy::start(registry.address()).await;
    let url = format!("http://{}", proxy.address());
    let login = "user: u, pass: canary-90".to_owned();
    let creds = [format!(
        "{{registry: 'registry.example:80', tls: disabled, {login}}}"
    )];
    // The registry's own challenge leads to its own address, which is not the
    // one that it is known by.
    let folder = tempfile::tempdir().unwrap();
    let sync = [into_layout("registry.example:80", &folder)];
    let (code, out, err) = once(&creds, &sync, &[("HTTP_PROXY", &url)]).await;
    assert_eq!(code, 1, "{out}{err}");
    let way_out = format!("list {} under creds", registry.address());
    assert!(out.contains(&way_out), "{out}");
    assert_eq!(registry.count("GET /token"), 0, "{:?}", registry.log());

    // Neither does an address that is public.
    let challenge = "Bearer realm=\"http://192.0.2.7/token\"";
    let fault = Fault::reply(401, &[("www-authenticate", challenge)], "");
    registry.on("HEAD", "/manifests/", 1, fault);
    let (code, out, err) = once(&creds, &sync, &[("HTTP_PROXY", &url)]).await;
    assert_eq!(code, 1, "{out}{err}");
    assert!(out.contains("an address instead of a name"), "{out}");
    let asked = hosts(&proxy);
    assert!(
        asked.iter().all(|host| host == "registry.example"),
        "{asked:?}"
    );

    let listed = plain(registry.address());
    let creds = [creds.as_slice(), &[listed]].concat();
    let (code, out, err) = once(&creds, &sync, &[("HTTP_PROXY", &url)]).await;
    assert_eq!(code, 0, "{out}{err}");
    assert!(registry.count("GET /token") > 0, "{:?}", registry.log());
}
