//! Values as text for people.

use partgate::verdict::{Bound, BoundMethod};

/// 0.05 as `5 %`, with as many digits as the value needs.
pub(super) fn percent(share: f64) -> String {
    let value = share * 100.0;
    if value == 0.0 || !value.is_finite() {
        return format!("{value} %");
    }
    let digits = (2 - value.abs().log10().floor() as i32).clamp(0, 6) as usize;
    let text = format!("{value:.digits$}");
    let text = if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.')
    } else {
        &text
    };
    format!("{text} %")
}

pub(super) fn bytes(count: u64) -> String {
    if count < 1024 {
        format!("{count} B")
    } else if count < 1 << 20 {
        format!("{:.1} KiB", count as f64 / 1024.0)
    } else {
        format!("{:.2} MiB", count as f64 / f64::from(1 << 20))
    }
}

/// Seconds since 1970 as date and time in UTC (days to civil date: Hinnant, chrono-compatible
/// low-level date algorithms, 2013).
pub(super) fn utc(unix: u64) -> String {
    let (days, seconds) = (unix / 86_400, unix % 86_400);
    let z = days + 719_468;
    let era = z / 146_097;
    let day = z % 146_097;
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    format!(
        "{:04}-{month:02}-{:02} {:02}:{:02}:{:02} UTC",
        year + era * 400 + u64::from(month <= 2),
        of_year - (153 * shifted + 2) / 5 + 1,
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}

pub(super) fn method(bound: &Bound) -> &'static str {
    match bound.method {
        BoundMethod::OrderStatistic => {
            "an order statistic of the held-out scores; assumes only that future good parts are like them"
        }
        BoundMethod::GeneralisedParetoTail => {
            "a generalised Pareto tail fitted to the highest held-out scores, at its upper confidence limit"
        }
        BoundMethod::LogNormalTolerance => {
            "a tolerance bound that takes the logarithms of the held-out scores as normal"
        }
        BoundMethod::Maximum => "the largest held-out score; more images would support more",
        BoundMethod::BudgetQuantile => {
            "the held-out score that leaves the budget above it on average, by counting"
        }
        BoundMethod::BudgetLine => {
            "a line through the logarithms of the higher half of the held-out scores"
        }
        BoundMethod::Manual => "set by a person; nothing is claimed about false rejects",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(percent(0.05), "5 %");
        assert_eq!(percent(0.0), "0 %");
        assert_eq!(percent(1.0), "100 %");
        assert_eq!(percent(0.00123), "0.123 %");
        assert_eq!(percent(0.951), "95.1 %");
        assert_eq!(bytes(100), "100 B");
        assert_eq!(bytes(869_107), "848.7 KiB");
        assert_eq!(utc(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(utc(951_782_400), "2000-02-29 00:00:00 UTC");
        assert_eq!(utc(1_763_788_800), "2025-11-22 05:20:00 UTC");
    }
}
