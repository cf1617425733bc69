//! Credential helpers, as shell scripts.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use regmirror::registry::Helpers;
use tempfile::TempDir;

/// A directory of helpers, which note what they are asked for.
#[derive(Debug)]
pub(crate) struct HelperDir(TempDir);

impl HelperDir {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    /// Adds `docker-credential-NAME`. The script finds the registry it is
    /// asked for in `$server`, and how often it was asked in `$times`; its
    /// working directory is this one.
    pub(crate) fn add(&self, name: &str, script: &str) {
        let program = self.path().join(format!("docker-credential-{name}"));
        let text = format!(
            "#!/bin/sh\n\
             cd '{}' || exit 3\n\
             [ \"$*\" = get ] || exit 4\n\
             read -r server\n\
             echo \"$server\" >> {name}.asked\n\
             times=$(wc -l < {name}.asked)\n\
             {script}\n",
            self.path().display(),
        );
        // Another process writes it. If this one did, a program that another
        // test starts meanwhile would have it open for writing, and it could
        // not be run.
        let mut shell = Command::new("/bin/sh")
            .args(["-c", "cat > \"$0\" && chmod +x \"$0\""])
            .arg(program)
            .stdin(Stdio::piped())
            .spawn()
            .expect("a shell");
        let mut stdin = shell.stdin.take().expect("a pipe");
        stdin.write_all(text.as_bytes()).expect("it reads");
        drop(stdin);
        assert!(shell.wait().expect("it ends").success());
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// What the helper was asked for, in that order.
    pub(crate) fn asked(&self, name: &str) -> Vec<String> {
        let asked = fs::read_to_string(self.path().join(format!("{name}.asked")));
        let asked = asked.unwrap_or_default();
        asked.lines().map(ToOwned::to_owned).collect()
    }

    /// A `PATH` that leads here.
    pub(crate) fn search_path(&self) -> String {
        format!("{}:/usr/bin:/bin", self.path().display())
    }

    /// The client's runner of helpers, for these.
    pub(crate) fn helpers(&self) -> Helpers {
        Helpers::default().in_path(self.search_path())
    }

    /// The same, to be shared.
    pub(crate) fn shared(&self) -> Arc<Helpers> {
        Arc::new(self.helpers())
    }
}
