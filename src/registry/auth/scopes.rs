//! What a token has to allow.

use crate::oci::Repository;

/// The scopes of one request, its own repository first: some token servers
/// look at the first only.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Scopes {
    /// The repository that the request is about, and so the credential.
    repo: Option<Repository>,
    named: Vec<String>,
}

impl Scopes {
    /// No right to anything in particular.
    pub(crate) fn none() -> Self {
        Self::default()
    }

    /// To read.
    pub(crate) fn pull(repo: &Repository) -> Self {
        Self::of(repo, "pull")
    }

    /// To write, which registries only give with the right to read.
    pub(crate) fn push(repo: &Repository) -> Self {
        Self::of(repo, "pull,push")
    }

    /// To delete. Never asked for along with anything else: Quay refuses the
    /// whole token.
    pub(crate) fn delete(repo: &Repository) -> Self {
        Self::of(repo, "delete")
    }

    fn of(repo: &Repository, actions: &str) -> Self {
        Self {
            repo: Some(repo.clone()),
            named: vec![format!("repository:{repo}:{actions}")],
        }
    }

    /// To list the repositories.
    pub(crate) fn catalog() -> Self {
        Self {
            repo: None,
            named: vec!["registry:catalog:*".to_owned()],
        }
    }

    /// To read `from` as well, for a mount.
    pub(crate) fn and_pull(mut self, from: &Repository) -> Self {
        self.named.push(format!("repository:{from}:pull"));
        self
    }

    /// The repository that the request is about.
    pub(super) fn repo(&self) -> Option<&Repository> {
        self.repo.as_ref()
    }

    /// Whether this is for a mount, which nobody depends on.
    pub(crate) fn is_for_mount(&self) -> bool {
        self.named.len() > 1
    }

    /// These, and what a challenge names for other resources. For a resource
    /// that is named here the challenge is not believed: it may name rights
    /// that the request does not need and the credentials do not have.
    pub(crate) fn with_challenged(&self, scope: &str) -> Self {
        let resource = |scope: &str| scope.rsplit_once(':').map(|(name, _)| name.to_owned());
        let mut all = self.named.clone();
        for asked in scope.split_ascii_whitespace() {
            if !all.iter().any(|known| resource(known) == resource(asked)) {
                all.push(asked.to_owned());
            }
        }
        Self {
            repo: self.repo.clone(),
            named: all,
        }
    }

    /// One by one.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        self.named.iter().map(String::as_str)
    }

    /// In one line, as a form wants them.
    pub(crate) fn joined(&self) -> String {
        self.named.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f7_a_challenge_adds_resources_but_no_rights() {
        let own = Scopes::push(&"a/b".parse().unwrap());
        let both = own.with_challenged("repository:a/b:pull,push,delete x:y:z  x:y:z");
        assert_eq!(both.joined(), "repository:a/b:pull,push x:y:z");
        assert_eq!(own.with_challenged(""), own);
        let mount = own.and_pull(&"c".parse().unwrap());
        assert_eq!(mount.joined(), "repository:a/b:pull,push repository:c:pull");
    }
}
