//! What a setting can be: its type, range and unit.

use super::nearest::nearest;
use super::value::{decimal as decimal_in, whole as whole_in};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::de::DeValue;

/// Reads a value of a file in this folder. None if it has another type; an error states why it is
/// refused.
type Take<T> = Box<dyn Fn(&DeValue<'_>, &Path) -> Option<Result<T, String>>>;

/// What a setting can be.
pub(crate) struct Kind<T> {
    /// Allowed values, with their unit, for messages and for the page of all keys.
    pub(super) allowed: String,
    pub(super) take: Take<T>,
}

impl<T: 'static> Kind<T> {
    fn new(
        allowed: impl Into<String>,
        take: impl Fn(&DeValue<'_>) -> Option<Result<T, String>> + 'static,
    ) -> Self {
        Self {
            allowed: allowed.into(),
            take: Box::new(move |value, _| take(value)),
        }
    }

    /// The same values as another type.
    pub(crate) fn map<U: 'static>(self, to: impl Fn(T) -> U + 'static) -> Kind<U> {
        self.try_map(move |value| Ok(to(value)))
    }

    /// The values that `to` accepts. If it refuses one, it states why, as the end of a sentence
    /// that begins with the value.
    pub(crate) fn try_map<U: 'static>(
        self,
        to: impl Fn(T) -> Result<U, String> + 'static,
    ) -> Kind<U> {
        let take = self.take;
        Kind {
            allowed: self.allowed,
            take: Box::new(move |value, folder| Some(take(value, folder)?.and_then(&to))),
        }
    }
}

fn spaced<N: std::fmt::Display>(range: &RangeInclusive<N>, unit: &str) -> String {
    let range = format!("{} to {} {unit}", range.start(), range.end());
    range.trim_end().to_string()
}

/// A whole number; `unit` can be empty.
pub(crate) fn whole<T: TryFrom<u64> + 'static>(range: RangeInclusive<u64>, unit: &str) -> Kind<T> {
    Kind::new(spaced(&range, unit), move |value| {
        let number = match value {
            DeValue::Integer(_) => whole_in(value).and_then(|number| u64::try_from(number).ok()),
            DeValue::Float(_) => return Some(Err("is not a whole number".into())),
            _ => return None,
        };
        let number = number.filter(|number| range.contains(number));
        let number = number.and_then(|number| T::try_from(number).ok());
        Some(number.ok_or_else(|| "is out of range".into()))
    })
}

/// A number; whole numbers are accepted too.
pub(crate) fn decimal(range: RangeInclusive<f64>, unit: &str) -> Kind<f64> {
    Kind::new(spaced(&range, unit), move |value| {
        let number = decimal_in(value)?;
        let allowed = range.contains(&number);
        Some(allowed.then_some(number).ok_or("is out of range".into()))
    })
}

/// Milliseconds as a duration. The range of a setting fits, and the finest step is one nanosecond.
fn of_ms(ms: f64) -> Duration {
    Duration::from_nanos((ms * 1e6).round() as u64)
}

/// A time in milliseconds, as the file states it.
pub(crate) fn in_ms(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1e6
}

/// A time in milliseconds.
pub(crate) fn ms(range: RangeInclusive<f64>) -> Kind<Duration> {
    decimal(range, "ms").map(of_ms)
}

/// A time in milliseconds; 0 means never.
pub(crate) fn ms_or_never(range: RangeInclusive<f64>) -> Kind<Duration> {
    decimal(range, "ms, 0 is never").map(of_ms)
}

/// A time in whole microseconds.
pub(crate) fn us(range: RangeInclusive<u64>) -> Kind<Duration> {
    whole(range, "us").map(Duration::from_micros)
}

/// A time in hours.
pub(crate) fn hours(range: RangeInclusive<f64>) -> Kind<Duration> {
    decimal(range, "h").map(|hours| Duration::from_secs_f64(hours * 3600.0))
}

/// A size in bytes; the file gives it in MiB.
pub(crate) fn mib(range: RangeInclusive<u64>) -> Kind<u64> {
    whole(range, "MiB").map(|mib: u64| mib.saturating_mul(1 << 20))
}

pub(crate) fn flag() -> Kind<bool> {
    Kind::new("true or false", |value| match value {
        DeValue::Boolean(flag) => Some(Ok(*flag)),
        _ => None,
    })
}

/// One of the given words.
pub(crate) fn word<T: Copy>(words: &'static [(&'static str, T)]) -> Kind<T> {
    let names = || words.iter().map(|(name, _)| *name);
    let quoted: Vec<String> = names().map(|name| format!("{name:?}")).collect();
    Kind::new(quoted.join(" | "), move |value| {
        let DeValue::String(text) = value else {
            return None;
        };
        let found = words.iter().find(|(name, _)| *name == text.as_ref());
        let meant = || nearest(text, names());
        Some(match (found, meant) {
            (Some((_, word)), _) => Ok(*word),
            (None, meant) => Err(match meant() {
                Some(name) => format!("is not known, did you mean {name:?}?"),
                None => "is not known".into(),
            }),
        })
    })
}

/// Text that is not empty.
pub(crate) fn text(allowed: &str) -> Kind<String> {
    Kind::new(allowed, |value| match value {
        DeValue::String(text) if text.is_empty() => Some(Err("is empty".into())),
        DeValue::String(text) if text.contains('\0') => Some(Err("holds a NUL character".into())),
        DeValue::String(text) => Some(Ok(text.to_string())),
        _ => None,
    })
}

/// A path that is used as given, for devices.
pub(crate) fn device(allowed: &str) -> Kind<PathBuf> {
    text(allowed).map(PathBuf::from)
}

/// A path that is relative to the file.
pub(crate) fn path(allowed: &str) -> Kind<PathBuf> {
    beside(text(allowed))
}

/// Path of a unix socket, relative to the file. `sun_path` of unix(7) holds 107 bytes and a NUL.
pub(crate) fn socket() -> Kind<PathBuf> {
    beside(text("path of a socket").try_map(|text| match text.len() {
        0..=107 => Ok(text),
        long => Err(format!("has {long} bytes; a socket's path has at most 107")),
    }))
}

fn beside(text: Kind<String>) -> Kind<PathBuf> {
    let take = text.take;
    Kind {
        allowed: text.allowed,
        take: Box::new(move |value, folder| {
            Some(take(value, folder)?.map(|path| folder.join(path)))
        }),
    }
}

/// A list of texts, at most `most`.
pub(crate) fn texts(allowed: &str, most: usize) -> Kind<Vec<String>> {
    Kind::new(allowed, move |value| {
        let texts = match value {
            DeValue::Array(items) if items.len() <= most => items
                .iter()
                .map(|item| match item.get_ref() {
                    DeValue::String(text) => Some(text.to_string()),
                    _ => None,
                })
                .collect(),
            _ => None,
        };
        Some(texts.ok_or_else(|| format!("is not a list of at most {most} texts")))
    })
}
