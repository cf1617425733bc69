//! `regmirror config`: show, check, describe and convert configurations.

use std::io::Read as _;
use std::path::Path;

use super::args::{ConfigArgs, ConfigCommand, Convert, Origin, ReportFormat, SchemaOf, Validate};
use super::exit::Exit;
use super::load::{human, load, read};
use super::output;
use crate::config::{self, Check, ConfigError, Format, Tool};
use crate::report;

pub(super) fn run(path: Option<&Path>, arguments: &ConfigArgs) -> Exit {
    match &arguments.command {
        None => show(path, arguments.show_secrets),
        Some(ConfigCommand::Validate(arguments)) => validate(path, arguments),
        Some(ConfigCommand::Schema(arguments)) => {
            output::print(&match arguments.of {
                SchemaOf::Config => config::schema_text(),
                SchemaOf::Report => report::schema_text(),
            });
            Exit::Success
        }
        Some(ConfigCommand::Convert(arguments)) => convert(arguments),
    }
}

fn show(path: Option<&Path>, secrets: bool) -> Exit {
    match load(path, None) {
        Ok(config) => {
            output::print(&match secrets {
                true => config.with_secrets(),
                false => config.effective(),
            });
            Exit::Success
        }
        Err(exit) => exit,
    }
}

fn validate(path: Option<&Path>, arguments: &Validate) -> Exit {
    let format = match arguments.format {
        ReportFormat::Human => human(&std::io::stdout()),
        ReportFormat::Json => Format::Json,
        ReportFormat::Github => Format::Github,
        ReportFormat::Gitlab => Format::Gitlab,
    };
    let (report, usable) = match read(path) {
        Ok(Ok(config)) => (config.warnings, true),
        Ok(Err(ConfigError::Faulty(report))) => (report, false),
        Ok(Err(error)) => {
            output::error(&error.to_string());
            return Exit::Config;
        }
        Err(exit) => return exit,
    };
    output::print(&report.render(format));
    let unknown = |finding: &config::Finding| finding.check == Check::UnknownKey;
    let good = usable && !report.findings().iter().any(unknown);
    if let Format::Human { .. } = format {
        let verdict = match (good, usable) {
            (true, _) => "can be used",
            (false, true) => "has keys that do not exist",
            (false, false) => "cannot be used",
        };
        output::print(&format!("{}: {verdict}\n", report.origin()));
    }
    match good {
        true => Exit::Success,
        false => Exit::Config,
    }
}

fn convert(arguments: &Convert) -> Exit {
    let tool = match arguments.from {
        Origin::Dregsy => Tool::Dregsy,
        Origin::ImageSyncer => Tool::ImageSyncer,
        Origin::Skopeo => Tool::Skopeo,
    };
    let name = arguments.file.display();
    let text = match arguments.file.as_os_str() == "-" {
        true => {
            let mut text = String::new();
            let read = std::io::stdin()
                .take(config::MAX_SIZE)
                .read_to_string(&mut text);
            read.map(|_| text)
        }
        false => std::fs::read_to_string(&arguments.file),
    };
    let text = match text {
        Ok(text) => text,
        Err(error) => {
            output::error(&format!("could not read {name}: {error}"));
            return Exit::Config;
        }
    };
    match config::convert(tool, &text, arguments.target.as_deref()) {
        Ok(converted) => {
            output::print(&converted.text);
            for remark in &converted.remarks {
                output::error(&format!("{name}: {remark}"));
            }
            Exit::Success
        }
        Err(error) => {
            output::error(&format!("{name}: {error}"));
            Exit::Config
        }
    }
}
