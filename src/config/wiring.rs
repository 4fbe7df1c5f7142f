//! `[lines]`: which input or output is on which pin. The names are those of the gate's inputs and
//! outputs.

use super::board::{Bias, Board, Drive, LineSpec};
use crate::line::devices::Input;
use crate::line::gate::Output;
use crate::settings::kind::{text, texts};
use crate::settings::{Absent, Document, Place, Problems, Section, Setting};

/// `[lines]`: which input or output is on which pin. Every one has a pin of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lines(Vec<(&'static str, LineSpec)>);

impl Lines {
    /// Names of the inputs, as in the file.
    pub(crate) const INPUTS: [&'static str; Input::ALL.len()] = {
        let mut names = [""; Input::ALL.len()];
        let mut at = 0;
        while at < names.len() {
            names[at] = Input::ALL[at].name();
            at += 1;
        }
        names
    };
    /// Names of the outputs, as in the file.
    pub const OUTPUTS: [&'static str; Output::ALL.len()] = {
        let mut names = [""; Output::ALL.len()];
        let mut at = 0;
        while at < names.len() {
            names[at] = Output::ALL[at].name();
            at += 1;
        }
        names
    };

    /// The pin of the input or output called `name` in the file; None if it is not wired.
    pub fn named(&self, name: &str) -> Option<&LineSpec> {
        let mut lines = self.0.iter();
        lines
            .find(|(known, _)| *known == name)
            .map(|(_, spec)| spec)
    }

    /// The pin of an input; None if it is not wired.
    pub fn input(&self, input: Input) -> Option<&LineSpec> {
        self.named(input.name())
    }

    /// The pin of an output; None if it is not wired.
    pub fn output(&self, output: Output) -> Option<&LineSpec> {
        self.named(output.name())
    }

    /// All wired inputs and outputs by name, inputs first.
    pub fn wired(&self) -> impl Iterator<Item = (&'static str, &LineSpec)> {
        self.0.iter().map(|(name, spec)| (*name, spec))
    }
}

/// `[lines]` as read.
pub(super) struct LinesRead {
    here: Place,
    /// Inputs, then outputs, by name.
    wired: Vec<(&'static str, Setting<String>)>,
    lists: [(Setting<Vec<String>>, List); 4],
}

/// A list of inputs or outputs that share a property.
#[derive(Clone, Copy)]
struct List {
    key: &'static str,
    allowed: &'static str,
    inputs: bool,
    outputs: bool,
    apply: fn(&mut LineSpec),
}

const LISTS: [List; 4] = [
    List {
        key: "active_low",
        allowed: "names of lines in this section",
        inputs: true,
        outputs: true,
        apply: |spec| spec.active_low = true,
    },
    List {
        key: "pull_up",
        allowed: "names of inputs in this section",
        inputs: true,
        outputs: false,
        apply: |spec| spec.bias = Bias::PullUp,
    },
    List {
        key: "pull_down",
        allowed: "names of inputs in this section",
        inputs: true,
        outputs: false,
        apply: |spec| spec.bias = Bias::PullDown,
    },
    List {
        key: "open_drain",
        allowed: "names of outputs in this section",
        inputs: false,
        outputs: true,
        apply: |spec| spec.drive = Drive::OpenDrain,
    },
];

impl LinesRead {
    pub(super) fn read(document: &mut Document, top: &mut Section<'_>) -> Self {
        let mut section = document.section(top, "lines");
        let s = &mut section;
        let forms = "\"pin N\", \"gpiochipN:OFFSET\", \"LABEL:OFFSET\", \"line NAME\" or a name of the board profile";
        let names = Lines::INPUTS.into_iter().chain(Lines::OUTPUTS);
        let absent = Absent::Leaves("not wired");
        let wired = names.map(|name| (name, document.setting(s, name, text(forms), absent)));
        let wired = wired.collect();
        let most = Lines::INPUTS.len() + Lines::OUTPUTS.len();
        let lists = LISTS.map(|list| {
            let kind = texts(list.allowed, most);
            let setting = document.setting(s, list.key, kind, Absent::Leaves("none"));
            (setting, list)
        });
        document.close(&section);
        Self {
            here: section.here(),
            wired,
            lists,
        }
    }

    /// The setting of an input.
    pub(super) fn input(&self, input: Input) -> &Setting<String> {
        &self.wired[input as usize].1
    }

    /// The setting of an output.
    pub(super) fn output(&self, output: Output) -> &Setting<String> {
        &self.wired[Input::ALL.len() + output as usize].1
    }

    /// The wiring on `board`, which is None if that is a problem already. Notes every pin that
    /// cannot be used as stated.
    pub(super) fn taken(&self, board: Option<&Board>, problems: &mut Problems) -> Lines {
        let mut found: Vec<(&'static str, LineSpec)> = Vec::new();
        for (name, setting) in &self.wired {
            let (Some(text), Some(line), Some(board)) = (&setting.value, setting.line, board)
            else {
                continue;
            };
            let spec = match board.line(text, Lines::OUTPUTS.contains(name)) {
                Ok(spec) => spec,
                Err(why) => {
                    problems.note(line, &setting.key, format!("{text:?}: {why}"));
                    continue;
                }
            };
            if let Some((other, _)) = found.iter().find(|(_, other)| other.same_wire(&spec)) {
                let message =
                    format!("{text:?} is wired to lines.{other} already; a pin has one meaning");
                problems.note(line, &setting.key, message);
            }
            found.push((name, spec));
        }
        self.apply(&mut found, problems);
        Lines(found)
    }

    /// Applies the lists to the pins.
    fn apply(&self, found: &mut [(&'static str, LineSpec)], problems: &mut Problems) {
        for (setting, list) in &self.lists {
            let usable = |name: &str| {
                list.inputs && Lines::INPUTS.contains(&name)
                    || list.outputs && Lines::OUTPUTS.contains(&name)
            };
            let given = self.wired.iter().filter(|(_, setting)| setting.given());
            let usable: Vec<&str> = given.map(|(name, _)| *name).filter(|n| usable(n)).collect();
            for name in setting.value.iter().flatten() {
                if !usable.contains(&&**name) {
                    let message = format!(
                        "{name:?} is not among the wired inputs and outputs that can be {}: {}",
                        list.key,
                        usable.join(", ")
                    );
                    let line = setting.line.unwrap_or(self.here.line);
                    problems.note(line, &setting.key, message);
                } else if let Some((_, spec)) = found.iter_mut().find(|(known, _)| known == name) {
                    if list.key == "pull_down" && spec.bias == Bias::PullUp {
                        let message = format!(
                            "{name:?} is in lines.pull_up too; a pull resistor has one direction"
                        );
                        let line = setting.line.unwrap_or(self.here.line);
                        problems.note(line, &setting.key, message);
                    }
                    (list.apply)(spec);
                }
            }
        }
    }
}
