//! The form of a configuration as JSON Schema, made from the types that it is
//! read into.

use std::sync::LazyLock;

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::raw;

/// What the schema is known as.
const ID: &str = "urn:regmirror:config:1";

static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
    let generator = SchemaSettings::draft07().into_generator();
    let mut schema = generator.into_root_schema_for::<raw::Config>().to_value();
    tidy(&mut schema);
    if let Some(map) = schema.as_object_mut() {
        map.insert("$id".to_owned(), ID.into());
    }
    schema
});

/// The JSON Schema of a configuration (draft 7, which editors know).
pub fn schema() -> &'static Value {
    &SCHEMA
}

/// The schema as the file that editors read.
pub fn schema_text() -> String {
    format!("{:#}\n", *SCHEMA)
}

/// An object of the schema, behind its references. What may be nothing is
/// described as what it is otherwise.
pub(super) fn resolved(schema: &'static Value) -> &'static Value {
    let mut schema = schema;
    loop {
        let all = schema.get("allOf").and_then(|all| all.get(0));
        if let Some(inner) = all {
            schema = inner;
            continue;
        }
        let Some(name) = schema
            .get("$ref")
            .and_then(Value::as_str)
            .and_then(|path| path.strip_prefix("#/definitions/"))
        else {
            return schema;
        };
        schema = &SCHEMA["definitions"][name];
    }
}

/// Says of each map that it has no other keys but those for anchors, and leaves
/// out what serde's view of optional values brings along.
fn tidy(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            map.remove("default");
            map.remove("format");
            map.remove("minimum");
            if map.contains_key("properties") {
                map.insert("additionalProperties".to_owned(), json!(false));
                map.insert("patternProperties".to_owned(), json!({"^x-": {}}));
            }
            not_null(map);
            map.values_mut().for_each(tidy);
        }
        Value::Array(list) => list.iter_mut().for_each(tidy),
        _ => {}
    }
}

fn not_null(map: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = map.get("type") {
        let other = types.iter().find(|kind| *kind != "null").cloned();
        map.insert("type".to_owned(), other.unwrap_or_default());
    }
    if let Some(Value::Array(any)) = map.remove("anyOf") {
        let other = any.into_iter().find(|kind| kind["type"] != "null");
        map.insert("allOf".to_owned(), json!([other]));
    }
}
