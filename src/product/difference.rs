//! What changed between two bundles, field by field.

use super::Product;
use serde::Serialize;
use serde_json::Value;

/// One field that differs. `None` if a bundle does not have it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// Dotted path of the field, as in `inspect --json`.
    pub field: String,
    /// Value in the first bundle.
    pub a: Option<Value>,
    /// Value in the second bundle.
    pub b: Option<Value>,
}

fn walk(field: &str, a: Option<&Value>, b: Option<&Value>, out: &mut Vec<Difference>) {
    let join = |key: &str| {
        if field.is_empty() {
            key.to_string()
        } else {
            format!("{field}.{key}")
        }
    };
    match (a, b) {
        (Some(Value::Object(x)), Some(Value::Object(y))) => {
            for key in x.keys().chain(y.keys().filter(|k| !x.contains_key(*k))) {
                walk(&join(key), x.get(key), y.get(key), out);
            }
        }
        (Some(Value::Array(x)), Some(Value::Array(y)))
            if x.iter().chain(y).any(Value::is_object) =>
        {
            for i in 0..x.len().max(y.len()) {
                walk(&join(&i.to_string()), x.get(i), y.get(i), out);
            }
        }
        _ if a != b => out.push(Difference {
            field: field.into(),
            a: a.cloned(),
            b: b.cloned(),
        }),
        _ => {}
    }
}

/// Every manifest field that differs; sections differ if their digests do. Empty if `inspect` shows the
/// same for both.
///
/// # Errors
/// If a manifest does not serialise, for example because of a number that JSON cannot hold.
pub fn difference(a: &Product, b: &Product) -> Result<Vec<Difference>, serde_json::Error> {
    let mut out = Vec::new();
    let (a, b) = (
        serde_json::to_value(a.manifest())?,
        serde_json::to_value(b.manifest())?,
    );
    walk("", Some(&a), Some(&b), &mut out);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nested_fields_are_named_by_their_path() {
        let a = json!({"x": {"y": 1, "same": 2}, "list": [{"k": 1}], "plain": [1, 2]});
        let b = json!({"x": {"y": 3, "same": 2}, "list": [{"k": 1}, {"k": 2}], "plain": [1, 3]});
        let mut out = Vec::new();
        walk("", Some(&a), Some(&b), &mut out);
        let mut fields: Vec<&str> = out.iter().map(|d| d.field.as_str()).collect();
        fields.sort_unstable();
        assert_eq!(fields, ["list.1", "plain", "x.y"]);
    }
}
