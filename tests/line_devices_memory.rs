//! Promise: in steady state edges, outputs and kicks allocate no memory. (tests/gpio_sim.rs has the
//! same for the character device.)

#![allow(clippy::expect_used)]

mod counting;

use counting::allocations;
use partgate::clock;
use partgate::line::devices::{Input, Inputs, Outputs};
use partgate::line::gate::Output;
use partgate::simulation::faults::{FaultyInputs, InputFaults, Kind, Shares};
use partgate::simulation::lines::{
    SimulatedInputs, SimulatedOutputs, TextInputs, TextOutputs, TextSafeOutputs,
};
use partgate::station::keepalive::Keepalive;
use partgate::station::{Handover, LinkedOutputs, VisionEnd, link_pair};
use partgate::time::{Duration, Instant};
use rustix::net::{RecvFlags, recv};
use std::os::unix::net::UnixDatagram;

const NOW: Duration = Duration::ZERO;

#[test]
fn the_counter_counts() {
    let (count, _) = allocations(|| std::hint::black_box(vec![1u8; 100]));
    assert_eq!(count, 1);
    let (count, sum) = allocations(|| std::hint::black_box(1) + 1);
    assert_eq!((count, sum), (0, 2));
}

#[test]
fn simulated_edges_and_outputs_take_none() {
    let (mut inputs, mut feed) = SimulatedInputs::new(64).expect("inputs");
    let (mut outputs, mut view) = SimulatedOutputs::new(64).expect("outputs");
    let (count, ()) = allocations(|| {
        for n in 0..1000u64 {
            feed.edge(Input::Trigger, Instant(n));
            let edge = inputs.wait(NOW).expect("plugged").expect("an edge");
            outputs
                .set(Output::Pass, edge.at.0 % 2 == 0)
                .expect("plugged");
            assert!(view.next().is_some());
            assert!(inputs.wait(NOW).expect("plugged").is_none());
        }
    });
    assert_eq!(count, 0);
}

#[test]
fn injected_faults_take_none() {
    let (inner, mut feed) = SimulatedInputs::new(64).expect("inputs");
    let faults = InputFaults {
        shares: Shares::NONE
            .with(Kind::Bounce, 0.5)
            .with(Kind::DoubleTrigger, 0.5)
            .with(Kind::LostTrigger, 0.1),
        bounce_within: Duration::from_micros(50),
        duplicate_within: Duration::from_micros(100),
        ..InputFaults::default()
    };
    let mut inputs = FaultyInputs::new(inner, faults, 1).expect("faults");
    let (count, ()) = allocations(|| {
        for _ in 0..200 {
            feed.edge_now(Input::Trigger);
            while inputs
                .wait(Duration::from_micros(200))
                .expect("plugged")
                .is_some()
            {}
        }
    });
    let injected = inputs.injected();
    assert!(injected.of(Kind::Bounce) > 0 && injected.of(Kind::DoubleTrigger) > 0);
    assert_eq!(count, 0);
}

#[test]
fn text_devices_take_none() {
    let folder = tempfile::tempdir().expect("folder");
    let (to, from) = (folder.path().join("outputs"), folder.path().join("inputs"));
    let plant = UnixDatagram::bind(&to).expect("socket");
    let mut outputs = TextOutputs::open(&to, &Output::ALL).expect("outputs");
    let mut inputs = TextInputs::listen(&from).expect("inputs");
    let sender = UnixDatagram::unbound().expect("socket");
    sender.connect(&from).expect("listening");
    let mut datagram = [0u8; 64];
    for _ in Output::ALL {
        plant.recv(&mut datagram).expect("the start");
    }
    let (count, ()) = allocations(|| {
        for n in 0..200 {
            outputs
                .set(Output::Busy, n % 2 == 0)
                .expect("the plant reads");
            plant.recv(&mut datagram).expect("a change");
            sender.send(b"17 trigger").expect("listening");
            assert!(inputs.wait(NOW).expect("an edge").is_some());
        }
    });
    assert_eq!(count, 0);
}

#[test]
fn kicks_take_none() {
    let folder = tempfile::tempdir().expect("folder");
    let (socket, device) = (folder.path().join("notify"), folder.path().join("watchdog"));
    let systemd = UnixDatagram::bind(&socket).expect("socket");
    std::fs::write(&device, "").expect("file");
    let variable = |name: &str| match name {
        "NOTIFY_SOCKET" => Some(socket.clone().into_os_string()),
        "WATCHDOG_USEC" => Some("4000000".into()),
        _ => None,
    };
    let mut alive = Keepalive::with(variable, Some(&device)).expect("watchers");
    let mut datagram = [0u8; 64];
    let (count, ()) = allocations(|| {
        for second in 0..100 {
            alive
                .kick(Instant::from_millis(second * 1000))
                .expect("kicked");
            systemd.recv(&mut datagram).expect("a kick");
        }
    });
    assert_eq!(count, 0);
    assert_eq!(std::fs::read(&device).expect("file").len(), 100);
}

#[test]
fn outputs_of_another_process_and_switching_them_off_take_none() {
    let folder = tempfile::tempdir().expect("folder");
    let (supervisor, theirs) = link_pair().expect("sockets");
    supervisor
        .hand_over(&Handover::default(), &[])
        .expect("handed over");
    let (end, _, _) = VisionEnd::new(theirs).expect("given");
    let safe = TextSafeOutputs::open(&folder.path().join("plant"), &Output::ALL).expect("plant");
    let mut outputs = LinkedOutputs::new(end, Duration(1), Box::new(safe));
    let mut received = 0;
    let (count, overdue) = allocations(|| {
        let mut overdue = 0;
        for n in 0..1000u64 {
            let until = Some(clock::now().after(Duration(1_000_000)));
            outputs
                .set_until(Output::Pass, n % 2 == 0, until)
                .expect("sent");
            outputs.set(Output::Fault, true).expect("sent");
            outputs.alive().expect("sent");
            let holding = outputs.holding(clock::now().after(Duration(2_000_000)));
            overdue += u32::from(holding.expect("open").overdue);
            let mut message = [0; 64];
            while recv(&supervisor, &mut message[..], RecvFlags::DONTWAIT).is_ok() {
                received += 1;
            }
        }
        overdue
    });
    assert_eq!((received, overdue), (3000, 1000));
    assert_eq!(count, 0);
}
