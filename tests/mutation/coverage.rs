//! Which code an execution ran: counters that LLVM adds to every edge of the instrumented crates
//! (`board/fuzz.sh`).

use std::sync::Mutex;

/// Start and length of the counters of each instrumented crate.
static REGIONS: Mutex<Vec<(usize, usize)>> = Mutex::new(Vec::new());

/// Each instrumented object calls it before `main`.
///
/// # Safety
/// LLVM calls it with both ends of an array of counters that lives as long as the process.
#[unsafe(no_mangle)]
unsafe extern "C" fn __sanitizer_cov_8bit_counters_init(start: *mut u8, stop: *mut u8) {
    let region = (start as usize, stop as usize - start as usize);
    let mut regions = REGIONS.lock().unwrap_or_else(|e| e.into_inner());
    if region.1 > 0 && !regions.contains(&region) {
        regions.push(region);
    }
}

/// What all executions so far ran, as one bit for each number of times: 1, 2, 3, 4 to 7, 8 to 15, 16 to
/// 31, 32 to 127, more.
pub(super) struct Seen {
    regions: Vec<(usize, usize)>,
    times: Vec<Vec<u8>>,
}

fn bit(count: u8) -> u8 {
    match count {
        0 => 0,
        1 => 1,
        2 => 2,
        3 => 4,
        4..=7 => 8,
        8..=15 => 16,
        16..=31 => 32,
        32..=127 => 64,
        _ => 128,
    }
}

impl Seen {
    pub(super) fn new() -> Self {
        let regions = REGIONS.lock().unwrap_or_else(|e| e.into_inner()).clone();
        assert!(!regions.is_empty(), "no crate is instrumented");
        let times = regions.iter().map(|&(_, length)| vec![0; length]).collect();
        Self { regions, times }
    }

    fn counters(&self) -> impl Iterator<Item = &'static mut [u8]> {
        // SAFETY: the regions are LLVM's arrays, which live as long as the process. Another thread may
        // count at the same time; a lost count of one edge changes only which input is kept.
        let slice = |&(start, length): &(usize, usize)| unsafe {
            std::slice::from_raw_parts_mut(start as *mut u8, length)
        };
        self.regions.iter().map(slice)
    }

    /// Forgets what ran before an execution.
    pub(super) fn start(&self) {
        self.counters().for_each(|counters| counters.fill(0));
    }

    /// Whether the execution ran an edge that none before did, or another number of times.
    pub(super) fn learn(&mut self) -> bool {
        let mut news = false;
        let all: Vec<_> = self.counters().collect();
        for (counters, times) in all.into_iter().zip(&mut self.times) {
            for (counters, times) in counters.chunks(64).zip(times.chunks_mut(64)) {
                // Nearly all of them.
                if counters.iter().fold(0, |any, &count| any | count) == 0 {
                    continue;
                }
                for (&count, seen) in counters.iter().zip(times) {
                    let now = *seen | bit(count);
                    news |= now != *seen;
                    *seen = now;
                }
            }
        }
        news
    }

    /// Number of edges that ran at least once.
    pub(super) fn edges(&self) -> usize {
        let ran = |times: &Vec<u8>| times.iter().filter(|&&t| t != 0).count();
        self.times.iter().map(ran).sum()
    }
}
