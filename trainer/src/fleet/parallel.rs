//! The same work on several boards at a time.

use std::sync::Mutex;

/// Calls `work` for each item, `most` at the same time. The results are in the order of the items.
pub(crate) fn in_parallel<T: Sync, R: Send>(
    items: &[T],
    most: usize,
    work: impl Fn(&T) -> R + Sync,
) -> Vec<R> {
    let next = Mutex::new(items.iter().enumerate());
    let done = Mutex::new(Vec::with_capacity(items.len()));
    std::thread::scope(|scope| {
        for _ in 0..most.min(items.len()) {
            scope.spawn(|| {
                loop {
                    let item = next.lock().map_or(None, |mut next| next.next());
                    let Some((at, item)) = item else {
                        return;
                    };
                    let result = work(item);
                    if let Ok(mut done) = done.lock() {
                        done.push((at, result));
                    }
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_default();
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::{Duration, Instant};

    #[test]
    fn so_many_at_a_time_and_in_order() {
        let items: Vec<usize> = (0..9).collect();
        let (at_work, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let results = in_parallel(&items, 3, |&item| {
            let now = at_work.fetch_add(1, Ordering::SeqCst) + 1;
            most.fetch_max(now, Ordering::SeqCst);
            // Until the others are there, or it is clear that they do not come.
            let began = Instant::now();
            while most.load(Ordering::SeqCst) < 3 && began.elapsed() < Duration::from_secs(10) {
                std::thread::yield_now();
            }
            at_work.fetch_sub(1, Ordering::SeqCst);
            item * 2
        });
        assert_eq!(results, [0, 2, 4, 6, 8, 10, 12, 14, 16]);
        assert_eq!(most.into_inner(), 3);
        assert!(in_parallel(&[], 3, |item: &usize| *item).is_empty());
    }
}
