//! An operator marks a part: its picture is kept, and the log says who said so.

use super::{BY_EDGE, Finds, NO_ALARM, RENDERED, small_line};
use crate::command::{Ran, program};
use crate::line::Plant;

fn mark(plant: &Plant, words: &[&str]) -> Ran {
    let mut command = program(&[&["tell", "line.toml"], words].concat());
    let output = command.current_dir(plant.folder.path()).output();
    output.expect("the program runs").into()
}

#[test]
fn a_marked_part_keeps_its_picture() {
    let plant = small_line(Finds::Unknown, RENDERED, BY_EDGE, NO_ALARM);
    let running = plant.start();
    running.await_clear();
    super::run_parts(&running, 2);
    let why = ["--by", "anna", "--reason", "only dust"];
    let answer = mark(&plant, &[&["mark", "1", "defect"], &why[..]].concat());
    let first = answer.exits(0).json();
    let image = first["image"].as_str().expect("a path").to_owned();
    assert!(image.starts_with("marked/defect/"), "{image}");
    let kept = |image: &str| plant.at("record").join(image);
    assert!(image::open(kept(&image)).is_ok(), "{image}");
    // Said again otherwise, it changes its place.
    let answer = mark(&plant, &[&["mark", "1", "good"], &why[..]].concat());
    let second = answer.exits(0).json();
    let good = second["image"].as_str().expect("a path").to_owned();
    assert!(good.starts_with("marked/good/"), "{good}");
    assert!(kept(&good).exists() && !kept(&image).exists());
    // It outlives the picture of the record.
    std::fs::remove_dir_all(plant.at("record/images")).expect("remove");
    assert!(image::open(kept(&good)).is_ok());
    mark(&plant, &["mark", "99", "good"])
        .exits(1)
        .tells("no picture of part 99");
    mark(&plant, &["mark", "1"]).exits(3).tells("which part");
    mark(&plant, &["status", "1"])
        .exits(3)
        .tells("only `trigger`");
    mark(&plant, &["trigger", "--by", "anna"])
        .exits(3)
        .tells("only `trigger`");
    running.stop();
    let log = plant.log();
    let marked: Vec<_> = log.iter().filter(|e| e["event"] == "marked").collect();
    assert_eq!(marked.len(), 2);
    assert_eq!(marked[1]["subject"], "part 1");
    let detail = marked[1]["detail"].as_str().expect("said");
    assert!(
        detail.contains(&good) && detail.ends_with("anna: only dust"),
        "{detail}"
    );
}
