//! The threads that share one inspection.

use super::NetworkError;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tract_onnx::tract_core::internal::multithread::Executor;

/// How often a worker that has called another looks whether it has come. The kernel wakes it within this
/// time, or it is not free.
const UNTIL_IT_COMES: usize = 20_000;

/// The worker threads of one inspection: shared by the networks and the nearest-neighbour search.
/// One thread means the calling thread itself.
#[derive(Clone, Debug, Default)]
pub struct Threads {
    pool: Option<Arc<rayon::ThreadPool>>,
}

impl Threads {
    /// A pool of `count` workers; 0 and 1 run everything on the calling thread.
    ///
    /// # Errors
    /// [`NetworkError::Threads`] when the system gives no threads.
    pub fn new(count: usize) -> Result<Self, NetworkError> {
        if count <= 1 {
            return Ok(Self::default());
        }
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(count)
            .thread_name(|n| format!("partgate-{n}"))
            .build()
            .map_err(|e| NetworkError::Threads {
                threads: count,
                message: e.to_string(),
            })?;
        Ok(Self {
            pool: Some(Arc::new(pool)),
        })
    }

    /// Number of threads that share the work.
    pub fn count(&self) -> usize {
        self.pool.as_ref().map_or(1, |p| p.current_num_threads())
    }

    /// Runs `work` where [`Threads::join`] finds these threads, all of them awake. To be here already
    /// costs nothing; to come in takes memory for the pool's queue, 1.5 KB at every 63rd time.
    pub(crate) fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        match &self.pool {
            Some(pool) if pool.current_thread_index().is_none() => {
                let others = pool.current_num_threads() - 1;
                pool.install(|| awake(others, work))
            }
            _ => work(),
        }
    }

    /// Runs both, at the same time if another thread is free. To be called within
    /// [`Threads::enter`].
    pub(crate) fn join(&self, first: impl FnOnce() + Send, second: impl FnOnce() + Send) {
        match &self.pool {
            Some(_) => {
                rayon::join(first, second);
            }
            None => {
                first();
                second();
            }
        }
    }

    pub(super) fn executor(&self) -> Executor {
        match &self.pool {
            Some(pool) => Executor::MultiThread(pool.clone()),
            None => Executor::SingleThread,
        }
    }
}

/// Runs `work` while the `others` look for shares of it without going to sleep: a step of a network takes
/// less time than the kernel needs to wake a thread.
fn awake<T: Send>(others: usize, work: impl FnOnce() -> T + Send) -> T {
    /// Ends the search, also if `work` panics.
    struct Over<'a>(&'a AtomicBool);
    impl Drop for Over<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Release);
        }
    }
    let (over, here) = (AtomicBool::new(false), AtomicUsize::new(0));
    let search = Search {
        over: &over,
        here: &here,
    };
    let with_end = || {
        let _over = Over(&over);
        work()
    };
    rayon::join(with_end, || search.by(others)).0
}

struct Search<'a> {
    /// The work is done.
    over: &'a AtomicBool,
    /// Number of threads that search.
    here: &'a AtomicUsize,
}

impl Search<'_> {
    /// Searches on this thread and calls the rest of `others` to do the same.
    fn by(&self, others: usize) {
        let before = self.here.fetch_add(1, Ordering::AcqRel) + 1;
        if others <= 1 {
            return self.on();
        }
        let first = || {
            // Otherwise this thread would find its own call.
            for _ in 0..UNTIL_IT_COMES {
                if self.over() || self.here.load(Ordering::Acquire) > before {
                    break;
                }
                std::hint::spin_loop();
            }
            self.on();
        };
        rayon::join(first, || self.by(others - 1));
    }

    fn on(&self) {
        while !self.over() {
            if rayon::yield_now() != Some(rayon::Yield::Executed) {
                // A thread that has something to do goes first.
                std::thread::yield_now();
            }
        }
    }

    fn over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::sync::Mutex;
    use std::thread::ThreadId;

    /// Shares `pieces` pieces of work; notes who did them.
    fn share(threads: &Threads, pieces: usize, who: &Mutex<HashSet<ThreadId>>) {
        if pieces > 1 {
            let half = pieces / 2;
            threads.join(
                || share(threads, half, who),
                || share(threads, pieces - half, who),
            );
            return;
        }
        let started = std::time::Instant::now();
        while started.elapsed().as_millis() < 2 {
            std::hint::spin_loop();
        }
        who.lock()
            .expect("lock")
            .insert(std::thread::current().id());
    }

    #[test]
    fn all_threads_share_the_work_and_the_result_comes_back() {
        for count in [1, 2, 3, 5] {
            let threads = Threads::new(count).expect("threads");
            let who = Mutex::new(HashSet::new());
            // A busy machine may keep a thread away for a while.
            let shared = (0..500).any(|_| {
                who.lock().expect("lock").clear();
                let seven = threads.enter(|| {
                    // To enter again changes nothing.
                    threads.enter(|| share(&threads, 4 * count, &who));
                    7
                });
                assert_eq!(seven, 7);
                who.lock().expect("lock").len() == count
            });
            assert!(shared, "{count} threads");
        }
    }

    #[test]
    fn a_panic_in_the_work_comes_back_and_the_threads_work_on() {
        let threads = Threads::new(3).expect("threads");
        for _ in 0..3 {
            let work = || threads.enter(|| panic!("as planned"));
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            assert!(result.is_err());
            assert_eq!(threads.enter(|| 1), 1);
        }
    }
}
