//! Several products on one line, and the inputs that choose among them.

use super::LineConfig;
use super::sections::Settings;
use super::wiring::LinesRead;
use crate::line::devices::Input;
use crate::line::gate::Output;
use crate::line::recipe::{Reading, RecipeRules, Wires};
use crate::settings::Problems;
use crate::store::{Products, is_store_name};

/// Whether inputs choose the product.
pub(super) fn chooses(lines: &LinesRead) -> bool {
    Reading::BITS.iter().any(|bit| lines.input(*bit).given())
}

pub(super) fn check(settings: &Settings, problems: &mut Problems) {
    names(settings, problems);
    inputs(settings, problems);
}

fn names(settings: &Settings, problems: &mut Problems) {
    let (products, one) = (&settings.store.products, &settings.store.product);
    let line = products.line.unwrap_or(1);
    let names = products.value.as_deref().unwrap_or_default();
    let mut note = |message: String| problems.note(line, &products.key, message);
    for (at, name) in names
        .iter()
        .enumerate()
        .filter(|(_, name)| !name.is_empty())
    {
        if !is_store_name(name) {
            note(format!(
                "{name:?} cannot be the name of a store; allowed: letters, digits, '.', '_' and '-', at most 64, the first one a letter or a digit, as the product's name in its bundle"
            ));
        }
        if names[..at].contains(name) {
            note(format!("{name:?} is in the list twice"));
        }
    }
    if products.given() && names.iter().all(String::is_empty) {
        note("has no product; name one, or remove the key".into());
    }
    let (Some(name), Some(line)) = (&one.value, one.line) else {
        return;
    };
    if !products.given() {
        let message = "has an effect only with store.products; remove it or give that";
        problems.note(line, &one.key, message);
    } else if name.is_empty() || !names.contains(name) {
        let message = format!("{name:?} is not in store.products");
        problems.note(line, &one.key, message);
    } else if chooses(&settings.lines) {
        let message = "the configuration or the recipe inputs choose the product, not both; remove one of them";
        problems.note(line, &one.key, message);
    }
}

fn inputs(settings: &Settings, problems: &mut Problems) {
    let lines = &settings.lines;
    if !chooses(lines) {
        let only = "has an effect only with inputs of the number (lines.recipe_1 and so on); remove it or wire them";
        let ack = lines.output(Output::RecipeAck);
        for setting in [
            lines.input(Input::RecipeParity),
            lines.input(Input::RecipeStrobe),
            ack,
        ] {
            if let Some(line) = setting.line {
                problems.note(line, &setting.key, only);
            }
        }
        if settings.recipe.here.given {
            problems.note(settings.recipe.here.line, "recipe", only);
        }
        return;
    }
    let first = Reading::BITS.map(|bit| lines.input(bit));
    let Some(given) = first.iter().find(|setting| setting.given()) else {
        return;
    };
    let products = &settings.store.products;
    if !products.given() {
        let message = "has an effect only with store.products, the products of the numbers; remove it or give that";
        problems.note(given.line.unwrap_or(1), &given.key, message);
        return;
    }
    let names = products.value.as_deref().unwrap_or_default();
    for (number, name) in (1_usize..).zip(names).filter(|(_, name)| !name.is_empty()) {
        let missing = first
            .iter()
            .enumerate()
            .find(|(bit, s)| number >> bit & 1 == 1 && !s.given());
        if let Some((_, input)) = missing {
            let message = format!(
                "{name:?} has the number {number}, which needs the input {}; wire it, or give the product another place in the list",
                input.key
            );
            problems.note(products.line.unwrap_or(1), &products.key, message);
        }
    }
}

impl LineConfig {
    /// The products of the line; None if it runs a bundle file.
    pub fn products(&self) -> Option<&Products> {
        match &self.product {
            super::ProductPlace::Store(place) => Some(&place.products),
            super::ProductPlace::File(_) => None,
        }
    }

    /// What is asked of the recipe inputs; None if there are none.
    pub fn recipe_rules(&self) -> Option<RecipeRules> {
        let wired = |input: Input| self.lines.input(input).is_some();
        let bits = Reading::BITS.into_iter().enumerate();
        let bits = bits.fold(0, |bits, (at, input)| bits | u8::from(wired(input)) << at);
        let products = self.products().filter(|_| bits != 0)?;
        let known = (1..32_u8).filter(|number| products.numbered(*number).is_some());
        Some(RecipeRules {
            wires: Wires {
                bits,
                parity: wired(Input::RecipeParity),
                strobe: wired(Input::RecipeStrobe),
            },
            stable: self.recipe.stable.into(),
            known: known.fold(0, |known, number| known | 1 << number),
        })
    }
}
