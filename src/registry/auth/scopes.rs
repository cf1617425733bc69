//! What a token has to allow.

use crate::oci::Repository;

/// The scopes of one request, its own repository first: some token servers
/// look at the first only.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Scopes(Vec<String>);

impl Scopes {
    /// No right to anything in particular.
    pub(crate) fn none() -> Self {
        Self::default()
    }

    /// To read.
    pub(crate) fn pull(repo: &Repository) -> Self {
        Self(vec![format!("repository:{repo}:pull")])
    }

    /// To write, which registries only give with the right to read.
    pub(crate) fn push(repo: &Repository) -> Self {
        Self(vec![format!("repository:{repo}:pull,push")])
    }

    /// To delete. Never asked for along with anything else: Quay refuses the
    /// whole token.
    pub(crate) fn delete(repo: &Repository) -> Self {
        Self(vec![format!("repository:{repo}:delete")])
    }

    /// To list the repositories.
    pub(crate) fn catalog() -> Self {
        Self(vec!["registry:catalog:*".to_owned()])
    }

    /// To read `from` as well, for a mount.
    pub(crate) fn and_pull(mut self, from: &Repository) -> Self {
        self.0.push(format!("repository:{from}:pull"));
        self
    }

    /// These, and what a challenge names for other resources. For a resource
    /// that is named here the challenge is not believed: it may name rights
    /// that the request does not need and the credentials do not have.
    pub(crate) fn with_challenged(&self, scope: &str) -> Self {
        let resource = |scope: &str| scope.rsplit_once(':').map(|(name, _)| name.to_owned());
        let mut all = self.0.clone();
        for asked in scope.split_ascii_whitespace() {
            if !all.iter().any(|known| resource(known) == resource(asked)) {
                all.push(asked.to_owned());
            }
        }
        Self(all)
    }

    /// One by one.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// In one line, as a form wants them.
    pub(crate) fn joined(&self) -> String {
        self.0.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_adds_resources_but_no_rights() {
        let own = Scopes::push(&"a/b".parse().unwrap());
        let both = own.with_challenged("repository:a/b:pull,push,delete x:y:z  x:y:z");
        assert_eq!(both.joined(), "repository:a/b:pull,push x:y:z");
        assert_eq!(own.with_challenged(""), own);
        let mount = own.and_pull(&"c".parse().unwrap());
        assert_eq!(mount.joined(), "repository:a/b:pull,push repository:c:pull");
    }
}
