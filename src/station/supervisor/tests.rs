use super::*;
use crate::simulation::lines::SimulatedOutputs;

#[test]
fn lost_output_lines_are_asked_for_every_50_ms_because_a_chip_that_is_back_may_show_an_old_pass() {
    let mut at = Vec::new();
    let mut open = || -> Result<Box<dyn Outputs>, DeviceError> {
        at.push(clock::now());
        if at.len() < 9 {
            return Err("no such chip".into());
        }
        let (outputs, _) = SimulatedOutputs::new(8)?;
        Ok(Box::new(outputs))
    };
    reopen(&mut open, &AtomicBool::new(false)).expect("there at the ninth attempt");
    // The shortest pause shows the setting, however busy this machine is.
    let pauses = at.windows(2).map(|pair| pair[1].since(pair[0]));
    let shortest = pauses.min().expect("attempts");
    assert!(shortest >= Duration::from_millis(50), "{shortest:?}");
    assert!(shortest < Duration::from_millis(200), "{shortest:?}");
}

#[test]
fn lines_that_stay_away_are_given_up_when_the_service_is_stopped() {
    let stop = AtomicBool::new(false);
    let mut attempts = 0;
    let mut open = || -> Result<Box<dyn Outputs>, DeviceError> {
        attempts += 1;
        stop.store(attempts == 3, Ordering::Relaxed);
        Err("no such chip".into())
    };
    assert!(reopen(&mut open, &stop).is_err());
    assert_eq!(attempts, 3);
}

#[test]
fn restarts_are_counted_by_the_hour_and_from_the_acknowledgement_on() {
    let mut memory = Memory::default();
    let minute = |n: u64| Instant::from_millis(60_000 * n);
    for n in 0..5 {
        memory.started_again(minute(10 * n), EndedBy::Silence);
    }
    assert_eq!((memory.restarts, memory.within_hour.len()), (5, 5));
    memory.started_again(minute(71), EndedBy::Itself);
    assert_eq!((memory.restarts, memory.within_hour.len()), (6, 4));
    memory.remember(LatchedAlarm::None);
    assert_eq!(memory.within_hour.len(), 4, "no alarm stood");
    memory.remember(LatchedAlarm::Restarts);
    assert_eq!(memory.alarm, Some(LatchedAlarm::Restarts));
    memory.remember(LatchedAlarm::None);
    assert_eq!((memory.restarts, memory.within_hour.len()), (6, 0));
}
