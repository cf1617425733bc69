//! Text that cannot be printed, and files that others should not read.

use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// A password or a token. `Debug` and `Display` hide it; only
/// [`expose`](Secret::expose) gives it away, so its uses can be searched for.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Secret(String);

impl Secret {
    /// Takes `text` into custody.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself: for a header or a form, never for a message.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[hidden]")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[hidden]")
    }
}

/// What to tell whoever keeps secrets in `file`, if every user of the machine
/// can read it.
///
/// Not of a file that Kubernetes mounts, which is readable by all in a place
/// where nobody else is: it lies beside the link `..data`.
pub fn exposure(file: &Path) -> Option<String> {
    if file.with_file_name("..data").is_symlink() {
        return None;
    }
    let allows = |path: &Path, mode: u32| {
        let metadata = path.metadata();
        metadata.is_ok_and(|metadata| metadata.permissions().mode() & mode == mode)
    };
    let real = file.canonicalize().ok()?;
    let reached = real.ancestors().skip(1).all(|folder| allows(folder, 0o001));
    (reached && allows(&real, 0o004)).then(|| {
        format!(
            "it holds a secret and every user of this machine can read it: chmod 600 {}",
            file.display()
        )
    })
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};

    use super::*;

    #[test]
    fn j2_a_secret_does_not_show() {
        let secret = Secret::from("hunter2");
        assert_eq!(format!("{secret} {secret:?}"), "[hidden] [hidden]");
        assert_eq!(secret.expose(), "hunter2");
    }
    #[test]
    fn j5_a_file_that_all_can_read_is_told_of() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.yml");
        fs::write(&file, "x").unwrap();
        let mode = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode));
        for (above, own, told) in [
            (0o755, 0o644, true),
            (0o711, 0o604, true),
            (0o755, 0o640, false),
            (0o755, 0o600, false),
            (0o700, 0o644, false),
        ] {
            mode(folder.path(), above).unwrap();
            mode(&file, own).unwrap();
            let text = exposure(&file);
            assert_eq!(text.is_some(), told, "{above:o} {own:o}");
            let wanted = format!("chmod 600 {}", file.display());
            assert!(text.is_none_or(|text| text.ends_with(&wanted)));
        }
        mode(folder.path(), 0o755).unwrap();
        mode(&file, 0o644).unwrap();
        std::os::unix::fs::symlink("..2026", folder.path().join("..data")).unwrap();
        assert_eq!(exposure(&file), None, "mounted by Kubernetes");
        assert_eq!(exposure(Path::new("/nonexistent/x")), None);
    }
}
