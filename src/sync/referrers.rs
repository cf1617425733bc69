//! Referrers: which of what refers to an image goes with it.

use std::collections::BTreeMap;

use crate::oci::{Descriptor, Reference, Repository};

/// Which referrers are copied, from where and to where.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Referrers {
    /// Those that fit any of these; all, when there are none.
    pub filters: Vec<ReferrerFilter>,
    /// The repository that has them, when it is not the image's.
    pub source: Option<Reference>,
    /// The repository that gets them, when it is not the image's.
    pub target: Option<Reference>,
    /// Whether a manifest is read for annotations that the listing lacks.
    pub slow: bool,
}

/// What referrers have in common.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReferrerFilter {
    /// Their type.
    pub artifact_type: Option<String>,
    /// Annotations that they have. An empty value stands for any.
    pub annotations: BTreeMap<String, String>,
}

/// What a listing says of a referrer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fit {
    Yes,
    No,
    /// Its manifest may have the annotations that the listing does not show.
    Perhaps,
}

impl Referrers {
    /// The repository that has the referrers of images in `image`.
    pub(super) fn source_repository<'a>(&'a self, image: &'a Repository) -> &'a Repository {
        self.source
            .as_ref()
            .map_or(image, |place| &place.repository)
    }

    /// The repository that gets the referrers of images in `image`.
    pub(super) fn target_repository<'a>(&'a self, image: &'a Repository) -> &'a Repository {
        self.target
            .as_ref()
            .map_or(image, |place| &place.repository)
    }

    /// Whether a referrer is copied, by what a listing says of it.
    pub(super) fn judge(&self, listed: &Descriptor) -> Fit {
        if self.filters.is_empty() {
            return Fit::Yes;
        }
        let mut fit = Fit::No;
        for filter in &self.filters {
            match filter.judge(listed) {
                Fit::Yes => return Fit::Yes,
                Fit::Perhaps if self.slow => fit = Fit::Perhaps,
                Fit::Perhaps | Fit::No => {}
            }
        }
        fit
    }
}

impl ReferrerFilter {
    fn judge(&self, listed: &Descriptor) -> Fit {
        let kind = listed
            .artifact_type
            .as_deref()
            .filter(|kind| !kind.is_empty());
        if let (Some(wanted), Some(kind)) = (&self.artifact_type, kind)
            && wanted != kind
        {
            return Fit::No;
        }
        let kind_is_known = self.artifact_type.is_none() || kind.is_some();
        let has = |(key, wanted): (&String, &String)| match listed.annotation(key) {
            Some(value) => wanted.is_empty() || value == wanted,
            None => false,
        };
        match kind_is_known && self.annotations.iter().all(has) {
            true => Fit::Yes,
            false if !kind_is_known || listed.annotations.is_none() => Fit::Perhaps,
            false => Fit::No,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::MediaType;

    #[test]
    fn filters_are_alternatives_of_all_that_they_name() {
        let filter = |kind: &str, annotations: &[(&str, &str)]| ReferrerFilter {
            artifact_type: Some(kind.to_owned()).filter(|kind| !kind.is_empty()),
            annotations: annotations
                .iter()
                .map(|(key, value)| (key.to_string(), value.to_string()))
                .collect(),
        };
        let referrers = |filters: Vec<ReferrerFilter>, slow| Referrers {
            filters,
            slow,
            ..Referrers::default()
        };
        let listed = |kind: &str, annotations: &[(&str, &str)]| Descriptor {
            artifact_type: Some(kind.to_owned()),
            annotations: (!annotations.is_empty()).then(|| {
                let pairs = annotations.iter();
                pairs
                    .map(|(key, value)| (key.to_string(), value.to_string()))
                    .collect()
            }),
            ..Descriptor::of(MediaType::OCI_MANIFEST, b"x")
        };
        let sbom = filter("sbom", &[]);
        let signed = filter("", &[("by", "me"), ("when", "")]);
        for slow in [false, true] {
            let both = referrers(vec![sbom.clone(), signed.clone()], slow);
            assert_eq!(both.judge(&listed("sbom", &[])), Fit::Yes);
            assert_eq!(
                both.judge(&listed("sig", &[("by", "me"), ("when", "x")])),
                Fit::Yes
            );
            assert_eq!(
                both.judge(&listed("sig", &[("by", "you"), ("when", "x")])),
                Fit::No
            );
            assert_eq!(both.judge(&listed("sig", &[("by", "me")])), Fit::No);
            let hidden = if slow { Fit::Perhaps } else { Fit::No };
            assert_eq!(both.judge(&listed("sig", &[])), hidden);
            assert_eq!(
                referrers(Vec::new(), slow).judge(&listed("any", &[])),
                Fit::Yes
            );
        }
    }
}
