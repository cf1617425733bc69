//! The reports' JSON Schema.

use schemars::generate::SchemaSettings;

use super::Line;

/// The JSON Schema (draft 7) of all reports, as text.
pub fn schema_text() -> String {
    let generator = SchemaSettings::draft07().into_generator();
    let schema = generator.into_root_schema_for::<Line>();
    let text = serde_json::to_string_pretty(&schema);
    text.expect("maps with text for keys") + "\n"
}
