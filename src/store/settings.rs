//! `[store]`: where a line's product comes from. `[recipe]`: inputs that choose it.

use super::products::{Chooser, Products};
use super::trial::TrialLimits;
use crate::settings::kind::{hours, ms, path, text, texts, whole};
use crate::settings::section;
use std::path::PathBuf;
use std::time::Duration;

/// Recipe numbers of five inputs, without 0.
const MOST_PRODUCTS: usize = 31;
const MOST_PARTS: u64 = 1_000_000_000;

section! {
    /// `[store]`: the line runs what is active in a store.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct StoreSettings, read as StoreRead in "store" {
        /// The folder of the store.
        folder: PathBuf = "folder", path("a folder"), default "/var/lib/partgate";
        /// Names of several products, by recipe number from 1. Each has a store of its own. "" is a
        /// number without a product.
        products: Vec<String> = "products", texts("names of products", MOST_PRODUCTS),
            optional "one product";
        /// The product that runs, whatever was chosen on the board.
        product: String = "product", text("a name of store.products"),
            optional "the one that was chosen on the board";
        /// Passed parts after which a product on trial is confirmed.
        confirm_after: u64 = "confirm_after_parts", whole(1..=MOST_PARTS, "parts"),
            optional "only a person confirms";
        /// Parts without a confirmation after which the board returns to the other product.
        trial_parts: u64 = "trial_parts", whole(1..=MOST_PARTS, "parts"), optional "no limit";
        /// Running time without a confirmation after which the board returns to the other product.
        trial_time: Duration = "trial_hours", hours(0.01..=744.0), default 24;
        /// Starts in a row without a ready line after which the board returns.
        trial_starts: u32 = "trial_starts", whole(1..=100, "starts"), default 3;
        /// A program that says by its exit code whether the board is well with a product on trial.
        health: PathBuf = "health", path("a program"), optional "no other check";
        /// The group whose members may set a threshold on this board.
        threshold_group: String = "threshold_group", text("the name of a group"),
            optional "whoever may write into the store";
        /// Restarts of the vision process in a trial after which the board returns.
        trial_restarts: u32 = "trial_restarts", whole(1..=100, "restarts"), default 3;
    }
}

section! {
    /// `[recipe]`: digital inputs choose the product.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct RecipeSettings, read as RecipeRead in "recipe" {
        /// The inputs count after they have been as they are for so long.
        stable: Duration = "stable_ms", ms(10.0..=10_000.0), default 50;
    }
}

impl StoreSettings {
    /// The products. `by_inputs`: recipe inputs choose.
    pub fn products(&self, by_inputs: bool) -> Products {
        let names = self.products.as_deref().unwrap_or_default();
        let chooser = match &self.product {
            Some(name) => Chooser::Configuration(name.clone()),
            None if by_inputs => Chooser::Inputs,
            None => Chooser::Person,
        };
        Products::new(&self.folder, names, chooser)
    }

    /// What ends a trial.
    pub fn limits(&self) -> TrialLimits {
        TrialLimits {
            confirm_after: self.confirm_after,
            parts: self.trial_parts,
            time: self.trial_time,
            starts: self.trial_starts,
            restarts: self.trial_restarts,
        }
    }
}
