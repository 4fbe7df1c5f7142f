//! Watches the store while the line runs: what a product on trial has done, and whether another
//! product is to run. It runs on a thread of its own, because it waits for the disk.

use super::asked::{AskedProduct, AskedWhy};
use super::health::Health;
use crate::clock;
use crate::config::{ProductPlace, StorePlace};
use crate::record::{KnownProduct, Metrics};
use crate::store::{
    Folder, Products, Refused, State, Store, StoreError, StoreLock, Trial, TrialEnd, Who,
};
use crate::time::{Duration, Instant};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// How often the state is read.
const LOOK: Duration = Duration::from_millis(250);
/// How often the list of several products is read.
const SHOW: Duration = Duration::from_millis(5_000);
/// How often the counts of a trial go to the disk.
const NOTE: Duration = Duration::from_millis(10_000);

/// The watch over one product in one store.
pub struct StoreWatch {
    place: StorePlace,
    /// The store of this product.
    folder: PathBuf,
    /// What the recipe inputs ask for; None: the line has one product.
    wishes: Option<Wishes>,
    digest: String,
    /// The UNKNOWN threshold that was set on this board.
    unknown: Option<f32>,
    metrics: Arc<Metrics>,
    switch: Arc<AtomicBool>,
    /// What the metrics showed when the counts last went to the disk.
    noted: Counts,
    noted_at: Instant,
    /// Whether the line was ready with this product.
    was_ready: bool,
    /// The program that is asked; None: nobody is.
    health: Option<Health>,
    /// Whether it has said that the board is well.
    healthy: bool,
    /// The last error that was logged.
    stated: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    good: u64,
    parts: u64,
}

impl StoreWatch {
    /// For a line with the product called `name`; None if it does not run what is in a store.
    pub fn new(
        place: &ProductPlace,
        name: &str,
        digest: &blake3::Hash,
        unknown: Option<f32>,
        metrics: Arc<Metrics>,
        asked: Arc<AskedProduct>,
    ) -> Option<Self> {
        let ProductPlace::Store(place) = place else {
            return None;
        };
        let products = &place.products;
        let folder = match products.several() {
            true => products.store_of(name).ok()?,
            false => products.folder().to_path_buf(),
        };
        let wishes = products
            .several()
            .then(|| Wishes::new(name, products, asked));
        let health = place.settings.health.as_deref().map(Health::new);
        Some(Self {
            healthy: health.is_none(),
            health,
            place: (**place).clone(),
            folder,
            wishes,
            digest: digest.to_hex().to_string(),
            unknown,
            metrics,
            switch: Arc::new(AtomicBool::new(false)),
            noted: Counts::default(),
            noted_at: clock::now(),
            was_ready: false,
            stated: None,
        })
    }

    /// Becomes true when another product is to run.
    pub fn switch(&self) -> Arc<AtomicBool> {
        self.switch.clone()
    }

    /// Watches until `stop`, or until another product is to run.
    pub fn run(mut self, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            match self.look() {
                Ok(true) => {
                    self.switch.store(true, Ordering::Relaxed);
                    return;
                }
                Ok(false) => self.stated = None,
                // The next look may find it free.
                Err(StoreError::Busy { .. }) => {}
                Err(error) => {
                    let text = crate::causes::causes(&error).join(": ");
                    if self.stated.as_ref() != Some(&text) {
                        log::error!("{}: {text}", self.folder.display());
                        self.stated = Some(text);
                    }
                }
            }
            clock::sleep(LOOK);
        }
        // The counts of the last seconds.
        let _ = self.note();
    }

    /// Whether another product is to run.
    fn look(&mut self) -> Result<bool, StoreError> {
        let store = Store::open(Folder::new(&self.folder))?;
        let switched = self.wishes.as_ref().is_some_and(Wishes::is_another_chosen);
        if switched || !self.is_ours(store.state()) {
            return Ok(true);
        }
        if let Some(wishes) = &mut self.wishes {
            wishes.show(&self.metrics);
        }
        self.watch_trial(&store)?;
        self.wishes.as_mut().map_or(Ok(false), Wishes::serve)
    }

    fn watch_trial(&mut self, store: &Store<Folder>) -> Result<(), StoreError> {
        let Some(trial) = store.state().trial() else {
            return Ok(());
        };
        let newly_ready = !self.was_ready && self.metrics.ready();
        let due = clock::now().since(self.noted_at) >= NOTE;
        if newly_ready || due || self.end(&self.so_far(trial)).is_some() {
            self.was_ready |= newly_ready;
            self.note()?;
        }
        self.ask_health(store.state())
    }

    /// How the trial ends now. Nothing is confirmed before the board is known to be well.
    fn end(&self, trial: &Trial) -> Option<TrialEnd> {
        let end = trial.end(&self.place.settings.limits());
        end.filter(|end| self.healthy || *end != TrialEnd::Confirm)
    }

    /// Asks whether the board is well, once the line is ready, and gives the product up if not.
    fn ask_health(&mut self, state: &State) -> Result<(), StoreError> {
        let (Some(health), Some((slot, held))) = (&mut self.health, state.active()) else {
            return Ok(());
        };
        if self.healthy || !self.was_ready {
            return Ok(());
        }
        let why = match health.look(slot, &held.identity) {
            None => return Ok(()),
            Some(Ok(())) => {
                self.healthy = true;
                return Ok(());
            }
            Some(Err(why)) => why,
        };
        let folder = &self.folder;
        let _lock = StoreLock::take(folder, std::time::Duration::ZERO)?;
        let mut store = Store::open(Folder::new(folder))?;
        if !self.is_ours(store.state()) || store.state().trial().is_none() {
            return Ok(());
        }
        log::error!("{}: the product is given up: {why}", folder.display());
        store.give_up(why, &Who::now("the line")).map(|_| ())
    }

    fn is_ours(&self, state: &State) -> bool {
        state.active().is_some_and(|(_, held)| {
            held.identity.digest == self.digest && held.unknown == self.unknown
        })
    }

    fn counts(&self) -> Counts {
        Counts {
            good: self.metrics.passed.get(),
            parts: self.metrics.parts.get(),
        }
    }

    /// The trial with what has happened since its counts went to the disk.
    fn so_far(&self, trial: &Trial) -> Trial {
        let (now, counts) = (clock::now(), self.counts());
        Trial {
            starts: if self.was_ready || self.metrics.ready() {
                0
            } else {
                trial.starts
            },
            good: trial.good + (counts.good - self.noted.good),
            parts: trial.parts + (counts.parts - self.noted.parts),
            seconds: trial.seconds + now.since(self.noted_at).as_millis() / 1000,
            ..*trial
        }
    }

    /// Brings the counts to the disk, and ends the trial if they say so.
    fn note(&mut self) -> Result<(), StoreError> {
        let folder = &self.folder;
        let _lock = StoreLock::take(folder, std::time::Duration::ZERO)?;
        let mut store = Store::open(Folder::new(folder))?;
        if !self.is_ours(store.state()) {
            return Ok(());
        }
        let Some(trial) = store.state().trial() else {
            return Ok(());
        };
        let (so_far, counts) = (self.so_far(trial), self.counts());
        store.note(|trial| *trial = so_far)?;
        // Whole seconds only; the rest counts next time.
        self.noted_at = clock::now();
        self.noted = counts;
        let who = Who::now("the line");
        match self.end(&so_far) {
            Some(TrialEnd::Confirm) => {
                let why = format!("{} good parts", so_far.good);
                log::info!("{}: the product is confirmed: {why}", folder.display());
                store.confirm(Some(why), &who)
            }
            Some(TrialEnd::Return(why)) => {
                log::error!("{}: the product is given up: {why}", folder.display());
                store.give_up(why, &who).map(|_| ())
            }
            None => Ok(()),
        }
    }
}

/// What is asked for on a line with several products.
struct Wishes {
    /// The product that runs.
    name: String,
    products: Products,
    asked: Arc<AskedProduct>,
    /// The product that was asked for before this process began and could not start. It is not tried
    /// again for the same request.
    refused: Option<Refused>,
    /// When the metrics got the list of products.
    shown_at: Option<Instant>,
}

impl Wishes {
    fn new(name: &str, products: &Products, asked: Arc<AskedProduct>) -> Self {
        let choice = products.choice().ok().flatten();
        Self {
            name: name.to_owned(),
            products: products.clone(),
            asked,
            refused: choice.and_then(|choice| choice.refused),
            shown_at: None,
        }
    }

    /// Whether another product was chosen. If the choice cannot be read, the line goes on.
    fn is_another_chosen(&self) -> bool {
        let current = self.products.current();
        current.is_ok_and(|current| current.name.as_ref() != Some(&self.name))
    }

    /// Which products are there, for the metrics.
    fn show(&mut self, metrics: &Metrics) {
        let now = clock::now();
        if self.shown_at.is_some_and(|at| now.since(at) < SHOW) {
            return;
        }
        self.shown_at = Some(now);
        let known = self.products.names().map(|name| KnownProduct {
            name: name.to_owned(),
            number: self.products.number_of(name).unwrap_or(0),
            installed: self
                .products
                .state_of(name)
                .is_ok_and(|s| s.active().is_some()),
        });
        metrics.set_products(known.collect());
    }

    /// Does what was asked for. True: another product is to run.
    fn serve(&mut self) -> Result<bool, StoreError> {
        let who = Who::now("the recipe inputs");
        if !self.products.by_inputs() {
            let unserved = self.products.unserved()?;
            self.asked.hold_by_choice(unserved);
            let why = match &self.refused {
                Some(_) if unserved => AskedWhy::Failed,
                _ => AskedWhy::Nothing,
            };
            self.asked.store_says(why);
            return Ok(false);
        }
        if self.asked.acknowledged() {
            self.products.note_unserved(&self.name, false, &who)?;
        } else if self.asked.is_unserved() {
            self.products.note_unserved(&self.name, true, &who)?;
        }
        if self.asked.is_over() {
            self.refused = None;
        }
        let Some(wanted) = self.products.numbered(self.asked.wanted()) else {
            return Ok(false);
        };
        if let Some(refused) = &self.refused {
            let state = self.products.state_of(wanted).ok();
            let digest = state.and_then(|s| Some(s.active()?.1.identity.digest.clone()));
            if refused.product == wanted && refused.digest == digest {
                self.asked.store_says(AskedWhy::Failed);
                return Ok(false);
            }
            self.refused = None;
        }
        let chosen = self.products.choose_by_inputs(wanted, &who);
        let why = match &chosen {
            Ok(()) => AskedWhy::Nothing,
            Err(_) => AskedWhy::NotInstalled,
        };
        self.asked.store_says(why);
        chosen.map(|()| true)
    }
}
