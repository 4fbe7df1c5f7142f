//! Which layers run as one step.

use super::description::{Description, Operation, Value};

/// What starts a step, as layer numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A convolution that is not depthwise.
    Dense(usize),
    /// A depthwise convolution, with the one that makes its input and the 1 x 1 behind it.
    Block {
        expand: Option<usize>,
        depthwise: usize,
        project: Option<usize>,
    },
    Add(usize),
    MaxPool(usize),
}

/// Layers that run as one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fused {
    pub(super) kind: Kind,
    /// An addition at the end, and its other operand.
    pub(super) addition: Option<(usize, Value)>,
    /// The layer whose value comes out.
    pub(super) last: usize,
}

struct Uses<'a> {
    description: &'a Description,
    /// For each value the layers that take it; an exit counts as a layer that is none.
    users: Vec<Vec<usize>>,
    claimed: Vec<bool>,
}

impl Uses<'_> {
    /// The layer that takes `value`, when nothing else does.
    fn only_user(&self, value: Value) -> Option<usize> {
        match self.users[value][..] {
            [layer] if layer < self.claimed.len() && !self.claimed[layer] => Some(layer),
            _ => None,
        }
    }

    /// The layer that makes `value` for nobody but `user`.
    fn only_maker(&self, value: Value, user: usize) -> Option<usize> {
        let layer = value.checked_sub(1)?;
        (!self.claimed[layer] && self.users[value] == [user]).then_some(layer)
    }

    fn addition_behind(&mut self, layer: usize) -> Option<(usize, Value)> {
        let user = self.only_user(layer + 1)?;
        let Operation::Add { left, right } = self.description.layers[user].operation else {
            return None;
        };
        self.claimed[user] = true;
        Some((user, if left == layer + 1 { right } else { left }))
    }
}

/// The steps of a network, in an order in which they can run.
pub(super) fn fuse(description: &Description) -> Vec<Fused> {
    let layers = &description.layers;
    let mut users = vec![Vec::new(); layers.len() + 1];
    for (number, layer) in layers.iter().enumerate() {
        for value in layer.operation.inputs().into_iter().flatten() {
            users[value].push(number);
        }
    }
    for exit in &description.exits {
        users[exit.value].push(usize::MAX);
    }
    let mut uses = Uses {
        description,
        users,
        claimed: vec![false; layers.len()],
    };
    let mut steps = Vec::new();
    let mut push = |uses: &mut Uses<'_>, kind, end: usize| {
        let addition = uses.addition_behind(end);
        steps.push(Fused {
            kind,
            addition,
            last: addition.map_or(end, |(layer, _)| layer),
        });
    };
    for (number, layer) in layers.iter().enumerate() {
        let Operation::Convolution(c) = &layer.operation else {
            continue;
        };
        if !c.is_depthwise() {
            continue;
        }
        let is = |layer: usize, what: fn(&super::description::Convolution) -> bool| matches!(&layers[layer].operation, Operation::Convolution(c) if what(c));
        let expand = uses
            .only_maker(c.input, number)
            .filter(|&l| is(l, |c| c.groups == 1));
        let project = uses
            .only_user(number + 1)
            .filter(|&l| is(l, |c| c.is_pointwise()));
        for layer in [expand, Some(number), project].into_iter().flatten() {
            uses.claimed[layer] = true;
        }
        let kind = Kind::Block {
            expand,
            depthwise: number,
            project,
        };
        push(&mut uses, kind, project.unwrap_or(number));
    }
    for (number, layer) in layers.iter().enumerate() {
        if matches!(layer.operation, Operation::Convolution(_)) && !uses.claimed[number] {
            uses.claimed[number] = true;
            push(&mut uses, Kind::Dense(number), number);
        }
    }
    for (number, layer) in layers.iter().enumerate() {
        if uses.claimed[number] {
            continue;
        }
        let kind = match layer.operation {
            Operation::Add { .. } => Kind::Add(number),
            Operation::MaxPool { .. } => Kind::MaxPool(number),
            // The loop above took every convolution.
            Operation::Convolution(_) => continue,
        };
        steps.push(Fused {
            kind,
            addition: None,
            last: number,
        });
    }
    steps.sort_by_key(|s| s.last);
    steps
}
