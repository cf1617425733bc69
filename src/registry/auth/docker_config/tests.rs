use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use tempfile::TempDir;

use super::*;

struct Home(TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file that has these users, by registry.
    fn write(&self, name: &str, users: &[(&str, &str)]) {
        self.write_text(name, &format!("{{\"auths\": {}}}", entries(users)));
    }

    fn write_text(&self, name: &str, text: &str) {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Variables whose values are paths in here.
    fn load(&self, names: &[(&str, &str)]) -> Result<DockerConfig, DockerConfigError> {
        DockerConfig::load_with(Arc::default(), |asked| {
            let (name, value) = names.iter().find(|(name, _)| *name == asked)?;
            Some(match *name {
                VARIABLE => value.into(),
                _ => self.path().join(value).into(),
            })
        })
    }
}

fn entries(users: &[(&str, &str)]) -> String {
    let entry = |(host, user): &(&str, &str)| format!("\"{host}\": {{\"username\": \"{user}\"}}");
    let entries: Vec<_> = users.iter().map(entry).collect();
    format!("{{{}}}", entries.join(","))
}

/// The user for a registry; empty for nobody.
async fn user(config: &DockerConfig, host: &str) -> String {
    match config
        .credential(&host.parse().unwrap(), None, None)
        .await
        .map(|(found, _)| found)
    {
        Ok(Credential::Basic { user, .. }) => user,
        Ok(Credential::Anonymous) => String::new(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn f8_the_first_place_that_knows_a_registry_counts() {
    let home = Home::new();
    home.write(".docker/config.json", &[("a.io", "home"), ("z.io", "home")]);
    home.write("other/config.json", &[("a.io", "docker")]);
    home.write("named.json", &[("a.io", "named"), ("b.io", "named")]);
    home.write(
        "run/containers/auth.json",
        &[("a.io", "podman"), ("b.io", "podman"), ("c.io", "podman")],
    );
    let names = [
        ("HOME", ""),
        ("DOCKER_CONFIG", "other"),
        ("REGISTRY_AUTH_FILE", "named.json"),
        ("XDG_RUNTIME_DIR", "run"),
    ];
    let config = home.load(&names).unwrap();
    for (host, want) in [
        ("a.io", "docker"),
        ("b.io", "named"),
        ("c.io", "podman"),
        ("z.io", ""),
    ] {
        assert_eq!(user(&config, host).await, want, "{host}");
    }
    let variable = (VARIABLE, r#"{"auths": {"a.io": {"username": "env"}}}"#);
    let config = home.load(&[&names[..], &[variable]].concat()).unwrap();
    for (host, want) in [("a.io", "env"), ("b.io", "named")] {
        assert_eq!(user(&config, host).await, want, "{host}");
    }
    let config = home.load(&names[..1]).unwrap();
    assert_eq!(user(&config, "a.io").await, "home");
    let config = home.load(&[("DOCKER_CONFIG", "nowhere")]).unwrap();
    assert_eq!(user(&config, "a.io").await, "");
    let config = home.load(&[("DOCKER_CONFIG", "named.json")]).unwrap();
    assert_eq!(user(&config, "a.io").await, "");
}

#[tokio::test]
async fn f8_a_broken_file_is_an_error_that_quotes_nothing() {
    let home = Home::new();
    let broken = r#"{"auths": {"a.io": {"auth": "hunter2"#;
    home.write_text("broken.json", broken);
    let error = home.load(&[("REGISTRY_AUTH_FILE", "nowhere")]).unwrap_err();
    assert!(error.to_string().contains("nowhere"), "{error}");
    for (name, value, shown) in [
        (
            "REGISTRY_AUTH_FILE",
            "broken.json",
            "broken.json is broken at line 1",
        ),
        (VARIABLE, broken, "DOCKER_AUTH_CONFIG is broken at line 1"),
    ] {
        let error = home.load(&[(name, value)]).unwrap_err();
        assert!(error.to_string().contains(shown), "{error}");
        assert!(!format!("{error}{error:?}").contains("hunter2"));
    }
    home.write_text("long.json", &" ".repeat(5 << 20));
    let error = home
        .load(&[("REGISTRY_AUTH_FILE", "long.json")])
        .unwrap_err();
    assert!(format!("{error:?}").contains("4 MiB"), "{error:?}");

    let text = r#"{"auths": {"a.io": {"auth": "hunter2!"}}, "credHelpers": {"b.io": "a/b"}}"#;
    let config = home.load(&[(VARIABLE, text)]).unwrap();
    for (host, shown) in [("a.io", "for a.io in the variable"), ("b.io", "\"a/b\"")] {
        let found = config.credential(&host.parse().unwrap(), None, None).await;
        let error = found.unwrap_err().to_string();
        assert!(error.contains(shown), "{error}");
        assert!(!format!("{error}{config:?}").contains("hunter2"));
    }
    assert_eq!(user(&config, "c.io").await, "");
}

#[tokio::test]
async fn f9_a_mounted_secret_s_names_are_known() {
    let home = Home::new();
    let names = [("HOME", ""), ("DOCKER_CONFIG", "secret")];
    home.write_text(
        ".dockercfg",
        &entries(&[("a.io", "home"), ("b.io", "home")]),
    );
    home.write_text("secret/.dockercfg", &entries(&[("a.io", "old")]));
    assert_eq!(user(&home.load(&names).unwrap(), "a.io").await, "old");
    home.write("secret/.dockerconfigjson", &[("a.io", "new")]);
    let config = home.load(&names).unwrap();
    assert_eq!(user(&config, "a.io").await, "new");
    assert_eq!(user(&config, "b.io").await, "home");
    // One that comes later is seen, too.
    home.write("secret/config.json", &[("a.io", "docker")]);
    assert_eq!(user(&config, "a.io").await, "docker");
}

#[tokio::test]
async fn f9_a_file_is_read_again_when_it_changes() {
    let home = Home::new();
    // As the kubelet has it: the file is a link through a link that is swapped.
    home.write("..1/.dockerconfigjson", &[("a.io", "first")]);
    home.write("..2/.dockerconfigjson", &[("a.io", "other")]);
    symlink("..1", home.path().join("..data")).unwrap();
    let file = home.path().join(".dockerconfigjson");
    symlink("..data/.dockerconfigjson", &file).unwrap();
    let config = home.load(&[("DOCKER_CONFIG", "")]).unwrap();
    assert_eq!(user(&config, "a.io").await, "first");

    symlink("..2", home.path().join("..data_tmp")).unwrap();
    fs::rename(home.path().join("..data_tmp"), home.path().join("..data")).unwrap();
    assert_eq!(user(&config, "a.io").await, "other");

    // What is broken does not count, ...
    home.write_text("..2/.dockerconfigjson", "{");
    assert_eq!(user(&config, "a.io").await, "other");
    assert_eq!(user(&config, "a.io").await, "other");
    home.write("..2/.dockerconfigjson", &[("a.io", "third one")]);
    assert_eq!(user(&config, "a.io").await, "third one");
    // ... but that it is gone does.
    fs::remove_file(&file).unwrap();
    assert_eq!(user(&config, "a.io").await, "");
}

#[tokio::test]
async fn f9_a_named_file_that_vanishes_counts_on() {
    let home = Home::new();
    home.write("named.json", &[("a.io", "named")]);
    let config = home.load(&[("REGISTRY_AUTH_FILE", "named.json")]).unwrap();
    fs::remove_file(home.path().join("named.json")).unwrap();
    assert_eq!(user(&config, "a.io").await, "named");
}
