//! Values that scripts computed by another way, for tests (trainer/tests/reference).

use super::features::Features;
use partgate::size::Size;
use serde_json::Value;

pub(super) struct Reference(Value);

impl Reference {
    /// Of `n_pad.py`.
    pub(super) fn n_pad() -> Self {
        let text = include_str!("../../tests/reference/n_pad.json");
        Self(serde_json::from_str(text).expect("reference values"))
    }

    /// Of `glancing.py`.
    pub(super) fn glancing() -> Self {
        let text = include_str!("../../tests/reference/glancing.json");
        Self(serde_json::from_str(text).expect("reference values"))
    }

    pub(super) fn value(&self, name: &str) -> &Value {
        let value = &self.0[name];
        assert!(!value.is_null(), "no {name} in the reference");
        value
    }

    /// All numbers of `name`, in their order.
    pub(super) fn list(&self, name: &str) -> Vec<f32> {
        numbers(self.value(name))
            .iter()
            .map(|&v| v as f32)
            .collect()
    }

    fn size(&self, name: &str) -> usize {
        self.value(name).as_u64().expect("a number") as usize
    }

    /// The good images.
    pub(super) fn features(&self) -> Features {
        let grid = Size::new(self.size("width"), self.size("height"));
        Features::made_up(self.list("features"), self.size("images"), grid)
    }
}

/// All numbers in nested lists.
pub(super) fn numbers(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(values) => values.iter().flat_map(numbers).collect(),
        _ => vec![value.as_f64().expect("a number")],
    }
}
