//! What happens to the input before it is rounded.

use super::{Entry, Outcome, Reader, Thing, longs, reals, sizes};
use tract_onnx::pb;

impl<'a> Reader<'a> {
    /// The input, as far as it was only moved.
    fn unchanged(&self, node: &'a pb::NodeProto) -> Result<Entry, String> {
        match self.thing(node, 0)? {
            Thing::Entry(entry) if entry.is_plain() => Ok(*entry),
            _ => Err("takes something else than the input as it is".into()),
        }
    }

    pub(super) fn moved(&self, node: &'a pb::NodeProto) -> Outcome {
        let mut entry = self.unchanged(node)?;
        if entry.channels_last || sizes(node, "perm")? != Some([0, 3, 1, 2]) {
            return Err("moves something else than the input's channels to the front".into());
        }
        entry.channels_last = true;
        Ok(Thing::Entry(Box::new(entry)))
    }

    /// A number per channel, of a constant `[1, channels, 1, 1]`.
    fn by_channel(&self, node: &'a pb::NodeProto) -> Result<Vec<f32>, String> {
        let constant = self.constant(node, 1);
        let tensor = constant.filter(|t| matches!(t.dims[..], [1, _, 1, 1]));
        tensor
            .and_then(reals)
            .ok_or_else(|| "input 1 is no constant with a number per channel".into())
    }

    pub(super) fn shifted(&self, node: &'a pb::NodeProto) -> Outcome {
        let mut entry = self.unchanged(node)?;
        entry.shift = self.by_channel(node)?;
        Ok(Thing::Entry(Box::new(entry)))
    }

    pub(super) fn scaled(&self, node: &'a pb::NodeProto) -> Outcome {
        let Thing::Entry(mut entry) = self.thing(node, 0)? else {
            return Err("multiplies something else than the input".into());
        };
        let limits = [entry.low, entry.high];
        if !entry.gain.is_empty() || limits != [f32::NEG_INFINITY, f32::INFINITY] {
            return Err("multiplies the input a second time, or after its limits".into());
        }
        entry.gain = self.by_channel(node)?;
        Ok(Thing::Entry(entry))
    }

    pub(super) fn channel(&self, node: &'a pb::NodeProto) -> Outcome {
        if !self.unchanged(node)?.channels_last {
            return Err("takes a part of the input".into());
        }
        let number = |index| match self.constant(node, index).and_then(longs)?[..] {
            [one] => Some(one),
            _ => None,
        };
        let step = node.input.get(4).map_or(Some(1), |_| number(4));
        match (number(1), number(2), number(3), step) {
            (Some(start), Some(end), Some(1), Some(1)) if end.checked_sub(1) == Some(start) => {
                let start = usize::try_from(start).map_err(|e| e.to_string())?;
                Ok(Thing::Channel(start))
            }
            _ => Err("takes something else than one channel".into()),
        }
    }
}
