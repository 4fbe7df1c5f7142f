//! Inspects one image with a product bundle, and prints score and verdict.
//!
//! ```console
//! $ cargo run --example inspect_image -- lid.pgp photo.png
//! ```

use partgate::frame::file::read_picture;
use partgate::inspection::Inspector;
use partgate::network::Threads;
use partgate::product::Product;
use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, bundle, image] = arguments.as_slice() else {
        return Err("usage: inspect_image BUNDLE.pgp IMAGE".into());
    };

    // `open` checks every byte of the bundle.
    let product = Product::open(Path::new(bundle))?;
    // Scores do not depend on the number of threads.
    let mut inspector = Inspector::new(&product, &Threads::new(2)?)?;

    let picture = read_picture(Path::new(image), product.reading())?;
    let said = picture.said();
    let frame = picture.frame;
    // Another aspect, depth or orientation than the pictures of the fit.
    product.check_picture(&frame, said)?;
    let inspection = inspector.inspect(&frame)?;
    let thresholds = inspector.thresholds();
    println!(
        "score {:.3}, verdict {} (UNKNOWN above {:.3}, NG above {:.3}), {:.1} ms",
        inspection.score,
        inspection.verdict,
        thresholds.unknown.threshold,
        thresholds.ng.threshold,
        inspection.total().as_secs_f64() * 1e3
    );

    // The map shows where: `height * width` scores, row by row.
    let width = inspector.size().width;
    let map = inspector.map();
    let strangest = (0..map.len()).max_by(|&a, &b| map[a].total_cmp(&map[b]));
    if let Some(at) = strangest {
        println!("strangest at x {}, y {}", at % width, at / width);
    }
    Ok(())
}
