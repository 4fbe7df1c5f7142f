//! Inputs larger than the usual ones, for large pictures: `--size auto` tries one after the other for
//! as long as it brings something.

use super::aspect;
use partgate::backbone::{InputGeometry, Rect};
use partgate::size::Size;

/// Sides of squares with as many pixels as the larger inputs, which keep the aspect of the region.
const LARGER: [usize; 5] = [768, 1024, 1536, 2048, 3072];
/// The region's own pixels are tried if they are so many times those of the input before.
const WORTH_A_STEP: f64 = 1.25;
/// Longest side of an input, pixels.
const LONGEST: usize = 4096;

/// The inputs above `below` pixels for a region of `size` pixels, ascending: none has more pixels than the
/// region, and the last one is as large as the region.
pub(crate) fn larger_inputs(
    roi: Option<Rect>,
    size: Size,
    below: usize,
    multiple_of: usize,
) -> Vec<InputGeometry> {
    let whole = |side: usize| (side / multiple_of * multiple_of).clamp(multiple_of, LONGEST);
    let own = size.map(whole);
    let mut sizes: Vec<Size> = LARGER
        .into_iter()
        .filter(|side| side * side > below && side * side < own.area())
        .filter_map(|side| aspect::sized(size, side, multiple_of).ok())
        .filter(|input| input.width <= own.width && input.height <= own.height)
        .collect();
    while sizes
        .last()
        .is_some_and(|last| (own.area() as f64) < WORTH_A_STEP * last.area() as f64)
    {
        sizes.pop();
    }
    if own.area() as f64 >= WORTH_A_STEP * below as f64 {
        sizes.push(own);
    }
    sizes
        .into_iter()
        .map(|size| InputGeometry::whole(roi, size))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn larger_inputs_go_up_to_the_pixels_of_the_camera() {
        let below = 512 * 512;
        let of = |width, height| {
            let inputs = larger_inputs(None, Size::new(width, height), below, 32);
            inputs.into_iter().map(|i| i.size()).collect::<Vec<_>>()
        };
        assert!(of(512, 512).is_empty() && of(640, 480).is_empty());
        assert_eq!(of(768, 576), [Size::new(768, 576)]);
        let found = of(1600, 1200);
        assert_eq!(found.last(), Some(&Size::new(1600, 1184)));
        assert_eq!(found.len(), 3, "{found:?}");
        // Five megapixels.
        let found = of(2448, 2048);
        assert_eq!(found.last(), Some(&Size::new(2432, 2048)));
        let areas: Vec<usize> = found.iter().map(|size| size.area()).collect();
        assert!(areas.is_sorted() && areas.len() == 4, "{found:?}");
        // More than an input may have.
        assert_eq!(of(5472, 3648).last(), Some(&Size::new(4096, 3648)));
    }
}
