//! Counters that all threads update and one page shows. Updating takes no lock.

use super::challenge::ChallengeFigures;
use super::counter::{Counter, Gauge};
use super::entry::{Latency, PartEntry, ProductLabel};
use super::histogram::{Histogram, LIMITS_US};
use super::images::{Dropped, ImageCounts};
use super::log::LogCounts;
use crate::line::gate::Reason;
use serde::Serialize;
use std::fmt::Write;
use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::SystemTime;

/// Upper limits of the score divided by the product's NG threshold.
const RATIO_LIMITS: [f64; 12] = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.5, 2.0];

/// Faults or alarms by a fixed set of names: how often each was raised, and whether it is raised
/// now.
#[derive(Debug)]
struct Named {
    names: Box<[&'static str]>,
    counts: Box<[Counter]>,
    present: Box<[AtomicBool]>,
}

impl Named {
    fn new(names: &[&'static str]) -> Self {
        Self {
            names: names.into(),
            counts: names.iter().map(|_| Counter::default()).collect(),
            present: names.iter().map(|_| AtomicBool::new(false)).collect(),
        }
    }

    fn set(&self, name: &str, present: bool) {
        let Some(i) = self.names.iter().position(|n| *n == name) else {
            return;
        };
        if present {
            self.counts[i].inc();
        }
        self.present[i].store(present, Relaxed);
    }

    fn present(&self) -> impl Iterator<Item = (&'static str, bool)> {
        let present = self.present.iter().map(|p| p.load(Relaxed));
        self.names.iter().copied().zip(present)
    }

    fn all(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.counts.iter().map(Counter::get);
        self.names.iter().copied().zip(counts)
    }
}

/// All counters. All threads share them; they are made once, at the start.
#[derive(Debug)]
pub struct Metrics {
    /// Parts decided by the gate.
    pub parts: Counter,
    /// Parts that passed.
    pub passed: Counter,
    rejected: [Counter; Reason::ALL.len()],
    faults: Named,
    alarms: Named,
    /// Frames received from the camera.
    pub frames: Counter,
    /// Frames lost, by the camera's frame number.
    pub frames_lost: Counter,
    /// Frames whose time cannot be true or is not new, so that no part gets them.
    pub frames_stale: Counter,
    /// Frames that the driver marks as damaged.
    pub frames_damaged: Counter,
    /// Triggers that the kernel had to drop.
    pub triggers_missed: Counter,
    /// Triggers that were taken as bounces of the previous one.
    pub triggers_bounced: Counter,
    /// Restarts of the vision process since the line was started.
    pub restarts: Counter,
    /// How many times the supervisor, which holds the outputs, ran late.
    pub supervisor_late: Counter,
    /// How many times the vision process ran late.
    pub vision_late: Counter,
    /// Results of challenges by a known-bad part.
    pub challenge: ChallengeFigures,
    record_lost: AtomicBool,
    changed: Named,
    ready: AtomicU64,
    /// The last score.
    pub score: Gauge,
    /// Mean score of the drift window.
    pub drift_mean: Gauge,
    /// The product's own mean score.
    pub drift_reference: Gauge,
    ratios: [Counter; RATIO_LIMITS.len() + 1],
    ratio_sum_millionths: Counter,
    latencies: [Histogram; Latency::ALL.len()],
    log_lines: Counter,
    log_lost: Counter,
    log_sync_failures: Counter,
    images_passed: Counter,
    images_rejected: Counter,
    images_dropped: [Counter; Dropped::ALL.len()],
    images_removed: Counter,
    images_bytes: Gauge,
    product: RwLock<ProductLabel>,
    products: RwLock<Vec<KnownProduct>>,
}

/// One of several products of a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KnownProduct {
    /// Its name.
    pub name: String,
    /// Its recipe number.
    pub number: u8,
    /// Whether it is installed.
    pub installed: bool,
}

impl Metrics {
    /// All zero and not READY. `faults` and `alarms` are the names that can be counted. A fault or
    /// alarm with another name is not shown.
    pub fn new(faults: &[&'static str], alarms: &[&'static str]) -> Self {
        Self {
            parts: Counter::default(),
            passed: Counter::default(),
            rejected: Default::default(),
            faults: Named::new(faults),
            alarms: Named::new(alarms),
            frames: Counter::default(),
            frames_lost: Counter::default(),
            frames_stale: Counter::default(),
            frames_damaged: Counter::default(),
            triggers_missed: Counter::default(),
            triggers_bounced: Counter::default(),
            restarts: Counter::default(),
            supervisor_late: Counter::default(),
            vision_late: Counter::default(),
            challenge: ChallengeFigures::default(),
            record_lost: AtomicBool::new(false),
            changed: Named::new(&["configuration", "board", "bundle"]),
            ready: AtomicU64::new(0),
            score: Gauge::default(),
            drift_mean: Gauge::default(),
            drift_reference: Gauge::default(),
            ratios: Default::default(),
            ratio_sum_millionths: Counter::default(),
            latencies: Default::default(),
            log_lines: Counter::default(),
            log_lost: Counter::default(),
            log_sync_failures: Counter::default(),
            images_passed: Counter::default(),
            images_rejected: Counter::default(),
            images_dropped: Default::default(),
            images_removed: Counter::default(),
            images_bytes: Gauge::default(),
            product: RwLock::new(ProductLabel::NONE),
            products: RwLock::default(),
        }
    }

    /// Counts a decided part and its times. No allocation and no lock.
    pub fn part(&self, entry: &PartEntry) {
        self.parts.inc();
        match entry.reason {
            None => self.passed.inc(),
            Some(reason) => self.rejected[reason as usize].inc(),
        }
        for (which, us) in entry.latencies.measured() {
            self.latencies[which as usize].record(us);
        }
    }

    /// Counts a score divided by the product's NG threshold. A ratio that is NaN counts in the
    /// highest bucket.
    pub fn score(&self, score: f32, ng_threshold: f32) {
        self.score.set(f64::from(score));
        let ratio = f64::from(score) / f64::from(ng_threshold);
        let bucket = if ratio.is_nan() {
            RATIO_LIMITS.len()
        } else {
            RATIO_LIMITS.partition_point(|&limit| limit < ratio)
        };
        self.ratios[bucket].inc();
        if ratio.is_finite() {
            // A negative value becomes 0. There are no negative scores.
            self.ratio_sum_millionths.add((ratio * 1e6) as u64);
        }
    }

    /// Parts rejected for `reason`.
    pub fn rejected(&self, reason: Reason) -> u64 {
        self.rejected[reason as usize].get()
    }

    /// A fault is raised, which is counted, or cleared.
    pub fn fault(&self, name: &str, present: bool) {
        self.faults.set(name, present);
    }

    /// Names of the faults that are raised now.
    pub fn faults(&self) -> impl Iterator<Item = &'static str> {
        self.faults.present().filter(|f| f.1).map(|f| f.0)
    }

    /// An alarm is raised, which is counted, or cleared.
    pub fn alarm(&self, name: &str, present: bool) {
        self.alarms.set(name, present);
    }

    /// Names of the alarms that are raised now.
    pub fn alarms(&self) -> impl Iterator<Item = &'static str> {
        self.alarms.present().filter(|a| a.1).map(|a| a.0)
    }

    /// Sets whether the event log cannot be written.
    pub fn record_lost(&self, lost: bool) {
        self.record_lost.store(lost, Relaxed);
    }

    /// Whether the event log cannot be written.
    pub fn is_record_lost(&self) -> bool {
        self.record_lost.load(Relaxed)
    }

    /// `configuration`, `board` or `bundle` is not the same on the disk as when the line was
    /// started.
    pub fn changed_on_disk(&self, name: &str) {
        self.changed.set(name, true);
    }

    /// What is not the same on the disk as when the line was started.
    pub(crate) fn all_changed_on_disk(&self) -> impl Iterator<Item = &'static str> {
        self.changed.present().filter(|c| c.1).map(|c| c.0)
    }

    /// Sets READY.
    pub fn set_ready(&self, ready: bool) {
        self.ready.store(u64::from(ready), Relaxed);
    }

    /// Whether READY is on.
    pub fn ready(&self) -> bool {
        self.ready.load(Relaxed) == 1
    }

    /// Histogram of one kind of time.
    pub fn latency(&self, which: Latency) -> &Histogram {
        &self.latencies[which as usize]
    }

    /// The product that is loaded.
    pub fn product(&self) -> ProductLabel {
        *self.product.read().unwrap_or_else(|e| e.into_inner())
    }

    /// Sets the product that is loaded. It takes a lock that only the page takes too, so the gate
    /// thread must not call it.
    pub fn set_product(&self, product: ProductLabel) {
        // The label is copied at once, so a writer that panicked left a whole value.
        *self.product.write().unwrap_or_else(|e| e.into_inner()) = product;
    }

    /// The products of a line with several.
    pub fn products(&self) -> Vec<KnownProduct> {
        let products = self.products.read();
        products.unwrap_or_else(|e| e.into_inner()).clone()
    }

    /// Sets the products of a line with several. As [`Metrics::set_product`].
    pub fn set_products(&self, products: Vec<KnownProduct>) {
        *self.products.write().unwrap_or_else(|e| e.into_inner()) = products;
    }

    pub(super) fn show_log(&self, counts: LogCounts) {
        self.log_lines.show(counts.written);
        self.log_lost.show(counts.lost);
        self.log_sync_failures.show(counts.sync_failures);
    }

    pub(super) fn show_images(&self, counts: ImageCounts, bytes: u64) {
        self.images_passed.show(counts.kept_passed);
        self.images_rejected.show(counts.kept_rejected);
        for (counter, n) in self.images_dropped.iter().zip(counts.dropped) {
            counter.show(n);
        }
        self.images_removed.show(counts.removed);
        self.images_bytes.set(bytes as f64);
    }

    /// The page in the Prometheus text format 0.0.4.
    pub fn page(&self) -> String {
        let mut page = Page(String::with_capacity(16_384));
        self.write_state(&mut page);
        self.write_counters(&mut page);
        self.write_incidents(&mut page);
        self.write_challenges(&mut page);
        self.write_present(&mut page);
        self.write_images(&mut page);
        self.write_gauges(&mut page);
        self.write_score_ratio(&mut page);
        self.write_latency(&mut page);
        page.0
    }

    /// Version, product and READY.
    fn write_state(&self, page: &mut Page) {
        let product = self.product();
        page.head("build_info", "gauge", "The program's version.");
        page.value("build_info", &[("version", crate::VERSION)], 1);
        page.head("product_info", "gauge", "The product that inspects.");
        let labels = [
            ("name", product.name.as_str()),
            ("digest", product.digest.as_str()),
            ("origin", product.origin.as_str()),
            ("set", product.set.as_str()),
        ];
        page.value("product_info", &labels, 1);
        page.head(
            "product_unproven",
            "gauge",
            "1 while the product is UNSIGNED or signed by a test key.",
        );
        page.value("product_unproven", &[], u64::from(!product.proven));
        page.head(
            "product_threshold_set",
            "gauge",
            "1 while a threshold of this board counts instead of the product's own.",
        );
        let set = product.set_threshold().is_some();
        page.value("product_threshold_set", &[], u64::from(set));
        let products = self.products();
        if !products.is_empty() {
            page.head(
                "product_installed",
                "gauge",
                "1 for each of several products that is installed.",
            );
        }
        for known in &products {
            let number = known.number.to_string();
            let labels = [("name", known.name.as_str()), ("number", number.as_str())];
            page.value("product_installed", &labels, u64::from(known.installed));
        }
        page.head("ready", "gauge", "1 while a new trigger can be served.");
        page.value("ready", &[], self.ready.load(Relaxed));
    }

    /// Counters without labels.
    fn write_counters(&self, page: &mut Page) {
        let counters: [(&str, &str, &Counter); 13] = [
            ("parts_total", "Parts decided.", &self.parts),
            ("parts_passed_total", "Parts that passed.", &self.passed),
            ("frames_total", "Frames received.", &self.frames),
            (
                "frames_lost_total",
                "Frames lost by the camera's counter.",
                &self.frames_lost,
            ),
            (
                "frames_stale_total",
                "Frames with a time that cannot be true.",
                &self.frames_stale,
            ),
            (
                "frames_damaged_total",
                "Frames that arrived damaged.",
                &self.frames_damaged,
            ),
            (
                "triggers_missed_total",
                "Triggers that the kernel had to drop.",
                &self.triggers_missed,
            ),
            (
                "triggers_bounced_total",
                "Triggers taken as bounces.",
                &self.triggers_bounced,
            ),
            (
                "restarts_total",
                "Vision processes that were started again since the line was started.",
                &self.restarts,
            ),
            ("log_lines_total", "Log lines written.", &self.log_lines),
            ("log_lines_lost_total", "Log lines lost.", &self.log_lost),
            (
                "log_sync_failures_total",
                "Times that the log could not be pushed to the disk.",
                &self.log_sync_failures,
            ),
            (
                "images_removed_total",
                "Images removed to make room.",
                &self.images_removed,
            ),
        ];
        for (name, help, counter) in counters {
            page.head(name, "counter", help);
            page.value(name, &[], counter.get());
        }
    }

    /// Rejects, faults, alarms and lateness, by their names.
    fn write_incidents(&self, page: &mut Page) {
        let rejected = Reason::ALL.map(|r| (r.name(), self.rejected(r)));
        let help = "Parts rejected, by reason.";
        page.by_name("parts_rejected_total", help, "reason", rejected);
        page.by_name("faults_total", "Faults raised.", "kind", self.faults.all());
        page.by_name("alarms_total", "Alarms raised.", "kind", self.alarms.all());
        let help = "Times that a process of the line was late.";
        let late = [
            ("supervisor", self.supervisor_late.get()),
            ("vision", self.vision_late.get()),
        ];
        page.by_name("late_total", help, "process", late);
    }

    fn write_challenges(&self, page: &mut Page) {
        let help = "Challenges by a known-bad part, by how they ended.";
        let ended = [
            ("passed", self.challenge.passed.get()),
            ("failed", self.challenge.failed.get()),
            ("void", self.challenge.void.get()),
        ];
        page.by_name("challenges_total", help, "result", ended);
        // No value if the time is unknown: an age of 0 would mean that one was passed just now.
        let help = "Since a challenge was passed last, by the wall clock.";
        page.head("challenge_age_seconds", "gauge", help);
        if let Some(age) = self.challenge.age(SystemTime::now()) {
            page.value("challenge_age_seconds", &[], age.as_secs());
        }
    }

    /// What is wrong now.
    fn write_present(&self, page: &mut Page) {
        let now = [
            ("fault", "1 while the fault is there.", &self.faults),
            ("alarm", "1 while the alarm stands.", &self.alarms),
            (
                "changed_on_disk",
                "1 while it is on disk otherwise than when the line was started.",
                &self.changed,
            ),
        ];
        for (name, help, named) in now {
            page.head(name, "gauge", help);
            for (kind, present) in named.present() {
                page.value(name, &[("kind", kind)], u8::from(present));
            }
        }
        let help = "1 while the event log cannot be written.";
        page.head("record_lost", "gauge", help);
        page.value("record_lost", &[], u8::from(self.is_record_lost()));
    }

    fn write_images(&self, page: &mut Page) {
        let kept = [
            ("passed", self.images_passed.get()),
            ("rejected", self.images_rejected.get()),
        ];
        page.by_name("images_kept_total", "Images kept.", "decision", kept);
        let dropped = Dropped::ALL.map(|d| (d.name(), self.images_dropped[d as usize].get()));
        let help = "Images that were to be kept and are not.";
        page.by_name("images_dropped_total", help, "why", dropped);
    }

    fn write_gauges(&self, page: &mut Page) {
        let gauges: [(&str, &str, &Gauge); 4] = [
            (
                "images_bytes",
                "Disk space of kept images.",
                &self.images_bytes,
            ),
            ("score", "The last score.", &self.score),
            (
                "drift_score_mean",
                "Mean score of the last passed parts.",
                &self.drift_mean,
            ),
            (
                "drift_score_reference",
                "The product's own mean score.",
                &self.drift_reference,
            ),
        ];
        for (name, help, gauge) in gauges {
            page.head(name, "gauge", help);
            page.value(name, &[], Number(gauge.get()));
        }
    }

    fn write_score_ratio(&self, page: &mut Page) {
        let name = "score_ratio";
        let help = "Score over the product's NG threshold.";
        page.head(name, "histogram", help);
        let mut seen = 0;
        for (limit, counter) in RATIO_LIMITS.iter().zip(&self.ratios) {
            seen += counter.get();
            page.value(
                "score_ratio_bucket",
                &[("le", limit.to_string().as_str())],
                seen,
            );
        }
        seen += self.ratios[RATIO_LIMITS.len()].get();
        page.value("score_ratio_bucket", &[("le", "+Inf")], seen);
        let sum = self.ratio_sum_millionths.get() as f64 / 1e6;
        page.value("score_ratio_sum", &[], Number(sum));
        page.value("score_ratio_count", &[], seen);
    }

    fn write_latency(&self, page: &mut Page) {
        page.head(
            "latency_seconds",
            "histogram",
            "How long things took, by stage.",
        );
        for which in Latency::ALL {
            let (at_most, count, sum_us) = self.latency(which).cumulative();
            let stage = which.name();
            for (limit, n) in LIMITS_US.iter().zip(at_most) {
                let le = Number(*limit as f64 / 1e6).to_string();
                let labels = [("stage", stage), ("le", le.as_str())];
                page.value("latency_seconds_bucket", &labels, n);
            }
            let labels = [("stage", stage), ("le", "+Inf")];
            page.value("latency_seconds_bucket", &labels, count);
            let labels = [("stage", stage)];
            let sum = Number(sum_us as f64 / 1e6);
            page.value("latency_seconds_sum", &labels, sum);
            page.value("latency_seconds_count", &labels, count);
        }
    }
}

/// A float in Prometheus notation.
struct Number(f64);

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            v if v.is_nan() => f.write_str("NaN"),
            f64::INFINITY => f.write_str("+Inf"),
            f64::NEG_INFINITY => f.write_str("-Inf"),
            v => v.fmt(f),
        }
    }
}

/// The page as it is written. Writing to a String does not fail.
struct Page(String);

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(
            self.0,
            "# HELP partgate_{name} {help}\n# TYPE partgate_{name} {kind}"
        );
    }

    fn value(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        let _ = write!(self.0, "partgate_{name}");
        for (i, (label, text)) in labels.iter().enumerate() {
            let text = text
                .replace('\\', "\\\\")
                .replace('"', "\\\"")
                .replace('\n', "\\n");
            let before = if i == 0 { '{' } else { ',' };
            let _ = write!(self.0, "{before}{label}=\"{text}\"");
        }
        let after = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.0, "{after} {value}");
    }

    fn by_name<'a>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (&'a str, u64)>,
    ) {
        self.head(name, "counter", help);
        for (text, n) in values {
            self.value(name, &[(label, text)], n);
        }
    }
}
