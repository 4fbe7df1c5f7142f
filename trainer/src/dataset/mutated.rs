//! No table and no folder, however odd, makes the readers panic, hang or take more memory than stated
//! (tests/mutated_input.rs has the other readers, and what such mutations are).

#[path = "../../../tests/mutation/mod.rs"]
mod mutation;

use super::{Source, categories, list, saturation};
use mutation::{Target, run};
use partgate::seed::Rng;
use std::path::Path;
use std::time::Duration;

const MIB: usize = 1 << 20;

fn unsealed(_: &mut Vec<u8>, _: &mut Rng) {}

#[test]
fn lists_of_any_text() {
    let target = Target {
        name: "lists",
        seeds: [
            "path,label,mask,part\na.png,good,,train\n\"b, \"\"2\"\".png\",crack,m.png,test\n",
            "object,split,label,image,mask\ncandle,train,normal,candle/0.JPG,\n",
            "\u{feff}path;label\na.png;ok\n",
        ]
        .map(|text| text.as_bytes().to_vec())
        .to_vec(),
        words: &[
            b"\"",
            b"\"\"",
            b",",
            b";",
            b"\t",
            b"\n",
            b"\r\n",
            b"path",
            b"label",
            b"mask",
            b"part",
            b"split",
            b"train",
            b"test",
            b"good",
            b"../",
            b"\xef\xbb\xbf",
            b"\0",
        ],
        executions: 3000,
        most_bytes: 64 * MIB,
        longest: Duration::from_secs(5),
        foreign: &[],
    };
    run(&target, unsealed, |bytes| {
        let text = String::from_utf8_lossy(bytes);
        let _ = list::is_list(&text);
        list::parse(&text, Path::new("root")).is_ok()
    });
}

#[test]
fn saturation_thresholds_of_any_text() {
    let one = r#"[{"defect_name": "a", "pixel_value": 255, "saturation_threshold": 0.5, "relative_saturation": true}]"#;
    let target = Target {
        name: "saturation",
        seeds: vec![one.as_bytes().to_vec(), b"[]".to_vec()],
        words: &[
            b"{",
            b"}",
            b"[",
            b"]",
            b"1e999",
            b"-1",
            b"NaN",
            b"null",
            b"\"\\ud800\"",
            b":",
            b",",
        ],
        executions: 2000,
        most_bytes: 16 * MIB,
        longest: Duration::from_secs(5),
        foreign: &[],
    };
    run(&target, unsealed, |bytes| saturation::parse(bytes).is_ok());
}

/// Names that mean something to the recogniser, and some that do not.
const NAMES: [&str; 24] = [
    "train",
    "test",
    "test_public",
    "validation",
    "ground_truth",
    "good",
    "Good",
    "ok",
    "ng",
    "bad",
    "crack",
    "masks",
    "MT_Free",
    "MT_Crack",
    "Imgs",
    "Data",
    "Images",
    "Normal",
    "Masks",
    "split_csv",
    "candle",
    ".hidden",
    "__MACOSX",
    "x y",
];
const FILES: [&str; 10] = [
    "000.png",
    "000.jpg",
    "000.bmp",
    "000_mask.png",
    "001.png",
    "list.csv",
    "1cls.csv",
    "defects_config.json",
    "notes.txt",
    ".DS_Store",
];

/// A folder as bytes say it: each byte is a step down, a step up or a file.
fn make_tree(root: &Path, bytes: &[u8]) {
    let picture = {
        let mut bytes = std::io::Cursor::new(Vec::new());
        image::GrayImage::new(4, 4)
            .write_to(&mut bytes, image::ImageFormat::Png)
            .expect("encode");
        bytes.into_inner()
    };
    let mut at = root.to_path_buf();
    for &byte in bytes.iter().take(48) {
        let what = usize::from(byte);
        if what < 96 {
            if at
                .strip_prefix(root)
                .is_ok_and(|below| below.iter().count() < 5)
            {
                at.push(NAMES[what % NAMES.len()]);
                std::fs::create_dir_all(&at).expect("folder");
            }
        } else if what < 160 {
            if at != root {
                at.pop();
            }
        } else {
            let name = FILES[what % FILES.len()];
            let text: &[u8] = match name {
                "list.csv" | "1cls.csv" => {
                    b"object,part,label,path,mask\ncandle,test,normal,000.png,\ncandle,train,bad,001.png,000_mask.png\n"
                }
                "defects_config.json" => b"[]",
                _ => &picture,
            };
            std::fs::write(at.join(name), text).expect("write");
        }
    }
}

#[test]
fn folders_of_any_shape() {
    // Down 0..96, up 96..160, a file above: MVTec, Magnetic-Tile, VisA.
    let target = Target {
        name: "layouts",
        seeds: vec![
            vec![
                0, 5, 160, 100, 100, 1, 5, 164, 100, 10, 160, 100, 100, 4, 10, 163,
            ],
            vec![12, 14, 161, 160, 100, 100, 13, 14, 161, 160],
            vec![20, 15, 16, 17, 160, 164, 100, 100, 100, 100, 19, 166],
            vec![5, 160, 100, 8, 164, 100, 165],
        ],
        words: &[
            &[0, 5],
            &[1, 8],
            &[100, 100],
            &[165],
            &[19, 166],
            &[12, 14, 161],
        ],
        executions: 150,
        most_bytes: 64 * MIB,
        longest: Duration::from_secs(10),
        foreign: &[],
    };
    let folder = tempfile::tempdir().expect("folder");
    run(&target, unsealed, |bytes| {
        let root = folder.path().join("set");
        let _ = std::fs::remove_dir_all(&root);
        std::fs::create_dir_all(&root).expect("folder");
        make_tree(&root, bytes);
        let _ = categories(&root, None);
        let Ok(source) = Source::find(&root, None) else {
            return false;
        };
        let _ = (source.name(), source.check_divided());
        source.goods().is_ok() | source.tests().is_ok()
    });
}
