//! `regmirror auth check`: what may be done at the registries.

use std::fmt::Write as _;

use super::args::{AuthCheck, Cli, TableOrJson};
use super::exit::Exit;
use super::load::{load, open, pick};
use super::output;
use super::stop::Signals;
use crate::app::access;
use crate::report::{Action, Auth, Line, RegistryAccess, SCHEMA_VERSION};

pub(super) async fn run(cli: &Cli, arguments: &AuthCheck) -> Exit {
    let ready = load(cli.config.as_deref(), None).and_then(|mut config| {
        pick(&mut config, &arguments.job)?;
        let stores = open(&config)?;
        Ok((config, stores, Signals::watch()?))
    });
    let (config, stores, signals) = match ready {
        Ok(ready) => ready,
        Err(exit) => return exit,
    };
    let registries = tokio::select! {
        registries = access(&config, &stores) => registries,
        () = signals.stop.token.cancelled() => {
            return Exit::Signal(signals.seen().unwrap_or_default());
        }
    };
    let fine = |registry: &RegistryAccess| {
        registry.error.is_none() && registry.repositories.iter().all(|one| one.allowed)
    };
    let exit = match registries.iter().all(fine) {
        true => Exit::Success,
        false => Exit::Failed,
    };
    output::print(&match arguments.output {
        TableOrJson::Table => text(&registries),
        TableOrJson::Json => Line::Auth(Auth {
            schema_version: SCHEMA_VERSION,
            exit_code: exit.code(),
            registries,
        })
        .document(),
    });
    exit
}

fn text(registries: &[RegistryAccess]) -> String {
    let mut text = String::new();
    for registry in registries {
        let reached = match registry.reachable {
            true => "reachable",
            false => "NOT REACHABLE",
        };
        let _ = writeln!(text, "{}: {reached}", registry.registry);
        if let Some(error) = &registry.error {
            let _ = writeln!(text, "  {error}");
        }
        if let Some(credential) = &registry.credential {
            let from = registry.credential_from.as_deref();
            let from = from.map_or(String::new(), |from| format!(", from {from}"));
            let _ = writeln!(text, "  as {credential}{from}");
        }
        if let Some(left) = registry.pulls_left {
            let of = registry.pulls_allowed;
            let of = of.map_or(String::new(), |limit| format!(" of {limit}"));
            let _ = writeln!(text, "  {left}{of} pulls left");
        }
        for one in &registry.repositories {
            let action = match one.action {
                Action::List => "list",
                Action::Pull => "pull",
                Action::Push => "push",
            };
            let word = match one.allowed {
                true => "may",
                false => "MAY NOT",
            };
            let _ = write!(text, "  {word} {action} {}", one.repository);
            if let Some(error) = &one.error {
                let _ = write!(text, ": {error}");
            }
            text.push('\n');
        }
    }
    if registries.is_empty() {
        text.push_str("The configuration names no registry.\n");
    }
    text
}
