//! The wall clock. It is for people only: no decision depends on it.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Last millisecond that RFC 3339 can write: 9999-12-31T23:59:59.999Z.
const LATEST_MS: i64 = 253_402_300_799_999;
/// First one: 0000-01-01T00:00:00.000Z.
const EARLIEST_MS: i64 = -62_167_219_200_000;
const DAY_MS: i64 = 86_400_000;

/// An instant of the wall clock in UTC, in whole milliseconds. It prints as RFC 3339.
///
/// Years run from 0 to 9999. A time outside becomes the nearest one inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Utc {
    millis: i64,
}

impl Utc {
    /// From milliseconds after the start of 1970.
    pub(crate) fn from_unix_millis(millis: i64) -> Self {
        Self {
            millis: millis.clamp(EARLIEST_MS, LATEST_MS),
        }
    }

    /// The instant of this date and time; None if the calendar has no such day.
    pub fn at(year: u32, month: u32, day: u32, millis_of_day: u32) -> Option<Self> {
        let millis_of_day = i64::from(millis_of_day);
        if year > 9999 || !(1..=12).contains(&month) || day == 0 || millis_of_day >= DAY_MS {
            return None;
        }
        // March counts as the first month, so the leap day ends its year. An era has 400 years.
        let shifted = i64::from(year) - i64::from(month <= 2);
        let (era, of_era) = (shifted.div_euclid(400), shifted.rem_euclid(400));
        let month_from_march = i64::from((month + 9) % 12);
        let day_of_year = (153 * month_from_march + 2) / 5 + i64::from(day) - 1;
        let day_of_era = of_era * 365 + of_era / 4 - of_era / 100 + day_of_year;
        let days = era * 146_097 + day_of_era - 719_468;
        let found = Self::from_unix_millis(days * DAY_MS + millis_of_day);
        (found.date() == (year, month, day)).then_some(found)
    }

    /// Year, month (from 1) and day (from 1).
    pub fn date(self) -> (u32, u32, u32) {
        let days = self.millis.div_euclid(DAY_MS) + 719_468;
        let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * of_era + of_era / 4 - of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = (month_from_march + 2) % 12 + 1;
        let year = era * 400 + of_era + i64::from(month <= 2);
        // Every constructor limits the range, so the casts fit.
        (year as u32, month as u32, day as u32)
    }

    /// Milliseconds since midnight.
    pub(crate) fn millis_of_day(self) -> u32 {
        self.millis.rem_euclid(DAY_MS) as u32
    }
}

impl From<SystemTime> for Utc {
    fn from(time: SystemTime) -> Self {
        let whole = |d: Duration| i64::try_from(d.as_millis()).unwrap_or(i64::MAX);
        Self::from_unix_millis(match time.duration_since(UNIX_EPOCH) {
            Ok(after) => whole(after),
            // Rounded away from 1970, so that every time rounds down.
            Err(before) => -whole(before.duration() + Duration::from_nanos(999_999)),
        })
    }
}

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.date();
        let ms = self.millis_of_day();
        let (s, ms) = (ms / 1000, ms % 1000);
        let (hour, minute, second) = (s / 3600, s / 60 % 60, s % 60);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z"
        )
    }
}

impl serde::Serialize for Utc {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_instants_print_as_rfc_3339() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_709_164_800_000, "2024-02-29T00:00:00.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (1_000_000_000_000, "2001-09-09T01:46:40.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (i64::MAX, "9999-12-31T23:59:59.999Z"),
            (i64::MIN, "0000-01-01T00:00:00.000Z"),
        ] {
            assert_eq!(Utc::from_unix_millis(millis).to_string(), text);
        }
        let early = UNIX_EPOCH - Duration::from_nanos(1);
        assert_eq!(Utc::from(early).to_string(), "1969-12-31T23:59:59.999Z");
        let late = UNIX_EPOCH + Duration::from_micros(1_999);
        assert_eq!(Utc::from(late).to_string(), "1970-01-01T00:00:00.001Z");
    }

    #[test]
    fn every_day_of_the_calendar_follows_the_one_before() {
        let length = |year: u32, month: u32| match month {
            2 if year.is_multiple_of(4)
                && (!year.is_multiple_of(100) || year.is_multiple_of(400)) =>
            {
                29
            }
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        let mut day_count = EARLIEST_MS / DAY_MS;
        for year in 0..=9999 {
            for month in 1..=12 {
                for day in 1..=length(year, month) {
                    let utc = Utc::from_unix_millis(day_count * DAY_MS);
                    assert_eq!(utc.date(), (year, month, day));
                    assert_eq!(Utc::at(year, month, day, 0), Some(utc));
                    day_count += 1;
                }
                assert_eq!(Utc::at(year, month, length(year, month) + 1, 0), None);
            }
        }
        assert_eq!(day_count * DAY_MS, LATEST_MS + 1);
    }

    proptest! {
        #[test]
        fn date_and_time_give_the_instant_back(millis in EARLIEST_MS..=LATEST_MS) {
            let utc = Utc::from_unix_millis(millis);
            let (year, month, day) = utc.date();
            prop_assert_eq!(Utc::at(year, month, day, utc.millis_of_day()), Some(utc));
        }

        #[test]
        fn no_date_panics(year: u32, month: u32, day: u32, ms: u32) {
            let _ = Utc::at(year, month, day, ms);
        }
    }
}
