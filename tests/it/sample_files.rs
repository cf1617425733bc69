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
    let (configurations, others): (Vec<&str>, Vec<&str>) = blocks
        .into_iter()
        .partition(|block| block.starts_with("version: 1\n"));
    assert!(!configurations.is_empty(), "the README shows one");
    for block in others {
        // For other programs: at least YAML, with options that there are.
        let _: serde_yaml::Value = serde_yaml::from_str(block).expect(block);
        let words = block.split([' ', ',', '=', '[', ']', '\n']);
        for option in words.filter(|word| word.starts_with("--") && word.len() > 2) {
            let help = include_str!("snapshots/help.txt");
            assert!(help.contains(&format!("{option} <")), "{option}: {block}");
        }
    }
    for block in configurations {
        let config = Config::parse(block, "README.md").unwrap_or_else(|error| panic!("{error}"));
        assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    }
}
