//! The name that was likely meant.

/// The one of `names` that `text` is likely a slip of: letters left out, put in
/// or swapped, or a word begun alike.
pub(crate) fn nearest<'a>(text: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    /// How alike they have to be, from 0 to 1.
    const LIKENESS: f64 = 0.6;
    // Only so much of it counts: the work is the product of the lengths.
    let text = text.chars().take(100).collect::<String>().to_lowercase();
    names
        .map(|name| {
            let lower = name.to_lowercase();
            let edits = strsim::normalized_damerau_levenshtein(&text, &lower);
            let beginning = strsim::jaro_winkler(&text, &lower) - 0.2;
            (edits.max(beginning), name)
        })
        .filter(|(likeness, _)| *likeness >= LIKENESS)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised_and_strangers_are_not() {
        const NAMES: [&str; 6] = ["pass", "registry", "semverRange", "tags", "env", "interval"];
        for (text, meant) in [
            ("passs", Some("pass")),
            ("regsitry", Some("registry")),
            ("semverrange", Some("semverRange")),
            ("semver", Some("semverRange")),
            ("tgas", Some("tags")),
            ("intervall", Some("interval")),
            ("colour", None),
            ("", None),
            ("x", None),
        ] {
            assert_eq!(nearest(text, NAMES.into_iter()), meant, "{text}");
        }
    }
}
