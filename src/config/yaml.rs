//! YAML text to the file's serde twin. The only place that knows the YAML
//! library.

use serde::Deserialize;
use serde_ignored::Path;

use super::raw;

/// Parses `text`. The second value lists the keys that mean nothing to
/// [`raw::Config`], as `sync[0].tags.alow`.
pub(super) fn read(text: &str) -> Result<(raw::Config, Vec<String>), serde_yaml::Error> {
    // Read typed even if there are merge keys, which serde_yaml leaves alone:
    // only these errors have a line and a column.
    let read = typed(serde_yaml::Deserializer::from_str(text))?;
    if !text.contains("<<") {
        return Ok(read);
    }
    let mut value: serde_yaml::Value = serde_yaml::from_str(text)?;
    value.apply_merge()?;
    typed(value)
}

fn typed<'de, D>(deserializer: D) -> Result<(raw::Config, Vec<String>), D::Error>
where
    D: serde::Deserializer<'de>,
{
    let mut ignored = Vec::new();
    let mut note = |path: Path<'_>| ignored.push(dotted(&path));
    let config = Option::deserialize(serde_ignored::Deserializer::new(deserializer, &mut note))?;
    Ok((config.unwrap_or_default(), ignored))
}

/// `sync[0].tags`, where the library writes `sync.0.tags` and marks options.
fn dotted(path: &Path<'_>) -> String {
    match path {
        Path::Root => String::new(),
        Path::Seq { parent, index } => format!("{}[{index}]", dotted(parent)),
        Path::Map { parent, key } => match dotted(parent) {
            parent if parent.is_empty() => key.clone(),
            parent => format!("{parent}.{key}"),
        },
        Path::Some { parent }
        | Path::NewtypeStruct { parent }
        | Path::NewtypeVariant { parent } => dotted(parent),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_keys_are_found_with_their_path() {
        let text = "version: 1\nsync:\n  - source: a\n    tags: {alow: [x]}\nx-a: 1\n";
        let (_, ignored) = read(text).unwrap();
        assert_eq!(ignored, ["sync[0].tags.alow", "x-a"]);
    }

    #[test]
    fn anchors_aliases_and_merge_keys_work() {
        let text = "x-base: &base\n  type: image\n  source: a\nsync:\n  - <<: *base\n    target: b\n\
                    \x20 - *base\n";
        let (config, ignored) = read(text).unwrap();
        assert_eq!(config.sync[0].kind.as_deref(), Some("image"));
        assert_eq!(config.sync[0].target.as_deref(), Some("b"));
        assert_eq!(config.sync[1].source.as_deref(), Some("a"));
        assert_eq!(ignored, ["x-base"]);
    }

    #[test]
    fn an_error_names_line_and_column_even_beside_merge_keys() {
        for text in ["sync:\n  - source: [a]\n", "# <<\nsync:\n  - source: [a]\n"] {
            let error = read(text).unwrap_err().to_string();
            assert!(
                error.contains("source") && error.contains("line"),
                "{error}"
            );
        }
    }

    #[test]
    fn an_empty_file_is_an_empty_configuration() {
        for text in ["", "# nothing\n", "---\n"] {
            assert!(read(text).unwrap().0.sync.is_empty(), "{text:?}");
        }
    }

    #[test]
    fn an_alias_bomb_is_refused() {
        let mut text = "x0: &x0 [a,a,a,a,a,a,a,a,a]\n".to_owned();
        for n in 1..9 {
            let list = vec![format!("*x{}", n - 1); 9].join(",");
            text.push_str(&format!("x{n}: &x{n} [{list}]\n"));
        }
        assert!(read(&text).is_ok(), "nobody uses it, so it does not go off");
        text.push_str("sync: *x8\n");
        assert!(read(&text).is_err());
        text.push_str("x-merge: {<<: {a: b}}\n");
        assert!(read(&text).is_err());
    }
}
