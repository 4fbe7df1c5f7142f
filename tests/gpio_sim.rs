//! Inputs and outputs of the GPIO character device do what the production line needs, with a real
//! kernel.
//!
//! The tests need root and the kernel's `gpio-sim` module. Ordinary test machines lack it, so they
//! are ignored there; the machine of board/vm has it:
//!
//! ```text
//! cargo test --test gpio_sim -- --ignored --test-threads=1
//! ```

#![allow(clippy::expect_used, clippy::panic)]

mod counting;

use counting::allocations;
use partgate::clock;
use partgate::gpio::{
    Bias, ChardevInputs, ChardevOutputs, ChardevSafeOutputs, Debounce, Drive, GpioError, InputLine,
    OutputLine, chips,
};
use partgate::line::devices::{Edge, Input, Inputs, Outputs, SafeOutputs};
use partgate::line::gate::Output;
use partgate::time::Duration;
use std::fs;
use std::path::{Path, PathBuf};

const CONFIGFS: &str = "/sys/kernel/config/gpio-sim";
const SOON: Duration = Duration::from_secs(5);
const KERNEL_SEES: Duration = Duration::from_millis(20);

/// A simulated chip of eight lines with the names `NAME-0` to `NAME-7`, and the plant's side of it.
struct Chip {
    name: &'static str,
    device: PathBuf,
}

impl Chip {
    fn new(name: &'static str) -> Self {
        let device = Path::new(CONFIGFS).join(name);
        let bank = device.join("bank0");
        fs::create_dir_all(&bank).expect("gpio-sim is loaded, configfs is mounted, this is root");
        fs::write(bank.join("label"), format!("label-{name}")).expect("label");
        fs::write(bank.join("num_lines"), "8").expect("lines");
        for line in 0..8 {
            let folder = bank.join(format!("line{line}"));
            fs::create_dir(&folder).expect("line");
            fs::write(folder.join("name"), format!("{name}-{line}")).expect("name");
        }
        let chip = Self { name, device };
        chip.plug(true);
        chip
    }

    fn plug(&self, plugged: bool) {
        let text = if plugged { "1" } else { "0" };
        fs::write(self.device.join("live"), text).expect("live");
    }

    fn attribute(&self, line: u32, attribute: &str) -> PathBuf {
        let read = |file: &str| {
            let text = fs::read_to_string(self.device.join(file)).expect("name");
            text.trim().to_owned()
        };
        Path::new("/sys/devices/platform")
            .join(read("dev_name"))
            .join(read("bank0/chip_name"))
            .join(format!("sim_gpio{line}"))
            .join(attribute)
    }

    /// Drives an input's wire.
    fn pull(&self, line: u32, up: bool) {
        let pull = if up { "pull-up" } else { "pull-down" };
        fs::write(self.attribute(line, "pull"), pull).expect("pull");
    }

    /// An edge that the kernel surely sees on its own: edges that come before its interrupt thread
    /// runs merge.
    fn pulse(&self, line: u32) {
        self.pull(line, true);
        clock::sleep(KERNEL_SEES);
        self.pull(line, false);
    }

    /// The level on the wire.
    fn wire(&self, line: u32) -> bool {
        let value = fs::read_to_string(self.attribute(line, "value")).expect("value");
        value.trim() == "1"
    }

    fn input(&self, input: Input, line: u32) -> InputLine {
        InputLine {
            input,
            spec: format!("line {}-{line}", self.name).parse().expect("spec"),
            active_low: false,
            bias: Bias::AsIs,
            debounce: Debounce::Off,
            off_edges: input == Input::Trigger,
        }
    }

    fn output(&self, output: Output, line: u32) -> OutputLine {
        OutputLine {
            output,
            spec: format!("label-{}:{line}", self.name).parse().expect("spec"),
            active_low: false,
            drive: Drive::PushPull,
        }
    }
}

impl Drop for Chip {
    fn drop(&mut self) {
        // A failed test leaves its lines in use; then they cannot be removed and stay.
        let _ = fs::write(self.device.join("live"), "0");
        for line in 0..8 {
            let _ = fs::remove_dir(self.device.join(format!("bank0/line{line}")));
        }
        let _ = fs::remove_dir(self.device.join("bank0"));
        let _ = fs::remove_dir(&self.device);
    }
}

fn next(inputs: &mut ChardevInputs) -> Edge {
    let edge = inputs.wait(SOON).expect("the chip is there");
    edge.expect("an edge")
}

/// All edges until `quiet` passes without one.
fn rest(inputs: &mut ChardevInputs, quiet: Duration) -> Vec<Edge> {
    std::iter::from_fn(|| inputs.wait(quiet).expect("the chip is there")).collect()
}

#[test]
#[ignore = "needs root and the kernel's gpio-sim"]
fn edges_arrive_in_order_with_the_kernels_times() {
    let chip = Chip::new("edges");
    let mut low = chip.input(Input::Acknowledge, 2);
    low.active_low = true;
    chip.pull(2, true);
    let mut inputs = ChardevInputs::open(vec![
        chip.input(Input::Trigger, 0),
        chip.input(Input::Encoder, 1),
        low,
    ])
    .expect("lines");
    let levels = inputs.levels().expect("levels");
    assert!(levels.iter().all(|(_, on)| !on), "{levels:?}");
    assert_eq!(inputs.wait(Duration::from_millis(20)).expect("quiet"), None);

    chip.pulse(0);
    for _ in 0..10 {
        chip.pulse(1);
    }
    chip.pull(2, false);
    let edges: Vec<Edge> = (0..13).map(|_| next(&mut inputs)).collect();
    // The trigger's length is seen: both of its edges come.
    assert_eq!((edges[0].input, edges[0].on), (Input::Trigger, true));
    assert_eq!((edges[1].input, edges[1].on), (Input::Trigger, false));
    assert!(edges[1].at.since(edges[0].at).as_micros() >= KERNEL_SEES.as_micros() / 2);
    assert!(
        edges[2..12]
            .iter()
            .all(|e| e.input == Input::Encoder && e.on)
    );
    assert_eq!(edges[12].input, Input::Acknowledge);
    assert!(edges.is_sorted_by_key(|edge| edge.at));
    assert!(edges.iter().all(|edge| edge.lost == 0));
    assert_eq!(inputs.wait(Duration::ZERO).expect("quiet"), None);
}

#[test]
#[ignore = "needs root and the kernel's gpio-sim"]
fn edges_beyond_the_kernels_buffer_are_counted() {
    const EDGES: u64 = 1100;
    let chip = Chip::new("flood");
    let mut inputs = ChardevInputs::open(vec![chip.input(Input::Trigger, 0)]).expect("line");
    for _ in 0..EDGES {
        chip.pull(0, true);
        clock::sleep(Duration::from_millis(3));
        chip.pull(0, false);
    }
    let edges = rest(&mut inputs, Duration::from_millis(50));
    let lost: u64 = edges.iter().map(|edge| u64::from(edge.lost)).sum();
    let on = edges.iter().filter(|edge| edge.on).count() as u64;
    println!("{on} of {EDGES} on-edges read, {lost} reported as lost");
    assert!(lost > 0, "the buffer is smaller than that");
    // A kernel that is short of time merges some edges before it counts them. Of an odd number of
    // lost edges the larger half counts.
    assert!((EDGES * 9 / 10..=EDGES * 11 / 10).contains(&(on + lost)));
    chip.pulse(0);
    assert_eq!(next(&mut inputs).lost, 0);
}

#[test]
#[ignore = "needs root and the kernel's gpio-sim"]
fn levels_are_read_and_both_channels_of_an_encoder_report_both_edges() {
    let chip = Chip::new("levels");
    let mut encoder = chip.input(Input::Encoder, 1);
    encoder.off_edges = true;
    let mut second = chip.input(Input::EncoderB, 2);
    second.off_edges = true;
    let mut low = chip.input(Input::Trigger, 0);
    low.active_low = true;
    let mut inputs = ChardevInputs::open(vec![low, encoder, second]).expect("lines");
    for up in [true, false, true] {
        chip.pull(0, up);
        assert_eq!(inputs.level(Input::Trigger).expect("level"), Some(!up));
    }
    assert_eq!(inputs.level(Input::Confirm).expect("not wired"), None);
    rest(&mut inputs, KERNEL_SEES);
    // One period forwards.
    for (line, up) in [(1, true), (2, true), (1, false), (2, false)] {
        chip.pull(line, up);
        clock::sleep(KERNEL_SEES);
    }
    let edges = rest(&mut inputs, KERNEL_SEES);
    let seen: Vec<(Input, bool)> = edges.iter().map(|edge| (edge.input, edge.on)).collect();
    let (a, b) = (Input::Encoder, Input::EncoderB);
    assert_eq!(seen, [(a, true), (b, true), (a, false), (b, false)]);
    chip.plug(false);
    assert!(inputs.level(Input::Trigger).is_err());
    chip.plug(true);
}

#[test]
#[ignore = "needs root and the kernel's gpio-sim"]
fn bouncing_contacts_count_once() {
    const PERIOD: Duration = Duration::from_millis(100);
    let chip = Chip::new("bounce");
    for debounce in [Debounce::Kernel(PERIOD), Debounce::Program(PERIOD)] {
        let mut trigger = chip.input(Input::Trigger, 0);
        trigger.debounce = debounce;
        let mut inputs = ChardevInputs::open(vec![trigger]).expect("line");
        let mut marks = ChardevInputs::open(vec![
            chip.input(Input::Encoder, 1),
            chip.input(Input::Acknowledge, 2),
        ])
        .expect("lines");
        // Some bounces are so fast that the kernel merges them, some so slow that it sees each.
        for bounce in [Duration::ZERO, Duration::from_millis(2), KERNEL_SEES] {
            // The longest time possible between two bounces in a row.
            let bounces = |level: bool| {
                let mut apart = Duration::ZERO;
                let mut began = clock::now();
                for bounced in 0..11 {
                    let begins = clock::now();
                    chip.pull(0, level ^ (bounced % 2 == 1));
                    apart = apart.max(clock::now().since(began));
                    began = begins;
                    if bounced < 10 {
                        clock::sleep(bounce);
                    }
                }
                apart
            };
            let mut stalls = 0;
            let (edges, before, after) = loop {
                chip.pull(1, true);
                let closing = bounces(true);
                chip.pull(2, true);
                clock::sleep(PERIOD * 3);
                let opening = bounces(false);
                chip.pull(1, false);
                chip.pull(2, false);
                clock::sleep(PERIOD * 3);
                let edges = rest(&mut inputs, KERNEL_SEES);
                let (before, after) = (next(&mut marks).at, next(&mut marks).at);
                let apart = closing.max(opening);
                if apart < PERIOD {
                    break (edges, before, after);
                }
                // Not a bounce but two contacts: an emulated processor was not run in between.
                println!("{debounce:?}, a bounce every {bounce:?}: up to {apart:?} apart, again");
                stalls += 1;
                assert!(
                    stalls < 20,
                    "this machine stands still too often for this test"
                );
            };
            let seen: Vec<bool> = edges.iter().map(|edge| edge.on).collect();
            assert_eq!(seen, [true, false], "{debounce:?}, {bounce:?}: {edges:?}");
            assert!(edges[0].at < edges[1].at, "{edges:?}");
            let at = edges[0].at;
            println!(
                "{debounce:?}, a bounce every {bounce:?}: stamped {} us after the contact began to close and {} us after it was closed",
                at.since(before).as_micros(),
                at.since(after).as_micros(),
            );
            match debounce {
                Debounce::Kernel(_) => assert!(at.since(before).as_micros() >= 100_000),
                _ => assert!(at >= before && at <= after),
            }
        }
    }
}

#[test]
#[ignore = "needs root and the kernel's gpio-sim"]
fn an_unplugged_chip_is_an_error_and_comes_back() {
    let chip = Chip::new("unplug");
    let mut inputs = ChardevInputs::open(vec![chip.input(Input::Trigger, 0)]).expect("line");
    chip.pulse(0);
    assert_eq!(next(&mut inputs).input, Input::Trigger);
    chip.plug(false);
    let started = clock::now();
    let error = loop {
        match inputs.wait(Duration::from_millis(50)) {
            Err(error) => break error.to_string(),
            Ok(_) => assert!(clock::now().since(started) < SOON, "nobody notices"),
        }
    };
    println!("noticed after {:?}: {error}", clock::now().since(started));
    assert!(error.contains("trigger"), "{error}");
    assert!(
        inputs.wait(Duration::from_millis(50)).is_err(),
        "still away"
    );
    chip.plug(true);
    let started = clock::now();
    while inputs.wait(Duration::from_millis(50)).is_err() {
        assert!(clock::now().since(started) < SOON, "does not come back");
    }
    println!("back after {:?}", clock::now().since(started));
    chip.pulse(0);
    let edge = next(&mut inputs);
    assert_eq!((edge.input, edge.lost), (Input::Trigger, 0));
}

#[test]
#[ignore = "needs root and the kernel's gpio-sim"]
fn outputs_start_unattended_follow_and_end_unattended() {
    let chip = Chip::new("outputs");
    let lines = [Output::Ready, Output::Pass, Output::Reject, Output::Fault];
    // In another order than the chip's: what is set at once must not depend on it.
    let pins = [5, 0, 6, 2];
    let mut wired: Vec<OutputLine> = lines
        .iter()
        .zip(pins)
        .map(|(line, offset)| chip.output(*line, offset))
        .collect();
    wired[3].active_low = true;
    let wires = || pins.map(|line| chip.wire(line));
    let mut outputs = ChardevOutputs::open(wired).expect("lines");
    // FAULT is on, and low.
    assert_eq!(wires(), [false, false, true, false]);
    for (line, offset) in lines.into_iter().zip(pins) {
        for on in [true, false, true] {
            outputs.set(line, on).expect("set");
            assert_eq!(chip.wire(offset), on != (line == Output::Fault), "{line:?}");
            assert_eq!(outputs.level(line).expect("level"), Some(on));
        }
    }
    outputs
        .set(Output::Busy, true)
        .expect("not wired, no matter");
    assert_eq!(wires(), [true, true, true, false]);
    let started = clock::now();
    for n in 0..1000 {
        outputs.set(Output::Ready, n % 2 == 0).expect("set");
    }
    println!("one set takes {:?}", clock::now().since(started) / 1000);
    outputs
        .set_all(&[
            (Output::Pass, false),
            (Output::Ready, true),
            (Output::Fault, false),
        ])
        .expect("set");
    assert_eq!(wires(), [true, false, true, true]);
    assert_eq!(outputs.level(Output::Fault).expect("level"), Some(false));
    assert_eq!(outputs.differs().expect("levels"), None);
    drop(outputs);
    // The driver decides what a released line shows: it keeps the last level, or returns to its
    // pull (gpio-sim since 6.1.192). Neither may let a part pass.
    let [ready, pass, reject, fault] = wires();
    println!("released: REJECT {reject}, FAULT's wire {fault}");
    assert!(!ready && !pass);
    let again = ChardevOutputs::open(vec![chip.output(Output::Reject, 7)]).expect("line");
    assert!(chip.wire(7), "on from the request itself");
    drop(again);
}

#[test]
#[ignore = "needs root and the kernel's gpio-sim"]
fn by_its_descriptors_another_process_sets_the_safe_state_also_when_the_first_is_gone() {
    let (one, two) = (Chip::new("one"), Chip::new("two"));
    let mut wired = vec![
        one.output(Output::Busy, 5),
        one.output(Output::Ready, 2),
        two.output(Output::Reject, 0),
        one.output(Output::Pass, 7),
        two.output(Output::Fault, 3),
    ];
    wired[1].active_low = true;
    let mut outputs = ChardevOutputs::open(wired).expect("lines");
    let shared = outputs.shared();
    assert_eq!(shared.len(), 2, "one request for each chip");
    let mut places = [None; Output::ALL.len()];
    let mut requests = Vec::new();
    for (request, lines) in (0..).zip(&shared) {
        let copy = lines.descriptor.try_clone_to_owned();
        requests.push(copy.expect("descriptor"));
        for (bit, line) in (0..).zip(&lines.lines) {
            places[*line as usize] = Some((request, bit));
        }
    }
    drop(shared);
    let mut safe = ChardevSafeOutputs::new(requests, places).expect("places");
    for (line, on) in [
        (Output::Ready, true),
        (Output::Pass, true),
        (Output::Busy, true),
        (Output::Reject, false),
        (Output::Fault, false),
    ] {
        outputs.set(line, on).expect("set");
    }
    let wires = || {
        (
            [2, 5, 7].map(|offset| one.wire(offset)),
            [0, 3].map(|offset| two.wire(offset)),
        )
    };
    assert_eq!(wires(), ([false, true, true], [false, false]));
    safe.set_safe(Output::Pass).expect("set");
    assert_eq!(wires(), ([false, true, false], [false, false]), "it alone");
    safe.set_safe(Output::Reject).expect("set");
    safe.set_safe(Output::Heartbeat)
        .expect("not wired, no matter");
    assert_eq!(wires(), ([false, true, false], [true, false]));
    // As when the process that requested them is killed: none of its code runs.
    std::mem::forget(outputs);
    safe.set_safe(Output::Ready).expect("set");
    let ready_alone = ([true, true, false], [true, false]);
    assert_eq!(wires(), ready_alone, "READY is active low");
    for line in [Output::Fault, Output::Busy] {
        safe.set_safe(line).expect("set");
    }
    assert_eq!(wires(), ([true, false, false], [true, true]));
}

#[test]
#[ignore = "needs root and the kernel's gpio-sim"]
fn outputs_survive_an_unplug_and_leave_other_chips_alone() {
    let (gone, stays) = (Chip::new("gone"), Chip::new("stays"));
    let mut outputs = ChardevOutputs::open(vec![
        gone.output(Output::Ready, 0),
        stays.output(Output::Heartbeat, 0),
    ])
    .expect("lines");
    outputs.set(Output::Ready, true).expect("set");
    outputs.set(Output::Heartbeat, true).expect("set");
    gone.plug(false);
    assert!(outputs.differs().is_err(), "nobody can tell");
    let error = outputs.set(Output::Ready, true).expect_err("gone");
    println!("{error}");
    assert!(error.to_string().contains("ready"), "{error}");
    assert!(outputs.failed());
    assert!(outputs.reopen().is_err(), "still away");
    outputs
        .set(Output::Heartbeat, false)
        .expect("the other chip");
    outputs
        .set(Output::Heartbeat, true)
        .expect("the other chip");
    gone.plug(true);
    outputs.reopen().expect("back");
    assert!(!outputs.failed());
    assert!(!gone.wire(0), "unattended again");
    assert!(stays.wire(0), "not touched");
    outputs.set(Output::Ready, true).expect("set");
    assert!(gone.wire(0));
}

#[test]
#[ignore = "needs root and the kernel's gpio-sim"]
fn lines_that_cannot_be_had_are_explained() {
    let chip = Chip::new("taken");
    let held = ChardevOutputs::open(vec![chip.output(Output::Ready, 3)]).expect("line");
    let error = ChardevInputs::open(vec![chip.input(Input::Trigger, 3)]).expect_err("held");
    println!("{error}");
    match &error {
        GpioError::Busy { offset, holder, .. } => {
            assert_eq!((*offset, holder.as_str()), (3, "partgate"));
        }
        other => panic!("{other:?}"),
    }
    let listed = chips().expect("chips");
    let report = listed
        .iter()
        .find(|c| c.label == "label-taken")
        .expect("the chip");
    assert_eq!(report.lines.len(), 8);
    let line = &report.lines[3];
    assert_eq!(
        (line.name.as_str(), line.consumer.as_str()),
        ("taken-3", "partgate")
    );
    assert!(line.used && line.output);
    assert!(!report.lines[4].used);
    drop(held);
    ChardevInputs::open(vec![chip.input(Input::Trigger, 3)]).expect("free again");

    let mut beyond = chip.output(Output::Ready, 8);
    let error = ChardevOutputs::open(vec![beyond.clone()]).expect_err("no line 8");
    assert!(error.to_string().contains("0 to 7"), "{error}");
    beyond.spec = "line nobody".parse().expect("spec");
    assert!(matches!(
        ChardevOutputs::open(vec![beyond]),
        Err(GpioError::NoSuchName { .. })
    ));
    let other = Chip::new("other");
    fs::write(other.device.join("live"), "0").expect("live");
    fs::write(other.device.join("bank0/line0/name"), "taken-0").expect("name");
    fs::write(other.device.join("bank0/label"), "label-taken").expect("label");
    other.plug(true);
    assert!(matches!(
        ChardevInputs::open(vec![chip.input(Input::Trigger, 0)]),
        Err(GpioError::AmbiguousName { .. })
    ));
    assert!(matches!(
        ChardevOutputs::open(vec![chip.output(Output::Ready, 0)]),
        Err(GpioError::AmbiguousChip { .. })
    ));
}

#[test]
#[ignore = "needs root and the kernel's gpio-sim"]
fn edges_and_outputs_take_no_memory() {
    let chip = Chip::new("memory");
    let mut noisy = chip.input(Input::Trigger, 0);
    noisy.debounce = Debounce::Program(Duration::from_millis(1));
    let mut inputs =
        ChardevInputs::open(vec![noisy, chip.input(Input::Encoder, 1)]).expect("lines");
    let mut outputs = ChardevOutputs::open(vec![chip.output(Output::Pass, 2)]).expect("line");
    for _ in 0..20 {
        chip.pulse(0);
        chip.pulse(1);
    }
    let mut edges = 0;
    let (count, ()) = allocations(|| {
        while let Some(edge) = inputs.wait(Duration::from_millis(5)).expect("the chip") {
            let level = edge.at.0 % 2 == 0;
            outputs.set(Output::Pass, level).expect("the chip");
            outputs
                .set_all(&[(Output::Pass, !level)])
                .expect("the chip");
            assert_eq!(outputs.differs().expect("the chip"), None);
            inputs.level(Input::Trigger).expect("the chip");
            edges += 1;
        }
    });
    println!("{edges} edges, {count} allocations");
    assert!(edges >= 20);
    assert_eq!(count, 0);
}
