//! Promise: the rooms of `src/` import in one direction, by the table in docs/architecture.md, and
//! modules have no circular imports. Tests may import any module.

#![allow(clippy::expect_used, clippy::panic)]

mod imports;

use imports::{Name, Program};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Which rooms each room may import.
type Table = BTreeMap<String, BTreeSet<String>>;

/// Head of the table.
const HEAD: &str = "| room | may import |";
/// A room inside another, with its own row.
const INNER: [&str; 2] = ["line", "gate"];

/// The room of a module; None for the crate's root, whose few constants every room may use.
fn room(module: &[String]) -> Option<String> {
    let inner = module.len() >= INNER.len() && module.iter().zip(INNER).all(|(a, b)| a == b);
    if inner {
        return Some(INNER.join("/"));
    }
    module.first().cloned()
}

/// Reads the rows under [`HEAD`]: names of rooms between backquotes, `nothing` if there are none.
fn table(text: &str) -> Table {
    let rows = text.lines().skip_while(|line| *line != HEAD).skip(2);
    let names = |cell: &str| -> BTreeSet<String> {
        cell.split('`')
            .skip(1)
            .step_by(2)
            .map(str::to_owned)
            .collect()
    };
    rows.take_while(|row| row.starts_with('|'))
        .map(|row| {
            let cells: Vec<&str> = row.split('|').collect();
            let [_, rooms, allowed, _] = cells[..] else {
                panic!("{row}: no two cells");
            };
            let room = names(rooms).pop_first().expect(row);
            let allowed = names(allowed);
            assert!(!allowed.is_empty() || allowed_none(row), "{row}");
            (room, allowed)
        })
        .collect()
}

fn allowed_none(row: &str) -> bool {
    row.trim_end_matches(['|', ' ']).ends_with("nothing")
}

/// Rooms without a row, and rows without a room.
fn unmatched(program: &Program, table: &Table) -> Vec<String> {
    let rooms: BTreeSet<String> = program.0.keys().filter_map(|name| room(name)).collect();
    let rows: BTreeSet<String> = table.keys().cloned().collect();
    let named: BTreeSet<String> = table.values().flatten().cloned().collect();
    let missing = rooms.difference(&rows).map(|r| format!("{r} has no row"));
    let gone = rows.union(&named).filter(|r| !rooms.contains(*r));
    missing
        .chain(gone.map(|r| format!("{r} is no room")))
        .collect()
}

/// Imports that the table forbids, each with its file and line.
fn forbidden(program: &Program, table: &Table) -> Vec<String> {
    let mut found = Vec::new();
    for (name, module) in &program.0 {
        let Some(from) = room(name) else {
            continue;
        };
        for import in &module.imports {
            // A constant of the crate's root belongs to no room.
            let known = import.path.first().is_some_and(|first| {
                let first = std::slice::from_ref(first);
                program.0.contains_key(first)
            });
            let Some(to) = room(&import.path).filter(|_| known) else {
                continue;
            };
            let may = |room: &str| table.get(&from).is_some_and(|row| row.contains(room));
            // A room that may import another may import the room inside it, and its own.
            let around = to.split('/').next().unwrap_or_default();
            if to != from && around != from && !may(&to) && !may(around) {
                found.push(format!(
                    "src/{}:{}: `{from}` may not import crate::{}",
                    module.file,
                    import.line,
                    import.path.join("::")
                ));
            }
        }
    }
    found
}

/// Which modules of one folder import which, each with everything in it; and where.
type Siblings = BTreeMap<Name, BTreeMap<Name, String>>;

/// Siblings of each folder.
fn siblings(program: &Program) -> BTreeMap<Name, Siblings> {
    let mut folders: BTreeMap<Name, Siblings> = BTreeMap::new();
    for (name, module) in &program.0 {
        for import in &module.imports {
            let home = program.home(&import.path);
            let common = name.iter().zip(&home).take_while(|(a, b)| a == b).count();
            // A module and its content count as one.
            if common == name.len() || common == home.len() {
                continue;
            }
            let place = format!("src/{}:{}", module.file, import.line);
            let folder = folders.entry(name[..common].to_vec()).or_default();
            let to = folder.entry(name[..=common].to_vec()).or_default();
            to.entry(home[..=common].to_vec()).or_insert(place);
        }
    }
    folders
}

/// A path of imports from `from` back to it, if there is one.
fn way_back(siblings: &Siblings, from: &Name) -> Option<Vec<String>> {
    let mut ways = vec![(from, Vec::new())];
    let mut seen = BTreeSet::new();
    while let Some((at, way)) = ways.pop() {
        for (to, place) in siblings.get(at).into_iter().flatten() {
            let mut longer = way.clone();
            longer.push(format!("{place}: crate::{}", to.join("::")));
            if to == from {
                return Some(longer);
            }
            if seen.insert(to) {
                ways.push((to, longer));
            }
        }
    }
    None
}

/// Circular imports, one for each folder that has any.
fn circles(program: &Program) -> Vec<String> {
    let folders = siblings(program);
    let mut found = Vec::new();
    for siblings in folders.values() {
        let circle = siblings.keys().find_map(|from| way_back(siblings, from));
        found.extend(circle.map(|way| way.join("\n  ")));
    }
    found
}

fn this_program() -> Program {
    let mut program = Program::default();
    program.add_folder(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    program
}

fn this_table() -> Table {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/architecture.md");
    table(&std::fs::read_to_string(path).expect("docs/architecture.md"))
}

fn none(problems: &[String]) {
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn every_room_has_a_row_and_every_row_a_room() {
    none(&unmatched(&this_program(), &this_table()));
}

#[test]
fn rooms_import_what_the_table_allows() {
    none(&forbidden(&this_program(), &this_table()));
}

#[test]
fn production_rooms_do_not_know_what_is_not_real() {
    for (room, allowed) in this_table() {
        assert!(room == "cli" || !allowed.contains("simulation"), "{room}");
    }
}

#[test]
fn nothing_imports_in_a_circle() {
    none(&circles(&this_program()));
}

/// An invented program.
fn program(files: &[(&str, &str)]) -> Program {
    let mut program = Program::default();
    for (file, text) in files {
        program.add(file, text);
    }
    program
}

const MADE_UP: &str = "Words.\n\n| room | may import |\n|---|---|\n| `line` | `frame` |\n| `line/gate` | nothing |\n| `frame` | nothing |\n\n| `other` | `table` |\n";

#[test]
fn a_forbidden_import_is_reported_with_its_place() {
    let program = program(&[
        (
            "lib.rs",
            "pub mod line; pub mod frame;\npub const VERSION: u8 = 1;",
        ),
        (
            "frame.rs",
            "use std::fs;\nuse crate::{VERSION, line::gate::Part};\n",
        ),
        (
            "line/mod.rs",
            "use crate::frame;\nuse gate::Part;\nmod gate;\n",
        ),
        (
            "line/gate.rs",
            "fn f<'a>(c: char, x: &'a str) -> bool {\n    c == '\"' && crate::line::sensor::on()\n}\n",
        ),
        (
            "line/sensor.rs",
            "use super::gate::{self, Part};\nuse super::super::frame::Frame as F;\n",
        ),
    ]);
    let table = table(MADE_UP);
    assert_eq!(
        forbidden(&program, &table),
        [
            "src/frame.rs:2: `frame` may not import crate::line::gate::Part",
            "src/line/gate.rs:2: `line/gate` may not import crate::line::sensor::on",
        ]
    );
    none(&unmatched(&program, &table));
}

#[test]
fn tests_comments_and_texts_import_nothing() {
    let program = program(&[
        (
            "frame.rs",
            "// use crate::line;\n/* /* nested */ crate::line::f(); */\nconst A: &str = \"crate::line::A\";\nconst B: &str = r#\"\"crate::line::B\"#;\n#[cfg(test)]\nuse crate::line::{C, D};\n#[cfg(test)]\n#[allow(unused)]\nmod tests {\n    use crate::line::*;\n    fn f() {}\n}\n",
        ),
        ("frame/tests.rs", "use crate::line;\n"),
        ("frame/tests/more.rs", "use crate::line;\n"),
        ("line.rs", ""),
    ]);
    none(&forbidden(&program, &table(MADE_UP)));
}

#[test]
fn imports_inside_modules_of_a_file_are_read_from_there() {
    let program = program(&[
        (
            "frame.rs",
            "mod inner {\n    use super::Frame;\n    fn f() { super::super::line::f() }\n}\nuse super::line::g;\n",
        ),
        ("line.rs", ""),
    ]);
    let places = forbidden(&program, &table(MADE_UP));
    assert_eq!(
        places,
        [
            "src/frame.rs:3: `frame` may not import crate::line::f",
            "src/frame.rs:5: `frame` may not import crate::line::g",
        ]
    );
}

#[test]
fn a_room_without_a_row_and_a_row_without_a_room_are_reported() {
    let program = program(&[("lib.rs", ""), ("line.rs", ""), ("station.rs", "")]);
    assert_eq!(
        unmatched(&program, &table(MADE_UP)),
        [
            "station has no row",
            "frame is no room",
            "line/gate is no room"
        ]
    );
}

#[test]
fn circles_are_found_between_rooms_and_between_files() {
    let rooms = program(&[
        ("a.rs", "use crate::b::B;"),
        ("b/mod.rs", ""),
        ("b/inner.rs", "\nfn f() { crate::c::f() }"),
        ("c.rs", "use crate::a;"),
    ]);
    let found = "src/a.rs:1: crate::b\n  src/b/inner.rs:2: crate::c\n  src/c.rs:1: crate::a";
    assert_eq!(circles(&rooms), [found]);
    // `super::Two` is a re-export of the folder from its file `two`.
    let files = [
        (
            "a/mod.rs",
            "mod one;\nmod two;\npub use two::Two;\npub struct Own;",
        ),
        ("a/one.rs", "use super::Two;"),
        ("a/two.rs", "use super::Own;"),
    ];
    none(&circles(&program(&files)));
    let mut files = files;
    files[2].1 = "use super::one::f;";
    let found = "src/a/one.rs:1: crate::a::two\n  src/a/two.rs:1: crate::a::one";
    assert_eq!(circles(&program(&files)), [found]);
}
