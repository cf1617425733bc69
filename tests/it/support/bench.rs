//! Two registries, and jobs between them as a configuration has them.

use std::fmt::Write as _;
use std::sync::Arc;

use regmirror::app::{OpenStores, RetryPolicy, Summary, run_once};
use regmirror::config::Config;
use regmirror::sync::{Audience, Outcome};
use tokio_util::sync::CancellationToken;

use super::TestRegistry;
use super::program::Program;

/// A source, a target, and what runs between them.
pub(crate) struct Bench {
    pub(crate) source: TestRegistry,
    pub(crate) target: TestRegistry,
}

impl Bench {
    pub(crate) async fn new() -> Self {
        Self {
            source: TestRegistry::start().await,
            target: TestRegistry::start().await,
        }
    }

    /// A configuration with these `sync` entries, in YAML's flow style.
    /// `SOURCE` and `TARGET` stand for the registries' addresses.
    pub(crate) fn config(&self, entries: &[&str]) -> String {
        let mut text = "version: 1\ndefaults: {skipDockerConfig: true}\ncreds:\n".to_owned();
        for registry in [&self.source, &self.target] {
            let address = registry.address();
            let _ = writeln!(
                text,
                "  - {{registry: '{address}', tls: disabled, user: u, pass: p}}"
            );
        }
        text.push_str("sync:\n");
        for entry in entries {
            let entry = entry
                .replace("SOURCE", self.source.address())
                .replace("TARGET", self.target.address());
            let _ = writeln!(text, "  - {{{entry}}}");
        }
        text
    }

    /// Runs the jobs once, as a new process would.
    pub(crate) async fn run(&self, entries: &[&str]) -> Summary {
        self.run_with(entries, RetryPolicy::none(), false).await
    }

    pub(crate) async fn run_with(
        &self,
        entries: &[&str],
        retry: RetryPolicy,
        missing_only: bool,
    ) -> Summary {
        let mut config = Config::parse(&self.config(entries), "test").expect("a configuration");
        for job in &mut config.jobs {
            job.policy.missing_only = missing_only;
        }
        let stores = Arc::new(OpenStores::new(&config, retry).expect("stores"));
        let token = CancellationToken::new();
        let summary = run_once(&config, &stores, Audience::default(), &token).await;
        // Whatever is reported is one line.
        for line in failures(&summary) {
            assert_eq!(line.lines().count(), 1, "{line}");
        }
        summary
    }

    /// The configuration in a file, as an operator would keep it, and what runs the
    /// program on it. What it prints comes through pipes.
    pub(crate) fn program(&self, entries: &[&str], arguments: &[&str]) -> Program {
        Program::new(&self.config(entries), arguments)
    }

    /// Runs a configuration written out. `SOURCE` and `TARGET` stand for the
    /// registries' addresses.
    pub(crate) async fn run_text(&self, text: &str) -> Summary {
        let text = text
            .replace("SOURCE", self.source.address())
            .replace("TARGET", self.target.address());
        let config = Config::parse(&text, "test").unwrap_or_else(|error| panic!("{error}"));
        let stores = OpenStores::new(&config, RetryPolicy::none()).expect("stores");
        let token = CancellationToken::new();
        run_once(&config, &Arc::new(stores), Audience::default(), &token).await
    }

    pub(crate) fn clear_logs(&self) {
        self.source.clear_log();
        self.target.clear_log();
    }
}

/// What failed: the image at the source, and why.
pub(crate) fn failures(summary: &Summary) -> Vec<String> {
    let tags = summary.runs.iter().flat_map(|run| &run.tags);
    let failed = tags.filter_map(|tag| match &tag.outcome {
        Outcome::Failed { error, .. } => Some(format!("{}: {error}", tag.source)),
        _ => None,
    });
    failed.collect()
}
