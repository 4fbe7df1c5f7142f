//! Which of a camera's formats to use.

use super::fourcc;
use super::offer::{FormatOffer, RateOffer, SizeOffer, code};
use crate::frame::PixelFormat;

/// The order in which `auto` tries formats. Colour before grey, because a colour camera that also
/// offers grey would otherwise lose its colours unnoticed. Uncompressed before JPEG, whose
/// artefacts and decoding time a line can avoid. `Y16` comes late: cameras differ in the place of
/// their ten or twelve bits.
const ORDER: [PixelFormat; 6] = [
    PixelFormat::Rgb24,
    PixelFormat::Bgr24,
    PixelFormat::Yuyv,
    PixelFormat::Grey8,
    PixelFormat::Grey16,
    PixelFormat::Mjpeg,
];

/// Longest list of offers in an error, entries.
const LISTED: usize = 12;

/// The format for this size and rate: `wanted`, or the first of [`ORDER`] that the camera offers at
/// both. A size or rate that the driver does not enumerate counts as offered; the program reads
/// back what the driver grants.
///
/// # Errors
/// What the camera offers instead, in words.
pub(super) fn choose(
    offers: &[FormatOffer],
    (width, height): (usize, usize),
    fps: f64,
    wanted: Option<PixelFormat>,
) -> Result<PixelFormat, String> {
    let offered = |format: PixelFormat| {
        let code = fourcc(format)?;
        offers.iter().find(|offer| offer.fourcc == code)
    };
    let candidates: Vec<PixelFormat> = match wanted {
        Some(format) => vec![format],
        None => ORDER.to_vec(),
    };
    let known: Vec<(PixelFormat, &FormatOffer)> = candidates
        .iter()
        .filter_map(|&format| Some((format, offered(format)?)))
        .collect();
    if known.is_empty() {
        let wanted = match wanted.map(fourcc) {
            Some(Some(code_of)) => code(code_of),
            Some(None) => "image files".to_owned(),
            None => "GREY, Y16, YUYV, RGB3, BGR3 or MJPG".to_owned(),
        };
        let formats: Vec<String> = offers.iter().map(FormatOffer::code).collect();
        return Err(format!("no {wanted}; the camera offers {}", list(&formats)));
    }
    let mut at_this_size = Vec::new();
    for &(format, offer) in &known {
        if offer.sizes.is_empty() {
            return Ok(format);
        }
        let fits = |size: &&SizeOffer| size.width.holds(width) && size.height.holds(height);
        for size in offer.sizes.iter().filter(fits) {
            if size.rates.is_empty() || size.rates.iter().any(|rate| rate.holds(fps)) {
                return Ok(format);
            }
            at_this_size.push(format!("{} at {} fps", offer.code(), rates(&size.rates)));
        }
    }
    if at_this_size.is_empty() {
        let sizes: Vec<String> = known
            .iter()
            .flat_map(|(_, offer)| {
                let sizes = offer.sizes.iter();
                sizes.map(move |s| format!("{} {} x {}", offer.code(), s.width, s.height))
            })
            .collect();
        return Err(format!(
            "no pictures of {width} x {height}; the camera offers {}",
            list(&sizes)
        ));
    }
    Err(format!(
        "no {fps} frames per second at {width} x {height}; the camera offers {}",
        list(&at_this_size)
    ))
}

fn rates(rates: &[RateOffer]) -> String {
    let rates: Vec<String> = rates.iter().map(RateOffer::to_string).collect();
    list(&rates)
}

/// Comma-separated, cut after [`LISTED`] entries: some drivers have hundreds.
pub(super) fn list(entries: &[String]) -> String {
    if entries.is_empty() {
        return "nothing".to_owned();
    }
    let listed = entries[..entries.len().min(LISTED)].join(", ");
    match entries.len().saturating_sub(LISTED) {
        0 => listed,
        more => format!("{listed} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::offer::Steps;
    use super::*;

    fn offer(fourcc: &[u8; 4], sizes: &[(u32, u32, &[f64])]) -> FormatOffer {
        let sizes = sizes.iter().map(|&(width, height, rates)| SizeOffer {
            width: Steps::only(width),
            height: Steps::only(height),
            rates: rates
                .iter()
                .map(|&fps| RateOffer {
                    slowest: fps,
                    fastest: fps,
                })
                .collect(),
        });
        FormatOffer {
            fourcc: *fourcc,
            description: String::new(),
            sizes: sizes.collect(),
        }
    }

    /// A usual USB 2 camera: uncompressed frames are slow if they are large.
    fn webcam() -> Vec<FormatOffer> {
        vec![
            offer(b"MJPG", &[(1280, 720, &[30.0, 15.0]), (640, 480, &[30.0])]),
            offer(b"YUYV", &[(640, 480, &[30.0, 15.0]), (1280, 720, &[10.0])]),
            offer(b"H264", &[(1920, 1080, &[30.0])]),
        ]
    }

    #[test]
    fn plain_pictures_before_jpeg_unless_only_jpeg_is_fast_enough() {
        let auto = |size, fps| choose(&webcam(), size, fps, None);
        assert_eq!(auto((640, 480), 30.0), Ok(PixelFormat::Yuyv));
        assert_eq!(auto((1280, 720), 10.0), Ok(PixelFormat::Yuyv));
        assert_eq!(auto((1280, 720), 30.0), Ok(PixelFormat::Mjpeg));
    }

    #[test]
    fn colour_is_not_given_up_for_grey() {
        let offers = [
            offer(b"GREY", &[(640, 480, &[60.0])]),
            offer(b"RGB3", &[(640, 480, &[60.0])]),
        ];
        let auto = choose(&offers, (640, 480), 60.0, None);
        assert_eq!(auto, Ok(PixelFormat::Rgb24));
        assert_eq!(
            choose(&offers[..1], (640, 480), 60.0, None),
            Ok(PixelFormat::Grey8)
        );
    }

    #[test]
    fn a_refusal_names_what_there_is() {
        let refused =
            |size, fps, wanted| choose(&webcam(), size, fps, wanted).expect_err("granted");
        let error = refused((640, 480), 30.0, Some(PixelFormat::Grey8));
        assert!(
            error.contains("GREY") && error.contains("MJPG, YUYV, H264"),
            "{error}"
        );
        let error = refused((800, 600), 30.0, None);
        assert!(
            error.contains("800 x 600") && error.contains("YUYV 1280 x 720"),
            "{error}"
        );
        let error = refused((1280, 720), 60.0, None);
        assert!(
            error.contains("YUYV at 10 fps") && error.contains("MJPG at 30, 15 fps"),
            "{error}"
        );
        let error = refused((1280, 720), 30.0, Some(PixelFormat::Yuyv));
        assert!(
            error.contains("YUYV at 10 fps") && !error.contains("MJPG"),
            "{error}"
        );
        let error = choose(&[], (8, 8), 1.0, None).expect_err("granted");
        assert!(error.contains("offers nothing"), "{error}");
    }

    #[test]
    fn what_is_not_enumerated_is_tried() {
        let offers = [offer(b"YUYV", &[]), offer(b"MJPG", &[(8, 8, &[30.0])])];
        assert_eq!(choose(&offers, (64, 48), 5.0, None), Ok(PixelFormat::Yuyv));
        let offers = [offer(b"RGB3", &[(640, 480, &[])])];
        assert_eq!(
            choose(&offers, (640, 480), 77.0, None),
            Ok(PixelFormat::Rgb24)
        );
    }

    #[test]
    fn long_lists_are_cut() {
        let many: Vec<String> = (0..100).map(|i| i.to_string()).collect();
        assert!(list(&many).ends_with("11 and 88 more"));
    }
}
