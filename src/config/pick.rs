//! Some of the jobs, by their names.

use globset::{Glob, GlobMatcher};

use super::Config;
use crate::nearest::nearest;

/// Jobs that cannot be picked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PickError {
    /// Text that is no pattern.
    #[error("`{pattern}` is no pattern: {cause}")]
    Pattern {
        /// The text.
        pattern: String,
        /// What is wrong with it.
        cause: String,
    },
    /// A pattern that no name matches.
    #[error("no job's name matches `{pattern}`{}", .hint.as_deref().unwrap_or_default())]
    NoJob {
        /// The pattern.
        pattern: String,
        /// What may have been meant.
        hint: Option<String>,
    },
}

/// How many names are listed for somebody who named none of them.
const LISTED: usize = 10;

impl Config {
    /// Keeps the jobs of which any of `patterns` matches the name: as it is, or
    /// with `*`, `?`, `[a-z]` and `{a,b}`. A `*` stands for slashes too. Without
    /// patterns, all stay.
    ///
    /// # Errors
    ///
    /// The first pattern that is none or matches nothing.
    pub fn pick_jobs(&mut self, patterns: &[String]) -> Result<(), PickError> {
        if patterns.is_empty() {
            return Ok(());
        }
        let mut picked = vec![false; self.jobs.len()];
        for pattern in patterns {
            let matcher = matcher(pattern)?;
            let mut found = false;
            for (job, picked) in self.jobs.iter().zip(&mut picked) {
                if job.name == *pattern || matcher.is_match(&job.name) {
                    *picked = true;
                    found = true;
                }
            }
            if !found {
                return Err(PickError::NoJob {
                    pattern: pattern.clone(),
                    hint: self.hint(pattern),
                });
            }
        }
        let mut picked = picked.into_iter();
        self.jobs.retain(|_| picked.next() == Some(true));
        let names: Vec<&String> = self.jobs.iter().map(|job| &job.name).collect();
        self.schedules.retain(|name, _| names.contains(&name));
        Ok(())
    }

    fn hint(&self, pattern: &str) -> Option<String> {
        let names: Vec<&str> = self.jobs.iter().map(|job| job.name.as_str()).collect();
        if let Some(meant) = nearest(pattern, names.iter().copied()) {
            return Some(format!(": did you mean `{meant}`?"));
        }
        let listed = names.iter().take(LISTED).copied().collect::<Vec<_>>();
        let more = match names.len() > LISTED {
            true => ", …",
            false => "",
        };
        (!names.is_empty()).then(|| format!("; there are {}{more}", listed.join(", ")))
    }
}

fn matcher(pattern: &str) -> Result<GlobMatcher, PickError> {
    let glob = Glob::new(pattern).map_err(|error| PickError::Pattern {
        pattern: pattern.to_owned(),
        cause: error.kind().to_string(),
    })?;
    Ok(glob.compile_matcher())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(patterns: &[&str]) -> Result<Vec<String>, String> {
        let mut text = "defaults: {skipDockerConfig: true, interval: 1h}\nsync:\n".to_owned();
        for name in ["base", "team/api", "team/web", "od[d]"] {
            text += &format!(
                "- {{name: \"{name}\", source: \"a.io/{}\", target: \"b.io/x{}\", type: repository}}\n",
                name.len(),
                name.replace(['[', ']', '/'], "-").trim_end_matches('-')
            );
        }
        let mut config = Config::parse(&text, "test").unwrap();
        let patterns: Vec<String> = patterns.iter().map(ToString::to_string).collect();
        config
            .pick_jobs(&patterns)
            .map_err(|error| error.to_string())?;
        assert_eq!(config.schedules.len(), config.jobs.len());
        Ok(config.jobs.into_iter().map(|job| job.name).collect())
    }

    #[test]
    fn jobs_are_picked_by_name_and_pattern() {
        assert_eq!(names(&[]).unwrap().len(), 4);
        assert_eq!(names(&["team/*"]).unwrap(), ["team/api", "team/web"]);
        assert_eq!(names(&["*api", "base"]).unwrap(), ["base", "team/api"]);
        assert_eq!(names(&["{base,team/we?}"]).unwrap(), ["base", "team/web"]);
        assert_eq!(names(&["od[d]"]).unwrap(), ["od[d]"]);
        assert_eq!(
            names(&["bse"]).unwrap_err(),
            "no job's name matches `bse`: did you mean `base`?"
        );
        assert_eq!(
            names(&["base", "prod-*"]).unwrap_err(),
            "no job's name matches `prod-*`; there are base, team/api, team/web, od[d]"
        );
        assert!(
            names(&["a[", "base"])
                .unwrap_err()
                .starts_with("`a[` is no pattern: ")
        );
    }
}
