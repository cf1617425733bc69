//! Every file in `config/` is one that works.

use std::fs;
use std::path::Path;

use regmirror::config::Config;

#[test]
fn every_sample_parses_without_a_warning() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let mut count = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "yml") {
            let config = Config::read(&path).unwrap_or_else(|error| panic!("{error}"));
            assert!(
                config.warnings.is_empty(),
                "{}: {:?}",
                path.display(),
                config.warnings
            );
            assert!(!config.jobs.is_empty(), "{} does nothing", path.display());
            count += 1;
        }
    }
    assert!(count >= 2, "only {count} samples");
}

#[test]
fn the_readme_s_configuration_works() {
    let readme = include_str!("../../README.md");
    let blocks: Vec<&str> = readme
        .split("```yaml\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap())
        .collect();
    assert!(!blocks.is_empty(), "the README shows a configuration");
    for block in blocks {
        let config = Config::parse(block, "README.md").unwrap_or_else(|error| panic!("{error}"));
        assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    }
}
