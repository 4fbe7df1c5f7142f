//! Several products and the inputs that choose.

use super::*;
use crate::line::recipe::Wires;

const STORE: [(&str, &str); 4] = [
    ("product = \"lid.pgp\"", "# product"),
    ("# [store] ", "[store] "),
    ("# folder = \"/var", "folder = \"/var"),
    ("# products = ", "products = "),
];
const BITS: [(&str, &str); 2] = [
    ("# recipe_1 = ", "recipe_1 = "),
    ("# recipe_2 = ", "recipe_2 = "),
];

fn all<'a>(parts: &[&[(&'a str, &'a str)]]) -> Vec<(&'a str, &'a str)> {
    parts.concat()
}

#[test]
fn numbers_are_places_in_the_list() {
    let config = parse(&changed(&all(&[&STORE, &BITS]))).unwrap_or_else(|e| panic!("{e}"));
    let products = config.products().expect("a store");
    assert_eq!(products.numbered(3), Some("base"));
    assert!(products.by_inputs());
    let rules = config.recipe_rules().expect("inputs");
    let wires = Wires {
        bits: 0b11,
        parity: false,
        strobe: false,
    };
    assert_eq!((rules.wires, rules.known), (wires, 0b1010));
    assert_eq!(rules.stable, crate::time::Duration::from_millis(50));
    let warned = config.warnings();
    assert!(
        warned
            .iter()
            .any(|w| w.key == "lines.recipe_1" && w.message.contains("recipe_parity"))
    );
    let fixed = all(&[&STORE, &[("# product = \"lid\"", "product = \"lid\"")]]);
    let config = parse(&changed(&fixed)).unwrap_or_else(|e| panic!("{e}"));
    assert!(config.recipe_rules().is_none());
    assert!(!config.products().expect("a store").by_inputs());
}

#[test]
fn lists_and_inputs_that_do_not_go_together_are_refused() {
    let list = |text: &'static str| [("products = [\"lid\", \"\", \"base\"]", text)];
    for (text, words) in [
        ("products = [\"lid\", \"../base\"]", ["../base", "letters"]),
        ("products = [\"lid\", \"lid\"]", ["\"lid\"", "twice"]),
        ("products = [\"\", \"\"]", ["no product", "name one"]),
    ] {
        let changes = all(&[&STORE, &list(text)]);
        refuses(&changes, "products = ", "store.products", &words);
    }
    let four = list("products = [\"lid\", \"\", \"\", \"base\"]");
    let changes = all(&[&STORE, &BITS, &four]);
    refuses(
        &changes,
        "products = ",
        "store.products",
        &["number 4", "lines.recipe_4"],
    );
    let other = all(&[&STORE, &[("# product = \"lid\"", "product = \"pot\"")]]);
    refuses(
        &other,
        "product = ",
        "store.product",
        &["not in store.products"],
    );
    let both = all(&[
        &STORE,
        &BITS,
        &[("# product = \"lid\"", "product = \"lid\"")],
    ]);
    refuses(&both, "product = ", "store.product", &["not both"]);
    refuses(&BITS, "recipe_1 = ", "lines.recipe_1", &["store.products"]);
    let parity = [("# recipe_parity", "recipe_parity")];
    refuses(
        &all(&[&STORE, &parity]),
        "recipe_parity",
        "lines.recipe_parity",
        &["recipe_1"],
    );
    let ack = [("# recipe_ack", "recipe_ack")];
    refuses(
        &all(&[&STORE, &ack]),
        "recipe_ack",
        "lines.recipe_ack",
        &["recipe_1"],
    );
    let section = [("# [recipe]", "[recipe]"), ("# stable_ms", "stable_ms")];
    refuses(
        &all(&[&STORE, &section]),
        "[recipe]",
        "recipe",
        &["recipe_1"],
    );
}
