//! Watches the store while the line runs: what a product on trial has done, and whether another
//! product is to run. It runs on a thread of its own, because it waits for the disk.

use super::health::Health;
use crate::clock;
use crate::config::{ProductPlace, StoreSettings};
use crate::record::Metrics;
use crate::store::{Folder, State, Store, StoreError, StoreLock, Trial, TrialEnd, Who};
use crate::time::{Duration, Instant};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// How often the state is read.
const LOOK: Duration = Duration::from_millis(250);
/// How often the counts of a trial go to the disk.
const NOTE: Duration = Duration::from_millis(10_000);

/// The watch over one product in one store.
pub struct StoreWatch {
    settings: StoreSettings,
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
    /// For a line with this product; None if it does not run what is in a store.
    pub fn new(
        place: &ProductPlace,
        digest: &blake3::Hash,
        unknown: Option<f32>,
        metrics: Arc<Metrics>,
    ) -> Option<Self> {
        let ProductPlace::Store(settings) = place else {
            return None;
        };
        let health = settings.health.as_deref().map(Health::new);
        Some(Self {
            healthy: health.is_none(),
            health,
            settings: settings.clone(),
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
                        log::error!("{}: {text}", self.settings.folder.display());
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
        let store = Store::open(Folder::new(&self.settings.folder))?;
        if !self.is_ours(store.state()) {
            return Ok(true);
        }
        let Some(trial) = store.state().trial() else {
            return Ok(false);
        };
        let newly_ready = !self.was_ready && self.metrics.ready();
        let due = clock::now().since(self.noted_at) >= NOTE;
        if newly_ready || due || self.end(&self.so_far(trial)).is_some() {
            self.was_ready |= newly_ready;
            self.note()?;
        }
        self.ask_health(store.state())?;
        Ok(false)
    }

    /// How the trial ends now. Nothing is confirmed before the board is known to be well.
    fn end(&self, trial: &Trial) -> Option<TrialEnd> {
        let end = trial.end(&self.settings.limits());
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
        let folder = &self.settings.folder;
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
        let folder = &self.settings.folder;
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
