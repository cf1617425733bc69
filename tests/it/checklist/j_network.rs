//! Security of connections: certificates, and where a server may lead.

use std::fmt::Write as _;
use std::time::Duration;

use regmirror::app::{OpenStores, RetryPolicy, run_once};
use regmirror::config::Config;
use regmirror::oci::Manifest;
use tokio_util::sync::CancellationToken;

use crate::support::bench::failures;
use crate::support::images::{push_image, repo};
use crate::support::program::{run, told};
use crate::support::tls::{Ca, Greeting, Pair, TlsFront, Wants, self_signed};
use crate::support::{Auth, Fault, TestRegistry};

/// An entry of `creds`.
fn entry(address: &str, more: &[(&str, &str)]) -> String {
    let mut entry = format!("{{registry: '{address}'");
    for (key, value) in more {
        // JSON's strings are YAML's.
        let value = serde_json::to_string(value).unwrap();
        let _ = write!(entry, ", {key}: {value}");
    }
    entry + "}"
}

/// Mirrors `a:1` from `source` into a layout, and says what failed.
async fn mirror(source: &str, creds: &[String]) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "defaults: {{skipDockerConfig: true}}\ncreds: [{}]\nsync:\n\
         - {{source: '{source}/a:1', target: 'ocidir://{}:1', type: image}}\n",
        creds.join(", "),
        folder.path().display(),
    );
    let config = Config::parse(&text, "test").unwrap();
    let retry = RetryPolicy {
        base: Duration::from_millis(2),
        cap: Duration::from_millis(4),
        ..RetryPolicy::default()
    };
    let stores = std::sync::Arc::new(OpenStores::new(&config, retry).unwrap());
    let summary = run_once(
        &config,
        &stores,
        regmirror::sync::Audience::default(),
        &CancellationToken::new(),
    )
    .await;
    let failed = failures(&summary);
    match failed.is_empty() {
        true => Ok(()),
        false => Err(failed.join("\n")),
    }
}

/// A registry that has `a:1`.
async fn with_image() -> (TestRegistry, Manifest) {
    let registry = TestRegistry::start().await;
    let image = push_image(registry.store(), &repo("a"), Some("1"), &[b"layer"]).await;
    (registry, image)
}

/// Leads every blob of `image` to `place`.
fn lead(registry: &TestRegistry, image: &Manifest, place: &str) {
    for blob in image.blobs() {
        let path = format!("/v2/a/blobs/{}", blob.digest);
        let location = format!("{place}{path}?sig=canary-77");
        let fault = Fault::reply(307, &[("location", &location)], "");
        registry.on("GET", &path, 99, fault);
    }
}

fn pem(ca: &Ca) -> (&'static str, &str) {
    ("regcert", &ca.pem)
}

#[tokio::test]
async fn j6_a_ca_is_trusted_where_the_file_names_it() {
    let (registry, _) = with_image().await;
    let ca = Ca::new();
    let front = TlsFront::start(registry.address(), &ca.server(), Wants::Nothing).await;
    let address = front.address();

    let error = mirror(address, &[]).await.unwrap_err();
    let certificate = format!("the certificate of {address}: ");
    for words in [&certificate, "UnknownIssuer", "regcert", "tls: insecure"] {
        assert!(error.contains(words), "{words:?} is missing: {error}");
    }
    assert_eq!(registry.requests(), 0);
    assert!(!error.contains("attempts"), "asked once: {error}");

    let other = Ca::new();
    let creds = [entry(address, &[pem(&other)])];
    assert!(mirror(address, &creds).await.is_err());
    assert_eq!(registry.requests(), 0);

    let both = format!("{}{}", other.pem, ca.pem);
    for pem in [&ca.pem, &both] {
        let creds = [entry(address, &[("regcert", pem)])];
        mirror(address, &creds).await.unwrap();
    }
    // Of one registry, and of no other.
    let creds = [entry("r.test", &[pem(&ca)])];
    assert!(mirror(address, &creds).await.is_err());
}

#[tokio::test]
async fn j6_a_certificate_is_for_its_host_and_in_time_unless_it_is_all_the_same() {
    let ca = Ca::new();
    for (pair, why) in [
        (ca.server_called("other.test"), "not valid for name"),
        (ca.expired(), "expired"),
    ] {
        let (registry, _) = with_image().await;
        let front = TlsFront::start(registry.address(), &pair, Wants::Nothing).await;
        let address = front.address();
        let creds = [entry(address, &[pem(&ca)])];
        let error = mirror(address, &creds).await.unwrap_err();
        assert!(error.contains(why), "{error}");
        assert!(!error.contains("attempts"), "asked once: {error}");
        assert_eq!(registry.requests(), 0);

        let creds = [entry(address, &[("tls", "insecure")])];
        mirror(address, &creds).await.unwrap();
        assert!(registry.requests() > 0);
    }
}

#[tokio::test]
async fn j6_a_self_signed_certificate_is_trusted_by_itself() {
    let (registry, _) = with_image().await;
    let pair = self_signed(&["127.0.0.1"]);
    let front = TlsFront::start(registry.address(), &pair, Wants::Nothing).await;
    let address = front.address();
    let error = mirror(address, &[]).await.unwrap_err();
    assert!(error.contains("regcert"), "{error}");
    let other = self_signed(&["127.0.0.1"]);
    for (certificate, trusted) in [(&pair.certificate, true), (&other.certificate, false)] {
        let creds = [entry(address, &[("regcert", certificate)])];
        let mirrored = mirror(address, &creds).await;
        assert_eq!(mirrored.is_ok(), trusted, "{mirrored:?}");
    }

    let misnamed = self_signed(&["other.test"]);
    let front = TlsFront::start(registry.address(), &misnamed, Wants::Nothing).await;
    let creds = [entry(
        front.address(),
        &[("regcert", &misnamed.certificate)],
    )];
    let error = mirror(front.address(), &creds).await.unwrap_err();
    assert!(error.contains("not valid for name"), "{error}");
}

#[tokio::test]
async fn j6_neither_scheme_is_left_for_the_other() {
    let (registry, _) = with_image().await;
    let address = registry.address();
    let error = mirror(address, &[]).await.unwrap_err();
    assert!(error.contains("tls: disabled"), "{error}");
    assert_eq!(registry.requests(), 0, "{:?}", registry.log());
    let creds = [entry(address, &[("tls", "insecure")])];
    assert!(mirror(address, &creds).await.is_err());
    assert_eq!(registry.requests(), 0, "{:?}", registry.log());

    let ca = Ca::new();
    let front = TlsFront::start(address, &ca.server(), Wants::Nothing).await;
    let creds = [entry(front.address(), &[("tls", "disabled"), pem(&ca)])];
    assert!(mirror(front.address(), &creds).await.is_err());
    let greetings = front.greetings();
    assert!(greetings.iter().all(|is| *is == Greeting::Refused));
    assert!(!greetings.is_empty());

    let creds = [entry(address, &[("tls", "disabled")])];
    mirror(address, &creds).await.unwrap();
}

fn identity(pair: &Pair) -> [(&'static str, &str); 2] {
    [("clientCert", &pair.certificate), ("clientKey", &pair.key)]
}

#[tokio::test]
async fn j6_a_registry_that_wants_a_client_certificate_gets_it() {
    let (registry, _) = with_image().await;
    let ca = Ca::new();
    let front = TlsFront::start(registry.address(), &ca.server(), Wants::Certificate(&ca)).await;
    let address = front.address();
    let error = mirror(address, &[entry(address, &[pem(&ca)])]).await;
    let error = error.unwrap_err();
    assert!(error.contains("clientCert and clientKey"), "{error}");
    assert_eq!(registry.requests(), 0);

    let (client, stranger) = (ca.client(), Ca::new().client());
    for (pair, welcome) in [(&client, true), (&stranger, false)] {
        let [certificate, key] = identity(pair);
        let creds = [entry(address, &[pem(&ca), certificate, key])];
        let mirrored = mirror(address, &creds).await;
        assert_eq!(mirrored.is_ok(), welcome, "{mirrored:?}");
    }
    assert!(front.greetings().contains(&Greeting::Known));
}

#[tokio::test]
async fn j6_a_client_certificate_is_shown_to_its_registry_only() {
    let ca = Ca::new();
    let client = ca.client();
    let [certificate, key] = identity(&client);
    let (registry, image) = with_image().await;
    let (storage, _) = with_image().await;
    let front = TlsFront::start(registry.address(), &ca.server(), Wants::Certificate(&ca)).await;
    let store = TlsFront::start(storage.address(), &ca.server(), Wants::Maybe(&ca)).await;
    lead(&registry, &image, &format!("https://{}", store.address()));

    let own = entry(front.address(), &[pem(&ca), certificate, key]);
    // What signs the registry signs its storage.
    mirror(front.address(), std::slice::from_ref(&own))
        .await
        .unwrap();
    let greetings = store.greetings();
    assert!(greetings.iter().all(|is| *is == Greeting::Anonymous));
    assert!(!greetings.is_empty());
    assert_eq!(registry.requests(), 1 + 1 + image.blobs().count());

    // Unless it is the storage's own as well.
    let listed = entry(store.address(), &[pem(&ca), certificate, key]);
    mirror(front.address(), &[own, listed]).await.unwrap();
    assert_eq!(store.greetings().last(), Some(&Greeting::Known));
}

#[tokio::test]
async fn j6_insecure_does_not_hold_where_the_registry_leads() {
    let ca = Ca::new();
    let (registry, image) = with_image().await;
    let (storage, _) = with_image().await;
    let front = TlsFront::start(registry.address(), &ca.server(), Wants::Nothing).await;
    let store = TlsFront::start(storage.address(), &ca.server(), Wants::Nothing).await;
    lead(&registry, &image, &format!("https://{}", store.address()));

    let own = entry(front.address(), &[("tls", "insecure")]);
    let error = mirror(front.address(), std::slice::from_ref(&own)).await;
    let error = error.unwrap_err();
    let certificate = format!("the certificate of {}: ", store.address());
    assert!(error.contains(&certificate), "{error}");
    assert!(!error.contains("canary"), "{error}");
    assert_eq!(storage.requests(), 0);

    let listed = entry(store.address(), &[("tls", "insecure")]);
    mirror(front.address(), &[own, listed]).await.unwrap();
}

#[tokio::test]
async fn j6_a_token_server_is_verified_like_its_registry() {
    let ca = Ca::new();
    let (registry, _) = with_image().await;
    registry.require_auth(Auth::Bearer {
        user: "u".to_owned(),
        password: "p".to_owned(),
    });
    registry.accept_token("T1", &["repository:a:pull"]);
    let tokens = TestRegistry::start().await;
    tokens.on(
        "GET",
        "/token",
        99,
        Fault::reply(200, &[], r#"{"token":"T1"}"#),
    );
    let front = TlsFront::start(registry.address(), &ca.server(), Wants::Nothing).await;
    let address = front.address();
    let logins = [pem(&ca), ("user", "u"), ("pass", "p")];
    let unknown = Ca::new();
    for (pair, served) in [(unknown.server(), false), (ca.server(), true)] {
        let realm = TlsFront::start(tokens.address(), &pair, Wants::Nothing).await;
        let challenge = format!("Bearer realm=\"https://{}/token\"", realm.address());
        let fault = Fault::reply(401, &[("www-authenticate", &challenge)], "");
        registry.on("HEAD", "/manifests/", 1, fault);
        let mirrored = mirror(address, &[entry(address, &logins)]).await;
        assert_eq!(mirrored.is_ok(), served, "{mirrored:?}");
        assert_eq!(tokens.requests() > 0, served);
    }
    assert!(
        tokens.seen()[0]
            .header("authorization")
            .starts_with("Basic ")
    );
}

#[tokio::test]
async fn j6_the_program_reads_certificates_from_its_file() {
    let ca = Ca::new();
    let client = ca.client();
    let (registry, _) = with_image().await;
    let front = TlsFront::start(registry.address(), &ca.server(), Wants::Certificate(&ca)).await;
    let folder = tempfile::tempdir().unwrap();
    let block = |text: &str| text.replace('\n', "\n      ");
    let text = format!(
        "defaults: {{skipDockerConfig: true}}\n\
         creds:\n  - registry: '{0}'\n    regcert: |\n      {1}\n    clientCert: |\n      {2}\n\
         \x20   clientKey: |\n      {3}\n    idleTimeout: 1m30s\n\
         sync:\n  - {{source: '{0}/a:1', target: 'ocidir://{4}/layout:1', type: image}}\n",
        front.address(),
        block(&ca.pem),
        block(&client.certificate),
        block(&client.key),
        folder.path().display(),
    );
    let file = folder.path().join("mirror.yml");
    std::fs::write(&file, text).unwrap();
    let file = file.display().to_string();
    let output = tokio::task::spawn_blocking(move || run(&["once", "-c", &file, "-v", "trace"]));
    let (code, out, err) = told(&output.await.unwrap());
    assert_eq!(code, 0, "{out}{err}");
    assert!(folder.path().join("layout/index.json").exists());
    let secret = client.key.lines().nth(1).unwrap();
    assert!(!out.contains(secret) && !err.contains(secret), "{err}");
}

#[test]
fn j6_bad_certificates_and_times_are_faults_of_the_file() {
    let ca = Ca::new();
    let (pair, other) = (ca.client(), ca.client());
    let (certificate, key) = (pair.certificate.as_str(), pair.key.as_str());
    let garbage = "-----BEGIN CERTIFICATE-----\nYWJj\n-----END CERTIFICATE-----\n";
    let sealed = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let cut = certificate.replace("-----END CERTIFICATE-----", "");
    let half = format!("{certificate}{garbage}");
    for (keys, key, why) in [
        (
            &[("regcert", "/etc/ca.pem")][..],
            "regcert",
            "expected PEM text",
        ),
        (&[("regcert", &cut)], "regcert", "certificate 1"),
        (&[("regcert", &half)], "regcert", "certificate 2"),
        (&[("regcert", key)], "regcert", "expected PEM text"),
        (
            &[("clientCert", certificate)],
            "clientCert",
            "needs a clientKey",
        ),
        (&[("clientKey", key)], "clientKey", "needs a clientCert"),
        (
            &[("clientCert", garbage), ("clientKey", key)],
            "clientCert",
            "certificate 1",
        ),
        (
            &[("clientCert", certificate), ("clientKey", "key.pem")],
            "clientKey",
            "expected PEM text",
        ),
        (
            &[("clientCert", certificate), ("clientKey", certificate)],
            "clientKey",
            "expected a private key",
        ),
        (
            &[("clientCert", certificate), ("clientKey", &sealed)],
            "clientKey",
            "not encrypted",
        ),
        (
            &[("clientCert", certificate), ("clientKey", &other.key)],
            "clientKey",
            "does not belong",
        ),
        (&[("idleTimeout", "60")], "idleTimeout", "no duration"),
        (&[("idleTimeout", "10ms")], "idleTimeout", "from 1s to 1h"),
        (&[("idleTimeout", "2h")], "idleTimeout", "from 1s to 1h"),
    ] {
        let text = format!("creds: [{}]", entry("r.test", keys));
        let error = Config::parse(&text, "test").unwrap_err().to_string();
        assert!(error.contains(&format!("creds[0].{key}: ")), "{error}");
        assert!(error.contains(why), "{why:?} is missing: {error}");
        assert_eq!(error.lines().count(), 1, "one fault: {error}");
        let secret = pair.key.lines().nth(1).unwrap();
        assert!(!error.contains(secret), "{error}");
    }
    let keys = [
        pem(&ca),
        identity(&pair)[0],
        identity(&pair)[1],
        ("idleTimeout", "5s"),
    ];
    let config = Config::parse(&format!("creds: [{}]", entry("r.test", &keys)), "test").unwrap();
    let registry = &config.registries[&"r.test".parse().unwrap()];
    assert_eq!(registry.idle, Some(Duration::from_secs(5)));
    assert!(registry.ca.is_some());
    assert_eq!(format!("{:?}", registry.identity), "Some([hidden])");
}

/// Places that no server may lead to, whoever it is. Nobody is asked there
/// but on 0.0.0.0, which is this machine.
fn never(trap: &TestRegistry) -> Vec<String> {
    let port = trap.address().rsplit(':').next().unwrap();
    vec![
        format!("http://0.0.0.0:{port}"),
        format!("http://[::ffff:0.0.0.0]:{port}"),
        "http://169.254.169.254".to_owned(),
        "http://2852039166".to_owned(),
        "http://[::ffff:169.254.169.254]".to_owned(),
        "http://[64:ff9b::169.254.169.254]".to_owned(),
        "http://[fe80::1]".to_owned(),
        "http://metadata.google.internal".to_owned(),
    ]
}

#[tokio::test]
async fn j1_a_private_registry_may_lead_inside_but_to_no_metadata() {
    let (storage, _) = with_image().await;
    let (registry, image) = with_image().await;
    let creds = [entry(registry.address(), &[("tls", "disabled")])];
    lead(&registry, &image, &format!("http://{}", storage.address()));
    mirror(registry.address(), &creds).await.unwrap();
    assert_eq!(storage.requests(), image.blobs().count());

    storage.clear_log();
    for place in never(&storage) {
        registry.heal();
        lead(&registry, &image, &place);
        let error = mirror(registry.address(), &creds).await.unwrap_err();
        assert!(error.contains("no server may lead"), "{place}: {error}");
        assert!(!error.contains("canary"), "{error}");
        assert_eq!(storage.log(), [""; 0], "{place}");
        // Not even if it is listed.
        let listed = entry(place.trim_start_matches("http://"), &[("tls", "disabled")]);
        let creds = [creds[0].clone(), listed];
        let error = mirror(registry.address(), &creds).await.unwrap_err();
        assert!(error.contains("no server may lead"), "{place}: {error}");
        assert_eq!(storage.log(), [""; 0], "{place}");
    }
}

#[tokio::test]
async fn f11_a_token_server_is_no_metadata_service() {
    let trap = TestRegistry::start().await;
    let (registry, _) = with_image().await;
    let logins = [("tls", "disabled"), ("user", "u"), ("pass", "p")];
    let creds = [entry(registry.address(), &logins)];
    for place in never(&trap) {
        let challenge = format!("Bearer realm=\"{place}/token?x=canary-77\"");
        let fault = Fault::reply(401, &[("www-authenticate", &challenge)], "");
        registry.on("HEAD", "/manifests/", 1, fault);
        let error = mirror(registry.address(), &creds).await.unwrap_err();
        assert!(error.contains("no server may lead"), "{place}: {error}");
        assert!(!error.contains("canary"), "{error}");
        assert_eq!(trap.log(), [""; 0], "{place}");
    }
}
