//! `regmirror completions` and `regmirror man`: what is made of the command
//! line's own description.

use std::path::Path;

use super::args::{Completions, Man, command};
use super::exit::Exit;
use super::output;

pub(super) fn completions(arguments: &Completions) -> Exit {
    let mut text = Vec::new();
    clap_complete::generate(arguments.shell, &mut command(), "regmirror", &mut text);
    output::print(&String::from_utf8_lossy(&text));
    Exit::Success
}

pub(super) fn man(arguments: &Man) -> Exit {
    let command = command();
    let written = match &arguments.dir {
        Some(dir) => clap_mangen::generate_to(command, dir),
        None => {
            let mut text = Vec::new();
            let rendered = clap_mangen::Man::new(command).render(&mut text);
            output::print(&String::from_utf8_lossy(&text));
            rendered
        }
    };
    match written {
        Ok(()) => Exit::Success,
        Err(error) => {
            let dir = arguments.dir.as_deref().unwrap_or(Path::new("."));
            output::error(&format!(
                "could not write manual pages to {}: {error}",
                dir.display()
            ));
            Exit::Failed
        }
    }
}
