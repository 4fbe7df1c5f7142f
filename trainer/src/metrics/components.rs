//! Connected components of a mask.

/// A pixel of a ground-truth mask.
pub(crate) trait MaskPixel: Copy {
    /// Whether the pixel belongs to a defect.
    fn is_defect(self) -> bool;
}

impl MaskPixel for bool {
    fn is_defect(self) -> bool {
        self
    }
}

impl MaskPixel for u8 {
    /// Anything but 0: mask files use 1 as well as 255.
    fn is_defect(self) -> bool {
        self != 0
    }
}

/// The 8-connected components of one mask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Components {
    /// Per pixel: 0 outside every component, otherwise 1 + its index, numbered by first pixel.
    pub(crate) labels: Vec<u32>,
    /// Pixels of each component.
    pub(crate) areas: Vec<u32>,
}

/// The root of a label. Path halving keeps the trees flat without recursion.
fn root(parents: &mut [u32], mut label: u32) -> u32 {
    while parents[label as usize] != label {
        let grandparent = parents[parents[label as usize] as usize];
        parents[label as usize] = grandparent;
        label = grandparent;
    }
    label
}

/// Labels the 8-connected components of a mask (two passes with union-find; Rosenfeld and Pfaltz
/// 1966). `mask` is row-major and holds whole rows of `width`; an unfinished last row is labelled
/// like any other. At most `u32::MAX - 1` pixels.
pub(crate) fn connected_components<M: MaskPixel>(mask: &[M], width: usize) -> Components {
    // A width of 0 can only belong to an empty mask.
    let width = width.max(1);
    let mut labels = vec![0u32; mask.len()];
    // parents[0] stands for "no component"; a root is its own parent and always the smallest
    // label of its tree, hence the one that was given out first.
    let mut parents = vec![0u32];
    for (index, _) in mask.iter().enumerate().filter(|(_, m)| m.is_defect()) {
        let column = index % width;
        let mut label = 0;
        let left = (column > 0).then(|| index - 1);
        let above = index.checked_sub(width);
        let above_left = above.filter(|_| column > 0).map(|a| a - 1);
        let above_right = above.filter(|_| column + 1 < width).map(|a| a + 1);
        for neighbour in [left, above_left, above, above_right].into_iter().flatten() {
            if labels[neighbour] == 0 {
                continue;
            }
            let other = root(&mut parents, labels[neighbour]);
            if label == 0 {
                label = other;
            } else if label != other {
                let (low, high) = (label.min(other), label.max(other));
                parents[high as usize] = low;
                label = low;
            }
        }
        if label == 0 {
            label = parents.len() as u32;
            parents.push(label);
        }
        labels[index] = label;
    }
    // Second pass: provisional labels become dense numbers. A root precedes its children.
    let mut dense = vec![0u32; parents.len()];
    let mut areas = Vec::new();
    for label in labels.iter_mut().filter(|l| **l != 0) {
        let top = root(&mut parents, *label) as usize;
        if dense[top] == 0 {
            areas.push(0);
            dense[top] = areas.len() as u32;
        }
        *label = dense[top];
        areas[*label as usize - 1] += 1;
    }
    Components { labels, areas }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Flood fill with an explicit stack, pixel by pixel.
    fn flood(mask: &[bool], width: usize) -> Components {
        let height = mask.len() / width;
        let mut labels = vec![0u32; mask.len()];
        let mut areas = Vec::new();
        for start in 0..mask.len() {
            if !mask[start] || labels[start] != 0 {
                continue;
            }
            areas.push(0);
            let label = areas.len() as u32;
            let mut stack = vec![start];
            labels[start] = label;
            while let Some(index) = stack.pop() {
                *areas.last_mut().unwrap() += 1;
                let (r, c) = ((index / width) as i64, (index % width) as i64);
                for (dr, dc) in (-1..=1).flat_map(|a| (-1..=1).map(move |b| (a, b))) {
                    let (nr, nc) = (r + dr, c + dc);
                    if nr < 0 || nc < 0 || nr >= height as i64 || nc >= width as i64 {
                        continue;
                    }
                    let next = nr as usize * width + nc as usize;
                    if mask[next] && labels[next] == 0 {
                        labels[next] = label;
                        stack.push(next);
                    }
                }
            }
        }
        Components { labels, areas }
    }

    proptest! {
        #[test]
        fn agrees_with_flood_fill(
            width in 1usize..14, height in 0usize..14, seed in any::<u64>(), share in 1u64..10
        ) {
            let mut rng = partgate::seed::Rng::new(seed);
            let mask: Vec<bool> =
                (0..width * height).map(|_| rng.below(10) < share as usize).collect();
            prop_assert_eq!(connected_components(&mask, width), flood(&mask, width));
        }
    }

    #[test]
    fn diagonals_join_and_row_ends_do_not() {
        // Pixel 2 (end of row 0) and pixel 3 (start of row 1) are neighbours in memory only.
        let joined = connected_components(&[0u8, 0, 255, 1, 0, 0, 0, 9, 0], 3);
        assert_eq!(joined.labels, [0, 0, 1, 2, 0, 0, 0, 2, 0]);
        assert_eq!(joined.areas, [1, 2]);
        assert!(connected_components::<bool>(&[], 0).areas.is_empty());
    }

    #[test]
    fn a_spiral_of_a_million_pixels_is_one_component() {
        // Comb: teeth that meet only in the last row force long chains of unions.
        let width = 1000;
        let mask: Vec<bool> = (0..width * width)
            .map(|i| (i % width) % 2 == 0 || i / width == width - 1)
            .collect();
        let comb = connected_components(&mask, width);
        assert_eq!(comb.areas, [500_500]);
    }
}
