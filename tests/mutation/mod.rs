//! Mutated input: valid files are changed at random and given to a reader, which must neither panic
//! nor hang nor take more memory than stated.
//!
//! What a reader accepts is changed further, checksums are made right again where a format has them, and
//! so mutations get past the first check. The same seed gives the same inputs.
//!
//! Built by `board/fuzz.sh` the readers are instrumented: then the inputs that ran new code are changed
//! further, accepted or not. The smallest of them are in `tests/mutation/corpus`, and every run starts
//! from them too.
//!
//! `PARTGATE_MUTATIONS` is the number of executions per target, `PARTGATE_MUTATION_SECONDS` ends a target
//! sooner, `PARTGATE_MUTATION_SEED` is another start, `PARTGATE_MUTATION_CORPUS` a folder that the
//! smallest inputs which together run all that was run are written to.

// Each test crate uses its own part of this.
#![allow(dead_code)]
// The counting allocator must implement an unsafe trait; it forwards to the system's.
#![allow(unsafe_code)]

#[cfg(partgate_coverage)]
mod coverage;

use partgate::seed::Rng;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

struct Counting;

thread_local! {
    /// Bytes that this thread holds, and the most that it held. What another thread frees is still
    /// counted here, so the numbers can only be too large.
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
    /// Whether this thread runs a reader.
    static AT_WORK: Cell<bool> = const { Cell::new(false) };
}

fn count(bytes: isize) {
    // A thread that is ending has no counter any more, and nobody reads it.
    let _ = LIVE.try_with(|live| {
        live.set(live.get() + bytes);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(live.get())));
    });
}

// SAFETY: every call goes to the system allocator unchanged; the counters are the thread's own.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as isize);
        count(-(layout.size() as isize));
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Targets run one after the other, because they share the hook of panics.
static ALONE: Mutex<()> = Mutex::new(());

/// What is given to a reader, and what it may cost.
pub(crate) struct Target<'a> {
    pub(crate) name: &'a str,
    /// Valid inputs.
    pub(crate) seeds: Vec<Vec<u8>>,
    /// Pieces that mean something to the reader.
    pub(crate) words: &'a [&'a [u8]],
    /// Executions in the test suite.
    pub(crate) executions: u64,
    /// Most bytes that one execution may hold at a time.
    pub(crate) most_bytes: usize,
    /// Longest time of one execution.
    pub(crate) longest: Duration,
    /// Panics in these crates are counted and do not fail the test: they are others' code.
    pub(crate) foreign: &'a [&'a str],
}

/// What a run found.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    pub(crate) executions: u64,
    /// Inputs that the reader took for valid.
    pub(crate) accepted: u64,
    pub(crate) peak_bytes: usize,
    pub(crate) longest: Duration,
    /// Where others' code panicked, with the number of times.
    pub(crate) foreign: std::collections::BTreeMap<String, u64>,
    /// Edges of instrumented code that ran, and inputs that ran new ones.
    pub(crate) edges: usize,
    pub(crate) kept: usize,
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.trim().parse().ok()
}

/// Inputs beside the seeds that mutations start from, at most.
const POOL: usize = if cfg!(partgate_coverage) { 8192 } else { 64 };
/// Inputs of a target in the corpus, at most, and the bytes of each.
const CORPUS: (usize, usize) = (48, 4096);
/// An input does not grow beyond this.
const LARGEST: usize = 8 << 20;

/// The place of the last panic.
static PLACE: Mutex<String> = Mutex::new(String::new());

/// Ends the process if an execution does not end: a loop cannot be stopped from outside.
struct Watchdog {
    since: AtomicU64,
    number: AtomicU64,
    done: AtomicBool,
}

impl Watchdog {
    fn watch(&self, started: Instant, target: &Target, seed: u64) {
        while !self.done.load(Relaxed) {
            std::thread::sleep(Duration::from_millis(50));
            let since = Duration::from_millis(self.since.load(Relaxed));
            let now = started.elapsed();
            if since > Duration::ZERO && now.saturating_sub(since) > 10 * target.longest {
                eprintln!(
                    "{}: execution {} with seed {seed} has not ended after {:?}",
                    target.name,
                    self.number.load(Relaxed),
                    10 * target.longest
                );
                std::process::abort();
            }
        }
    }
}

/// Runs `work` on mutations of the target's seeds; it returns whether the input was valid. `seal` makes
/// a mutated input whole again where a checksum would refuse it.
///
/// # Panics
/// If `work` panics in the project's code, takes too long or too much memory. The input is kept in a
/// file of the system's temporary folder.
pub(crate) fn run(
    target: &Target,
    seal: impl Fn(&mut Vec<u8>, &mut Rng),
    work: impl Fn(&[u8]) -> bool,
) -> Summary {
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    let executions = setting("PARTGATE_MUTATIONS").unwrap_or(target.executions);
    let seed = setting("PARTGATE_MUTATION_SEED").unwrap_or(1);
    let most_time = setting("PARTGATE_MUTATION_SECONDS").map_or(Duration::MAX, Duration::from_secs);
    // Other tests of this program keep their messages.
    let usual = Arc::new(std::panic::take_hook());
    let others = Arc::clone(&usual);
    std::panic::set_hook(Box::new(move |info| {
        if AT_WORK.get() {
            let place = info.location().map_or(String::new(), ToString::to_string);
            *PLACE.lock().unwrap_or_else(|e| e.into_inner()) = place;
        } else {
            others(info);
        }
    }));
    let watchdog = Watchdog {
        since: AtomicU64::new(0),
        number: AtomicU64::new(0),
        done: AtomicBool::new(false),
    };
    let started = Instant::now();
    let outcome = std::thread::scope(|scope| {
        scope.spawn(|| watchdog.watch(started, target, seed));
        let mut all = Mutations {
            target,
            pool: Vec::new(),
            summary: Summary::default(),
            #[cfg(partgate_coverage)]
            seen: coverage::Seen::new(),
        };
        let begin = |number| {
            watchdog.number.store(number, Relaxed);
            let now = started.elapsed().as_millis() as u64;
            watchdog.since.store(now.max(1), Relaxed);
        };
        let mut outcome = Ok(());
        let known = target.seeds.iter().cloned().chain(corpus(target.name));
        for input in known.collect::<Vec<_>>() {
            begin(0);
            outcome = outcome.and_then(|()| all.inspect(input, &work));
        }
        for number in 0..executions {
            if outcome.is_err() || started.elapsed() > most_time {
                break;
            }
            begin(number);
            let input = all.mutated(&mut Rng::stream(seed, number), &seal);
            outcome = all.inspect(input, &work);
        }
        #[cfg(partgate_coverage)]
        if let (Ok(()), Some(folder)) = (&outcome, std::env::var_os("PARTGATE_MUTATION_CORPUS")) {
            begin(executions);
            all.keep(&std::path::Path::new(&folder).join(target.name), &work);
        }
        watchdog.done.store(true, Relaxed);
        outcome.map(|()| all.finished())
    });
    std::panic::set_hook(Box::new(move |info| usual(info)));
    match outcome {
        Ok(summary) => {
            println!(
                "{}: {} executions in {:.0?}, {} accepted, at most {} KiB and {:?}{}{}",
                target.name,
                summary.executions,
                started.elapsed(),
                summary.accepted,
                summary.peak_bytes / 1024,
                summary.longest,
                if cfg!(partgate_coverage) {
                    format!("; {} edges by {} inputs", summary.edges, summary.kept)
                } else {
                    String::new()
                },
                if summary.foreign.is_empty() {
                    String::new()
                } else {
                    format!("; panics in others' code: {:?}", summary.foreign)
                }
            );
            summary
        }
        Err((problem, input)) => {
            let path = std::env::temp_dir().join(format!("partgate-mutation-{}", target.name));
            let kept = std::fs::write(&path, input);
            panic!(
                "{}: {problem}; the input is in {} ({kept:?})",
                target.name,
                path.display()
            );
        }
    }
}

/// Inputs of the corpus in the repository for a target, in the order of their names.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    // Relative to the crate, which is this one or the trainer.
    let folder = |root: &str| {
        std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join(root)
            .join("tests/mutation/corpus")
            .join(name)
    };
    let entries = ["", ".."].map(|root| std::fs::read_dir(folder(root)));
    let mut paths: Vec<_> = entries
        .into_iter()
        .flatten()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    paths.sort();
    paths
        .iter()
        .map(|path| std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display())))
        .collect()
}

struct Mutations<'a> {
    target: &'a Target<'a>,
    pool: Vec<Vec<u8>>,
    summary: Summary,
    #[cfg(partgate_coverage)]
    seen: coverage::Seen,
}

impl Mutations<'_> {
    fn mutated(&self, rng: &mut Rng, seal: &impl Fn(&mut Vec<u8>, &mut Rng)) -> Vec<u8> {
        let target = self.target;
        let seeds = target.seeds.len();
        let pick = |rng: &mut Rng| match self.pool.len() {
            // What was found last leads on most often.
            n if n > 64 && rng.below(2) == 0 => seeds + n - 1 - rng.below(64),
            n => rng.below(seeds + n),
        };
        let source = |index: usize| match index.checked_sub(seeds) {
            None => &target.seeds[index],
            Some(pooled) => &self.pool[pooled],
        };
        let mut input = source(pick(rng)).clone();
        let other = source(pick(rng));
        // Without a change of length the rest of a file keeps its meaning, and readers get further.
        let in_place = rng.below(2) == 0;
        for _ in 0..1 + rng.below(6) {
            mutate(&mut input, other, target.words, in_place, rng);
        }
        input.truncate(LARGEST);
        seal(&mut input, rng);
        input
    }

    /// Gives `input` to the reader.
    fn inspect(
        &mut self,
        input: Vec<u8>,
        work: &impl Fn(&[u8]) -> bool,
    ) -> Result<(), (String, Vec<u8>)> {
        let target = self.target;
        let before = LIVE.get();
        PEAK.set(before);
        #[cfg(partgate_coverage)]
        self.seen.start();
        let started = Instant::now();
        AT_WORK.set(true);
        let outcome = catch_unwind(AssertUnwindSafe(|| work(&input)));
        AT_WORK.set(false);
        let took = started.elapsed();
        #[cfg(partgate_coverage)]
        let news = self.seen.learn();
        let peak = usize::try_from(PEAK.get() - before).unwrap_or(0);
        let summary = &mut self.summary;
        summary.executions += 1;
        summary.longest = summary.longest.max(took);
        summary.peak_bytes = summary.peak_bytes.max(peak);
        let valid = match outcome {
            Ok(valid) => valid,
            Err(_) => {
                let place = PLACE.lock().unwrap_or_else(|e| e.into_inner()).clone();
                if !target.foreign.iter().any(|name| place.contains(name)) {
                    return Err((format!("panic at {place}"), input));
                }
                *summary.foreign.entry(place).or_insert(0) += 1;
                false
            }
        };
        if peak > target.most_bytes {
            return Err((
                format!("{peak} bytes are more than {}", target.most_bytes),
                input,
            ));
        }
        if took > target.longest {
            return Err((
                format!("{took:?} are longer than {:?}", target.longest),
                input,
            ));
        }
        summary.accepted += u64::from(valid);
        #[cfg(partgate_coverage)]
        let valid = news;
        if valid {
            summary.kept += 1;
            if self.pool.len() < POOL {
                self.pool.push(input);
            } else {
                let slot = summary.kept % POOL;
                self.pool[slot] = input;
            }
        }
        Ok(())
    }

    #[cfg(not(partgate_coverage))]
    fn finished(self) -> Summary {
        self.summary
    }

    #[cfg(partgate_coverage)]
    fn finished(mut self) -> Summary {
        self.summary.edges = self.seen.edges();
        self.summary
    }

    /// Writes the smallest inputs that together ran all that was run, as far as the corpus may hold them.
    #[cfg(partgate_coverage)]
    fn keep(&self, folder: &std::path::Path, work: &impl Fn(&[u8]) -> bool) {
        let mut pool: Vec<&[u8]> = self.pool.iter().map(Vec::as_slice).collect();
        pool.sort_by_key(|input| (input.len(), *input));
        let mut seen = coverage::Seen::new();
        std::fs::create_dir_all(folder).expect("folder of the corpus");
        let mut kept = 0;
        for input in pool.into_iter().take_while(|i| i.len() <= CORPUS.1) {
            seen.start();
            AT_WORK.set(true);
            let _ = catch_unwind(AssertUnwindSafe(|| work(input)));
            AT_WORK.set(false);
            if seen.learn() && kept < CORPUS.0 {
                kept += 1;
                let name = blake3::hash(input).to_hex()[..16].to_string();
                std::fs::write(folder.join(name), input).expect("input of the corpus");
            }
        }
    }
}

/// Numbers at which readers go wrong.
const EDGES: [u64; 14] = [
    0,
    1,
    2,
    0x7f,
    0x80,
    0xff,
    0x100,
    0x7fff,
    0xffff,
    0x1_0000,
    0x7fff_ffff,
    0xffff_ffff,
    1 << 40,
    u64::MAX,
];

/// Changes `input` once.
fn mutate(input: &mut Vec<u8>, other: &[u8], words: &[&[u8]], in_place: bool, rng: &mut Rng) {
    let length = input.len();
    // Near the head most of the time: that is where formats say what follows.
    let at = |rng: &mut Rng| match length {
        0 => 0,
        n if rng.below(2) == 0 => rng.below(n.min(512)),
        n => rng.below(n),
    };
    let from = at(rng);
    let span = |rng: &mut Rng| {
        let most = [4, 32, 512][rng.below(3)];
        from..(from + 1 + rng.below(most)).min(length)
    };
    match rng.below(if in_place && length > 0 { 3 } else { 9 }) {
        0 if length > 0 => input[from] ^= 1 << rng.below(8),
        1 if length > 0 => input[from] = rng.below(256) as u8,
        2 if length > 0 => {
            let number = EDGES[rng.below(EDGES.len())].to_le_bytes();
            let width = [1, 2, 4, 8][rng.below(4)];
            let mut bytes = number[..width].to_vec();
            if rng.below(2) == 0 {
                bytes.reverse();
            }
            for (slot, byte) in input[from..].iter_mut().zip(bytes) {
                *slot = byte;
            }
        }
        3 => {
            input.drain(span(rng));
        }
        4 => {
            let piece = input[span(rng)].to_vec();
            input.splice(from..from, piece);
        }
        5 => input.truncate(from),
        6 if !other.is_empty() => {
            let start = rng.below(other.len());
            let end = (start + 1 + rng.below(256)).min(other.len());
            let range = span(rng);
            input.splice(range, other[start..end].iter().copied());
        }
        7 if !words.is_empty() => {
            let word = words[rng.below(words.len())];
            let range = if rng.below(2) == 0 {
                span(rng)
            } else {
                from..from
            };
            input.splice(range, word.iter().copied());
        }
        _ => {
            let bytes: Vec<u8> = (0..1 + rng.below(16))
                .map(|_| rng.below(256) as u8)
                .collect();
            input.splice(from..from, bytes);
        }
    }
}
