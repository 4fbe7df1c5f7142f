//! Which controls to set, in which order: an automatic mode goes off before the value that it
//! controls.

use super::choice::list;
use super::offer::{ControlKind, ControlOffer};

/// Numbers of the controls that this program knows (`linux/v4l2-controls.h`).
mod id {
    pub(super) const AUTO_WHITE_BALANCE: u32 = 0x0098_090c;
    pub(super) const AUTOGAIN: u32 = 0x0098_0912;
    pub(super) const GAIN: u32 = 0x0098_0913;
    pub(super) const WHITE_BALANCE_TEMPERATURE: u32 = 0x0098_091a;
    pub(super) const EXPOSURE_AUTO: u32 = 0x009a_0901;
    pub(super) const EXPOSURE_ABSOLUTE: u32 = 0x009a_0902;
    pub(super) const FOCUS_ABSOLUTE: u32 = 0x009a_090a;
    pub(super) const FOCUS_AUTO: u32 = 0x009a_090c;
    pub(super) const ANALOGUE_GAIN: u32 = 0x009e_0903;
}

/// Entries of the menu `EXPOSURE_AUTO` with a manual exposure time: manual, and shutter priority
/// for cameras that have no plain manual.
const MANUAL_EXPOSURE: [i64; 2] = [1, 2];

/// `EXPOSURE_ABSOLUTE` counts in steps of 100 microseconds.
const EXPOSURE_UNIT_US: i64 = 100;

/// One control to set, to read back and to check later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    /// V4L2's number.
    pub(super) id: u32,
    /// Its name, for errors.
    pub(super) key: String,
    /// The value in the driver's unit.
    pub(super) value: i64,
}

/// The configuration's own names of controls, and the automatic modes that control them unless
/// switched off.
fn numbers(name: &str) -> &'static [u32] {
    match name {
        "exposure_us" => &[id::EXPOSURE_ABSOLUTE],
        "gain" => &[id::GAIN, id::ANALOGUE_GAIN],
        "focus" => &[id::FOCUS_ABSOLUTE],
        "white_balance_k" => &[id::WHITE_BALANCE_TEMPERATURE],
        _ => &[],
    }
}

fn automatic_of(control: u32) -> Option<u32> {
    Some(match control {
        id::EXPOSURE_ABSOLUTE => id::EXPOSURE_AUTO,
        id::GAIN | id::ANALOGUE_GAIN => id::AUTOGAIN,
        id::FOCUS_ABSOLUTE => id::FOCUS_AUTO,
        id::WHITE_BALANCE_TEMPERATURE => id::AUTO_WHITE_BALANCE,
        _ => return None,
    })
}

/// The controls to set for `wanted` on a camera that offers `offers`: first every automatic mode
/// that would control a wanted value, then the values in their order.
///
/// # Errors
/// In words: the control that is missing, cannot be set or does not accept the value, and what the
/// camera has instead.
pub(super) fn plan(
    wanted: &[(String, i64)],
    offers: &[ControlOffer],
) -> Result<Vec<Setting>, String> {
    let mut automatics: Vec<Setting> = Vec::new();
    let mut values = Vec::new();
    for (name, value) in wanted {
        let offer = find(name, offers)?;
        let value = if name == "exposure_us" {
            exposure(*value)?
        } else {
            *value
        };
        check(name, value, offer)?;
        values.push(Setting {
            id: offer.id,
            key: offer.key.clone(),
            value,
        });
        let automatic =
            automatic_of(offer.id).and_then(|id| offers.iter().find(|offer| offer.id == id));
        if let Some(automatic) = automatic {
            let setting = off(automatic)?;
            // The same automatic mode can control two values; and a person can set it by name as
            // well.
            if !automatics.contains(&setting) {
                automatics.push(setting);
            }
        }
    }
    for automatic in &automatics {
        let named = |value: &&Setting| value.id == automatic.id && value.value != automatic.value;
        if let Some(contrary) = values.iter().find(named) {
            return Err(format!(
                "control {} = {} leaves an automatic mode on that controls a value which is also set; it must be {}",
                contrary.key, contrary.value, automatic.value
            ));
        }
    }
    automatics.extend(values);
    Ok(automatics)
}

fn find<'a>(name: &str, offers: &'a [ControlOffer]) -> Result<&'a ControlOffer, String> {
    let by_meaning = numbers(name)
        .iter()
        .find_map(|&id| offers.iter().find(|offer| offer.id == id));
    let by_number = name
        .strip_prefix("0x")
        .and_then(|digits| u32::from_str_radix(digits, 16).ok())
        .and_then(|id| offers.iter().find(|offer| offer.id == id));
    let by_key = || offers.iter().find(|offer| offer.key == name);
    by_meaning.or(by_number).or_else(by_key).ok_or_else(|| {
        let keys: Vec<String> = offers.iter().map(|offer| offer.key.clone()).collect();
        let hint = match name {
            "exposure_us" if keys.iter().any(|key| key == "exposure") => {
                " (its `exposure` counts in the sensor's own unit: set that by name)"
            }
            _ => "",
        };
        format!("no control {name}{hint}; the camera has {}", list(&keys))
    })
}

fn exposure(microseconds: i64) -> Result<i64, String> {
    if microseconds <= 0 || microseconds % EXPOSURE_UNIT_US != 0 {
        return Err(format!(
            "exposure_us = {microseconds}: cameras count exposure in steps of {EXPOSURE_UNIT_US} microseconds"
        ));
    }
    Ok(microseconds / EXPOSURE_UNIT_US)
}

fn check(name: &str, value: i64, offer: &ControlOffer) -> Result<(), String> {
    if let ControlKind::Other(kind) = offer.kind {
        return Err(format!(
            "control {name} is of V4L2 type {kind}, which holds no single number"
        ));
    }
    if offer.read_only {
        return Err(format!("control {name} can only be read"));
    }
    let unit = if name == "exposure_us" {
        " (in 100 microseconds)"
    } else {
        ""
    };
    if offer.kind == ControlKind::Menu {
        if offer.entries.iter().any(|entry| entry.value == value) {
            return Ok(());
        }
        let entries = offer.entries.iter();
        let entries: Vec<String> = entries
            .map(|e| format!("{} ({})", e.value, e.label))
            .collect();
        return Err(format!(
            "control {name} = {value}: it takes {}",
            list(&entries)
        ));
    }
    if offer.kind == ControlKind::Bitmask {
        return Ok(());
    }
    if value < offer.least || value > offer.most {
        return Err(format!(
            "control {name} = {value}{unit} is outside {} to {}",
            offer.least, offer.most
        ));
    }
    let above = value.abs_diff(offer.least);
    if !above.is_multiple_of(offer.step.max(1)) {
        return Err(format!(
            "control {name} = {value}{unit} is not one of its steps of {} from {}; the next below is {}",
            offer.step,
            offer.least,
            value - (above % offer.step.max(1)) as i64
        ));
    }
    Ok(())
}

/// The setting that switches an automatic mode off.
fn off(automatic: &ControlOffer) -> Result<Setting, String> {
    let value = if automatic.id == id::EXPOSURE_AUTO && automatic.kind == ControlKind::Menu {
        let offered = |value: &&i64| automatic.entries.iter().any(|e| e.value == **value);
        *MANUAL_EXPOSURE
            .iter()
            .find(offered)
            .ok_or_else(|| format!("control {} has no manual mode", automatic.key))?
    } else {
        0
    };
    Ok(Setting {
        id: automatic.id,
        key: automatic.key.clone(),
        value,
    })
}

#[cfg(test)]
mod tests {
    use super::super::offer::MenuEntry;
    use super::*;

    fn control(id: u32, key: &str, kind: ControlKind, range: (i64, i64, u64)) -> ControlOffer {
        ControlOffer {
            id,
            key: key.to_owned(),
            kind,
            least: range.0,
            most: range.1,
            step: range.2,
            default: range.0,
            read_only: false,
            inactive: false,
            entries: Vec::new(),
            value: None,
        }
    }

    /// What a common USB camera reports.
    fn webcam() -> Vec<ControlOffer> {
        let mut auto = control(
            id::EXPOSURE_AUTO,
            "auto_exposure",
            ControlKind::Menu,
            (0, 3, 1),
        );
        auto.entries = [(1, "Manual Mode"), (3, "Aperture Priority Mode")]
            .map(|(value, label)| MenuEntry {
                value,
                label: label.to_owned(),
            })
            .to_vec();
        let integer = ControlKind::Integer;
        let boolean = ControlKind::Boolean;
        vec![
            control(
                id::AUTO_WHITE_BALANCE,
                "white_balance_automatic",
                boolean,
                (0, 1, 1),
            ),
            control(id::GAIN, "gain", integer, (0, 255, 1)),
            control(0x0098_0918, "power_line_frequency", integer, (0, 2, 1)),
            control(
                id::WHITE_BALANCE_TEMPERATURE,
                "white_balance_temperature",
                integer,
                (2000, 6500, 10),
            ),
            auto,
            control(
                id::EXPOSURE_ABSOLUTE,
                "exposure_time_absolute",
                integer,
                (3, 2047, 1),
            ),
            control(id::FOCUS_ABSOLUTE, "focus_absolute", integer, (0, 250, 5)),
            control(
                id::FOCUS_AUTO,
                "focus_automatic_continuous",
                boolean,
                (0, 1, 1),
            ),
            control(
                0x0098_0001,
                "user_controls",
                ControlKind::Other(6),
                (0, 0, 0),
            ),
        ]
    }

    fn planned(wanted: &[(&str, i64)]) -> Result<Vec<(String, i64)>, String> {
        let wanted: Vec<_> = wanted.iter().map(|&(n, v)| (n.to_owned(), v)).collect();
        let plan = plan(&wanted, &webcam())?;
        Ok(plan.into_iter().map(|s| (s.key, s.value)).collect())
    }

    fn pairs(of: &[(&str, i64)]) -> Result<Vec<(String, i64)>, String> {
        Ok(of.iter().map(|&(n, v)| (n.to_owned(), v)).collect())
    }

    #[test]
    fn automatics_go_off_before_the_values_they_rule() {
        let wanted = [
            ("exposure_us", 2000),
            ("gain", 16),
            ("focus", 30),
            ("white_balance_k", 4600),
        ];
        assert_eq!(
            planned(&wanted),
            pairs(&[
                ("auto_exposure", 1),
                ("focus_automatic_continuous", 0),
                ("white_balance_automatic", 0),
                ("exposure_time_absolute", 20),
                ("gain", 16),
                ("focus_absolute", 30),
                ("white_balance_temperature", 4600),
            ])
        );
    }

    #[test]
    fn the_drivers_name_and_number_do_as_well() {
        assert_eq!(
            planned(&[("exposure_time_absolute", 20), ("0x00980918", 1)]),
            pairs(&[
                ("auto_exposure", 1),
                ("exposure_time_absolute", 20),
                ("power_line_frequency", 1),
            ])
        );
    }

    #[test]
    fn impossible_values_are_refused_with_the_possible_ones() {
        for (name, value, words) in [
            ("exposure_us", 2050, ["2050", "100"]),
            ("exposure_us", 0, ["= 0", "100"]),
            ("exposure_us", 300_000, ["3000", "2047"]),
            ("gain", 256, ["256", "255"]),
            ("gain", i64::MIN, ["gain", "255"]),
            ("focus", 32, ["32", "30"]),
            ("zoom", 1, ["zoom", "focus_absolute"]),
            ("auto_exposure", 0, ["auto_exposure = 0", "1 (Manual Mode)"]),
            ("user_controls", 1, ["user_controls", "type 6"]),
            ("0xzz", 1, ["0xzz", "gain"]),
        ] {
            let error = planned(&[(name, value)]).expect_err("planned");
            for word in words {
                assert!(error.contains(word), "{error}");
            }
        }
        let error = planned(&[("auto_exposure", 3), ("exposure_us", 2000)]).expect_err("planned");
        assert!(error.contains("auto_exposure = 3"), "{error}");
    }

    #[test]
    fn a_sensor_that_counts_lines_is_pointed_out() {
        let offers = [control(
            0x0098_0911,
            "exposure",
            ControlKind::Integer,
            (1, 500, 1),
        )];
        let error = plan(&[("exposure_us".to_owned(), 2000)], &offers).expect_err("planned");
        assert!(error.contains("own unit"), "{error}");
    }
}
