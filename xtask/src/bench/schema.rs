//! Checks a JSON document against a JSON schema. It supports the part of JSON Schema that
//! `results.schema.json` uses; any other keyword is an error of the schema.

use serde_json::{Map, Value};

/// Words that say something to readers only.
const ANNOTATIONS: &[&str] = &["$schema", "$id", "$defs", "title", "description"];

/// The places where `value` violates `schema`, one line each, such as `rows[0].name: missing`. A
/// `strict` check also reports properties that are missing although the schema does not require
/// them, because current results have all.
pub fn violations(schema: &Value, value: &Value, strict: bool) -> Vec<String> {
    let mut check = Check { root: schema, strict, found: Vec::new() };
    check.value(schema, value, "");
    check.found
}

struct Check<'s> {
    root: &'s Value,
    strict: bool,
    found: Vec<String>,
}

impl<'s> Check<'s> {
    fn say(&mut self, path: &str, what: impl AsRef<str>) {
        let path = if path.is_empty() { "the document" } else { path };
        self.found.push(format!("{path}: {}", what.as_ref()));
    }

    fn value(&mut self, schema: &'s Value, value: &Value, path: &str) {
        let Some(words) = schema.as_object() else {
            return self.say(path, "the schema is no object");
        };
        for (word, rule) in words {
            match word.as_str() {
                "$ref" => self.reference(rule, value, path),
                "type" => self.kind(rule, value, path),
                "const" if rule != value => self.say(path, format!("{value}, not {rule}")),
                "enum" if !rule.as_array().is_some_and(|all| all.contains(value)) => {
                    self.say(path, format!("{value} is none of {rule}"));
                }
                "minimum" if value.as_f64() < rule.as_f64() && value.is_number() => {
                    self.say(path, format!("{value} is below {rule}"));
                }
                "required" => self.required(rule, value, path),
                "properties" => self.properties(rule, value, path),
                "additionalProperties" if *rule == Value::Bool(false) => {
                    self.unknown(words, value, path);
                }
                "items" => {
                    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                        self.value(rule, item, &format!("{path}[{index}]"));
                    }
                }
                "const" | "enum" | "minimum" => {}
                word if ANNOTATIONS.contains(&word) => {}
                word => {
                    self.say(path, format!("the schema says `{word}`, which is not understood"))
                }
            }
        }
    }

    fn reference(&mut self, rule: &'s Value, value: &Value, path: &str) {
        let pointer = rule.as_str().and_then(|target| target.strip_prefix('#'));
        match pointer.and_then(|pointer| self.root.pointer(pointer)) {
            Some(schema) => self.value(schema, value, path),
            None => self.say(path, format!("the schema refers to {rule}, which is not there")),
        }
    }

    fn kind(&mut self, rule: &Value, value: &Value, path: &str) {
        let alternatives = match rule {
            Value::Array(all) => all.as_slice(),
            one => std::slice::from_ref(one),
        };
        let fits = |name: &Value| match name.as_str() {
            Some("null") => value.is_null(),
            Some("boolean") => value.is_boolean(),
            Some("string") => value.is_string(),
            Some("integer") => value.is_u64() || value.is_i64(),
            Some("number") => value.is_number(),
            Some("array") => value.is_array(),
            Some("object") => value.is_object(),
            _ => false,
        };
        if !alternatives.iter().any(fits) {
            let shown: String = value.to_string().chars().take(40).collect();
            self.say(path, format!("{shown} is no {rule}"));
        }
    }

    fn required(&mut self, rule: &Value, value: &Value, path: &str) {
        let Some(object) = value.as_object() else { return };
        for name in rule.as_array().into_iter().flatten().filter_map(Value::as_str) {
            if !object.contains_key(name) {
                self.say(&join(path, name), "missing");
            }
        }
    }

    fn properties(&mut self, rule: &'s Value, value: &Value, path: &str) {
        let (Some(known), Some(object)) = (rule.as_object(), value.as_object()) else { return };
        for (name, schema) in known {
            match object.get(name) {
                Some(value) => self.value(schema, value, &join(path, name)),
                None if self.strict => self.say(&join(path, name), "not written"),
                None => {}
            }
        }
    }

    fn unknown(&mut self, words: &Map<String, Value>, value: &Value, path: &str) {
        let known = words.get("properties").and_then(Value::as_object);
        for name in value.as_object().into_iter().flat_map(Map::keys) {
            if !known.is_some_and(|known| known.contains_key(name)) {
                self.say(&join(path, name), "not in the schema");
            }
        }
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.into() } else { format!("{path}.{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(value: Value) -> Vec<String> {
        let schema = json!({
            "type": "object",
            "additionalProperties": false,
            "required": ["n", "list"],
            "properties": {
                "n": {"type": "integer", "minimum": 1},
                "word": {"enum": ["a", "b"]},
                "list": {"type": "array", "items": {"$ref": "#/$defs/item"}},
            },
            "$defs": {"item": {"type": ["number", "null"]}},
        });
        violations(&schema, &value, false)
    }

    #[test]
    fn what_follows_the_schema_passes() {
        assert_eq!(check(json!({"n": 1, "list": [1.5, null], "word": "a"})), [""; 0]);
    }

    #[test]
    fn what_does_not_is_named_with_its_place() {
        assert_eq!(check(json!([])), ["the document: [] is no \"object\""]);
        let found = check(json!({"n": 0, "word": "c", "list": [1, "x"], "more": 1}));
        assert_eq!(
            found,
            [
                "more: not in the schema",
                "list[1]: \"x\" is no [\"number\",\"null\"]",
                "n: 0 is below 1",
                "word: \"c\" is none of [\"a\",\"b\"]",
            ]
        );
        assert_eq!(check(json!({"n": 1.5})), ["n: 1.5 is no \"integer\"", "list: missing"]);
    }

    #[test]
    fn a_schema_that_says_more_than_is_understood_is_no_schema() {
        let found = violations(&json!({"pattern": "x"}), &json!("y"), false);
        assert_eq!(found, ["the document: the schema says `pattern`, which is not understood"]);
        assert_eq!(violations(&json!({"$ref": "#/$defs/no"}), &json!(1), false).len(), 1);
    }

    #[test]
    fn strict_misses_what_is_not_required() {
        let schema = json!({"properties": {"a": {"type": "null"}}});
        assert_eq!(violations(&schema, &json!({}), false), [""; 0]);
        assert_eq!(violations(&schema, &json!({}), true), ["a: not written"]);
    }
}
