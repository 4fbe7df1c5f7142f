//! A calibration test: an output with a lamp is switched, and the frames show when the camera saw
//! it. Only this test shows delays that a camera's time stamps hide (pipelines, buffers, a link),
//! because stamps alone always look plausible.

use crate::capture::source::{CaptureError, FrameSource};
use crate::clock;
use crate::frame::RawFrame;
use crate::frame::{DecodeError, decode};
use crate::frame::{Frame, Pixels};
use crate::line::devices::{DeviceError, Outputs};
use crate::line::gate::Output;
use crate::time::{Duration, Instant};
use std::sync::atomic::{AtomicBool, Ordering};
use thiserror::Error;

/// Number of frames that must look the same before the lamp is switched, and that are read after
/// it.
const ALIKE: usize = 4;
/// First frames that are not used, because a driver can hold frames from before the test.
const SETTLING: usize = 10;
/// Share of the whole change from which a frame counts as fully lit.
const FULLY: f64 = 0.9;

/// Settings of the test.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TriggerTest {
    /// The output with the lamp.
    pub output: Output,
    /// Number of rounds.
    pub rounds: u32,
    /// Change of the picture's mean brightness (0 to 255) that counts as seen.
    pub change: f64,
    /// Longest wait for the lamp to be seen, for it to be off again, and for a frame.
    pub patience: Duration,
}

/// Why the test has no result.
#[derive(Debug, Error)]
pub enum TriggerTestError {
    /// The lamp is not seen.
    #[error(
        "round {round}: with output `{line}` on, the picture's mean brightness changed by {largest:.1} of 255 at most within {} s, and {wanted} were to be seen: is the lamp wired to this output, does it light what the camera sees, and is the camera's exposure locked?", patience.as_secs_f64()
    )]
    NothingChanges {
        /// The output's name.
        line: &'static str,
        /// Round, from 1.
        round: u32,
        /// The largest change.
        largest: f64,
        /// The requested change.
        wanted: f64,
        /// The waiting time.
        patience: Duration,
    },
    /// The picture is never still, or the lamp does not go off.
    #[error(
        "round {round}: with output `{line}` off, the picture's mean brightness does not come to rest (it varies by {varies:.1} of 255): switch other lights and the belt off, lock exposure and gain, or ask for a larger --change"
    )]
    Restless {
        /// The output's name.
        line: &'static str,
        /// Round, from 1.
        round: u32,
        /// Range of the brightness.
        varies: f64,
    },
    /// No frame comes.
    #[error(
        "{camera}: no frame for {} s; the trial needs a camera that runs freely (camera.on_trigger = false)", patience.as_secs_f64()
    )]
    Silent {
        /// The camera's description.
        camera: String,
        /// The waiting time.
        patience: Duration,
    },
    /// The camera fails.
    #[error("the camera")]
    Camera(#[from] CaptureError),
    /// A frame cannot be decoded.
    #[error("a frame cannot be read")]
    Frame(#[from] DecodeError),
    /// The output cannot be set.
    #[error("output `{output}` cannot be set")]
    Output {
        /// The output's name.
        output: &'static str,
        /// The device's error.
        source: DeviceError,
    },
    /// A request to stop came.
    #[error("stopped")]
    Stopped,
}

/// Times of a frame, nanoseconds after the output was set. The stamp is before the output
/// (negative) if the exposure had begun already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The frame's time stamp.
    pub stamp: i64,
    /// When the program had the frame.
    pub in_hand: i64,
}

/// Result of one round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Round {
    /// The first frame that shows the change.
    pub first: Seen,
    /// The first frame that was exposed wholly with the lamp on.
    pub full: Seen,
}

/// Result of the test.
#[derive(Clone, Debug, PartialEq)]
pub struct TriggerTested {
    /// All rounds.
    pub rounds: Vec<Round>,
    /// Time from frame to frame by their stamps; the median.
    pub period: Duration,
    /// Longest time from a frame's stamp until the program had it.
    pub delivery: Duration,
}

/// Smallest, middle and largest of some times, nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spread {
    /// The smallest.
    pub min: i64,
    /// The middle one.
    pub median: i64,
    /// The largest.
    pub max: i64,
}

/// Values for the configuration, whole milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suggestion {
    /// `capture.exposure_min_ms`
    pub exposure_min_ms: u64,
    /// `capture.exposure_max_ms`
    pub exposure_max_ms: u64,
    /// `capture.delivery_ms`
    pub delivery_ms: u64,
}

impl TriggerTested {
    /// The spread of the time that `which` selects from every round.
    pub fn spread(&self, which: impl Fn(&Round) -> i64) -> Spread {
        let mut times: Vec<i64> = self.rounds.iter().map(which).collect();
        times.sort_unstable();
        let at = |i: usize| times.get(i).copied().unwrap_or(0);
        Spread {
            min: at(0),
            median: at(times.len() / 2),
            max: at(times.len().saturating_sub(1)),
        }
    }

    /// Suggests settings. A frame that begins after a trigger has a stamp at least as late as the
    /// earliest fully lit frame here. The window starts there. It is one period long, so that the
    /// next frame falls into it, and reaches at least to the latest fully lit frame here. The
    /// delivery time gets half as much again, because a busy board takes longer.
    pub fn suggestion(&self) -> Suggestion {
        let ms = |nanos: i64| nanos.max(0).cast_unsigned().div_ceil(1_000_000);
        let full = self.spread(|round| round.full.stamp);
        let exposure_min_ms = ms(full.min);
        let period = ms(self.period.0.cast_signed());
        Suggestion {
            exposure_min_ms,
            exposure_max_ms: (exposure_min_ms + period).max(ms(full.max)) + 1,
            delivery_ms: ms((self.delivery + self.delivery / 2).0.cast_signed()).max(1),
        }
    }
}

/// Measured values of one frame.
#[derive(Clone, Copy)]
struct Look {
    mean: f64,
    stamp: Instant,
    in_hand: Instant,
}

struct Trial<'a> {
    asked: TriggerTest,
    source: &'a mut dyn FrameSource,
    raw: RawFrame,
    picture: Frame,
    stop: &'a AtomicBool,
    delivery: Duration,
    last: Option<Instant>,
    distances: Vec<u64>,
}

/// Switches the output on and off and reads frames, `asked.rounds` times. `source` is open and
/// runs freely. Afterwards every output is in the safe state, also after an error.
///
/// # Errors
/// [`TriggerTestError`].
pub fn trigger_test(
    asked: TriggerTest,
    outputs: &mut dyn Outputs,
    source: &mut dyn FrameSource,
    stop: &AtomicBool,
) -> Result<TriggerTested, TriggerTestError> {
    let raw = RawFrame::with_capacity(source.frame_bytes());
    let mut trial = Trial {
        asked,
        source,
        raw,
        picture: Frame::blank(),
        stop,
        delivery: Duration::ZERO,
        last: None,
        distances: Vec::new(),
    };
    let done = trial.all(outputs);
    let mut restored = Ok(());
    for output in Output::ALL {
        let set = outputs.set(output, output.when_unattended());
        restored = restored.and(set.map_err(|source| TriggerTestError::Output {
            output: output.name(),
            source,
        }));
    }
    let rounds = done?;
    restored?;
    trial.distances.sort_unstable();
    let middle = trial.distances.get(trial.distances.len() / 2);
    Ok(TriggerTested {
        rounds,
        period: Duration(middle.copied().unwrap_or(0)),
        delivery: trial.delivery,
    })
}

impl Trial<'_> {
    fn all(&mut self, outputs: &mut dyn Outputs) -> Result<Vec<Round>, TriggerTestError> {
        self.set(outputs, false)?;
        for _ in 0..SETTLING {
            self.look()?;
        }
        let mut rounds = Vec::new();
        let mut dark = None;
        for round in 1..=self.asked.rounds {
            let rest = self.rest(round, dark)?;
            dark.get_or_insert(rest);
            // Each round starts at another phase of the camera's period. The golden section leaves
            // no gap.
            let place = f64::from(round) * 0.618_033_988_75 % 1.0;
            clock::sleep(Duration((self.period().0 as f64 * place) as u64));
            let at = clock::now();
            self.set(outputs, true)?;
            rounds.push(self.see(round, rest, at)?);
            self.set(outputs, false)?;
        }
        Ok(rounds)
    }

    fn period(&self) -> Duration {
        let last = self.distances.iter().rev().take(9);
        let mut last: Vec<u64> = last.copied().collect();
        last.sort_unstable();
        Duration(last.get(last.len() / 2).copied().unwrap_or(0))
    }

    fn set(&self, outputs: &mut dyn Outputs, on: bool) -> Result<(), TriggerTestError> {
        let line = self.asked.output;
        outputs
            .set(line, on)
            .map_err(|source| TriggerTestError::Output {
                output: line.name(),
                source,
            })
    }

    /// The mean brightness once the lamp is off. After the first round it must be as it was then.
    fn rest(&mut self, round: u32, dark: Option<f64>) -> Result<f64, TriggerTestError> {
        let until = clock::now().after(self.asked.patience);
        let mut last = [f64::NAN; ALIKE];
        let mut seen = 0;
        loop {
            last[seen % ALIKE] = self.look()?.mean;
            seen += 1;
            let (low, high) = (
                last.iter().copied().fold(f64::INFINITY, f64::min),
                last.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            );
            let mean = last.iter().sum::<f64>() / ALIKE as f64;
            let still = seen >= ALIKE && high - low < self.asked.change / 2.0;
            let gone = dark.is_none_or(|dark| (mean - dark).abs() < self.asked.change / 2.0);
            if still && gone {
                return Ok(mean);
            }
            if clock::now() >= until {
                let from = dark.unwrap_or(low);
                return Err(TriggerTestError::Restless {
                    line: self.asked.output.name(),
                    round,
                    varies: (high - from).abs().max(high - low),
                });
            }
        }
    }

    /// Measures one round; the lamp is on since `at`.
    fn see(&mut self, round: u32, dark: f64, at: Instant) -> Result<Round, TriggerTestError> {
        let until = at.after(self.asked.patience);
        let mut largest = 0.0_f64;
        let first = loop {
            let look = self.look()?;
            let change = (look.mean - dark).abs();
            if change >= self.asked.change {
                break look;
            }
            largest = largest.max(change);
            if clock::now() >= until {
                return Err(TriggerTestError::NothingChanges {
                    line: self.asked.output.name(),
                    round,
                    largest,
                    wanted: self.asked.change,
                    patience: self.asked.patience,
                });
            }
        };
        // The exposure of the first frame can have begun with the lamp off. The last frame shows
        // the whole change.
        let mut looks = vec![first];
        for _ in 0..ALIKE {
            looks.push(self.look()?);
        }
        let whole = looks.last().map_or(0.0, |look| (look.mean - dark).abs());
        let lit = |look: &&Look| (look.mean - dark).abs() >= FULLY * whole;
        let full = looks.iter().find(lit).copied().unwrap_or(first);
        let since = |time: Instant| time.0.cast_signed().wrapping_sub(at.0.cast_signed());
        let seen = |look: Look| Seen {
            stamp: since(look.stamp),
            in_hand: since(look.in_hand),
        };
        Ok(Round {
            first: seen(first),
            full: seen(full),
        })
    }

    /// Waits for the next frame that is not damaged.
    fn look(&mut self) -> Result<Look, TriggerTestError> {
        let until = clock::now().after(self.asked.patience);
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return Err(TriggerTestError::Stopped);
            }
            let wait = clock::until(until).min(Duration::from_millis(100));
            if !self.source.next(&mut self.raw, wait)? {
                if clock::now() >= until {
                    return Err(TriggerTestError::Silent {
                        camera: self.source.describe(),
                        patience: self.asked.patience,
                    });
                }
                continue;
            }
            let in_hand = clock::now();
            if self.raw.damaged {
                continue;
            }
            let stamp = self.raw.time;
            decode(&self.raw, &mut self.picture)?;
            self.delivery = self.delivery.max(in_hand.since(stamp));
            if let Some(last) = self.last.replace(stamp) {
                self.distances.push(stamp.since(last).0);
            }
            return Ok(Look {
                mean: mean(self.picture.pixels()),
                stamp,
                in_hand,
            });
        }
    }
}

/// Mean brightness, 0 to 255.
fn mean(pixels: &Pixels) -> f64 {
    let (sum, samples, scale) = match pixels {
        Pixels::Gray8(v) | Pixels::Rgb8(v) => {
            (v.iter().map(|x| u64::from(*x)).sum::<u64>(), v.len(), 1.0)
        }
        Pixels::Gray16(v) | Pixels::Rgb16(v) => {
            (v.iter().map(|x| u64::from(*x)).sum::<u64>(), v.len(), 257.0)
        }
    };
    sum as f64 / samples.max(1) as f64 / scale
}
