use super::*;

#[test]
fn restarts_are_counted_by_the_hour_and_from_the_acknowledgement_on() {
    let mut memory = Memory::default();
    let minute = |n: u64| Nanos::from_millis(60_000 * n);
    for n in 0..5 {
        memory.started_again(minute(10 * n), EndedBy::Silence);
    }
    assert_eq!((memory.restarts, memory.within_hour.len()), (5, 5));
    memory.started_again(minute(71), EndedBy::Itself);
    assert_eq!((memory.restarts, memory.within_hour.len()), (6, 4));
    memory.remember(Standing::None);
    assert_eq!(memory.within_hour.len(), 4, "no alarm stood");
    memory.remember(Standing::Restarts);
    assert_eq!(memory.alarm, Some(Standing::Restarts));
    memory.remember(Standing::None);
    assert_eq!((memory.restarts, memory.within_hour.len()), (6, 0));
}
