//! Hostile files: cut off at every byte, and model files whose numbers are broken. Nothing panics, nothing takes long, and
//! nothing that is not whole passes for whole.

mod common;

use std::io::Cursor;
use std::time::{Duration, Instant};

use common::{fixture_path, model_file, tensors, wait};
use grnet::ErrorKind;
use grnet::detector::{Detector, DeviceChoice, PrepareConfig, prepare};
use grnet::model::{FalseAlarms, ModelFile, ModelMeta, Precision, UntouchedOutcomes, file};
use grnet::picture::face::Finder;
use grnet::picture::{Limits, decode_damaged, provenance};
use grnet::report::{Band, Reason, evidence};
use image::{DynamicImage, ImageFormat, RgbaImage};

/// What the reading of one small file may take; a hundred times what it takes.
const LONGEST: Duration = Duration::from_secs(2);

/// Small files of every format, some in several of its kinds.
fn small_files() -> Vec<(String, Vec<u8>)> {
    let rgba =
        RgbaImage::from_fn(21, 13, |x, y| image::Rgba([(x * 12) as u8, (y * 19) as u8, (x * y) as u8, 255 - x as u8]));
    let rgba = DynamicImage::ImageRgba8(rgba);
    let rgb = DynamicImage::ImageRgb8(rgba.to_rgb8());
    let encode = |picture: &DynamicImage, format| {
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, format).expect("a test picture can be encoded");
        bytes.into_inner()
    };
    let mut files = vec![
        ("jpeg".to_string(), encode(&rgb, ImageFormat::Jpeg)),
        ("png".to_string(), encode(&rgb, ImageFormat::Png)),
        ("png with alpha".to_string(), encode(&rgba, ImageFormat::Png)),
        ("webp".to_string(), encode(&rgba, ImageFormat::WebP)),
        ("gif".to_string(), encode(&rgba, ImageFormat::Gif)),
        ("bmp".to_string(), encode(&rgb, ImageFormat::Bmp)),
        ("bmp with alpha".to_string(), encode(&rgba, ImageFormat::Bmp)),
    ];
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");
    for name in ["cmyk.jpg", "jpeg/420-progressive.jpg", "jpeg/420-restarts.jpg", "jpeg/411-backwards.jpg"] {
        files.push((name.to_string(), std::fs::read(format!("{golden}/{name}")).expect("a golden file")));
    }
    files
}

#[test]
fn a_picture_cut_at_any_byte_is_refused_or_says_what_is_missing() {
    for (name, bytes) in small_files() {
        let whole = decode_damaged(&bytes, &Limits::default()).expect("the whole file is read");
        assert!(whole.damage.is_none() && whole.notes.is_empty(), "{name}");
        let (mut refused, mut damaged, mut complete) = (0, 0, 0);
        for length in 0..bytes.len() {
            let started = Instant::now();
            match decode_damaged(&bytes[..length], &Limits::default()) {
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::BadImage, "{name} cut at {length}");
                    refused += 1;
                }
                Ok(photo) => match photo.damage {
                    Some(damage) => {
                        assert!((0.0..1.0).contains(&damage.present), "{name} cut at {length}: {damage:?}");
                        damaged += 1;
                    }
                    // Only the end mark, or what nobody needs, is missing.
                    None => {
                        assert!(photo.pixels == whole.pixels, "{name} cut at {length} passes for whole");
                        complete += 1;
                    }
                },
            }
            assert!(started.elapsed() < LONGEST, "{name} cut at {length} took {:?}", started.elapsed());
        }
        assert!(
            refused > 0 && complete < bytes.len() / 2,
            "{name}: {refused} refused, {damaged} damaged, {complete} complete"
        );
    }
}

#[test]
fn what_a_cut_file_says_about_itself_is_what_the_whole_one_says() {
    for (name, bytes) in small_files() {
        let whole = provenance::read(&bytes).marks;
        for length in 0..bytes.len() {
            let marks = provenance::read(&bytes[..length]).marks;
            assert!(marks.iter().all(|mark| whole.contains(mark)), "{name} cut at {length}: {marks:?}");
        }
    }
}

#[test]
fn a_photo_with_a_face_that_is_cut_has_no_verdict_on_the_face_that_is_missing() {
    let bytes = include_bytes!("pictures/astronaut.jpg");
    let config = PrepareConfig::new(64, 1.3);
    let mut finder = Finder::new().expect("the built-in weights");
    let whole = prepare("a", bytes, &mut finder, &config);
    assert_eq!(whole.crops.iter().flatten().count(), 1, "the picture shows a face");
    for share in 0..20 {
        let cut = prepare("a", &bytes[..bytes.len() * share / 20], &mut finder, &config);
        assert_eq!(cut.report.band, Band::NotAssessed);
        let told = matches!(cut.report.reason, Some(Reason::Unreadable)) || cut.report.file.present.is_some();
        assert!(told, "cut at {share} twentieths: {:?}", cut.report.reason);
        for (face, crop) in cut.report.faces.iter().zip(&cut.crops) {
            // Whatever is to be judged lies in the part that came.
            let bottom = cut.report.file.present.expect("a damaged file") * cut.report.file.height_px as f32;
            assert!(crop.is_none() || face.bounds.y + face.bounds.height <= bottom, "cut at {share} twentieths");
        }
    }
}

#[test]
fn a_report_cut_at_any_byte_is_no_report() {
    let mut finder = Finder::new().expect("the built-in weights");
    let prepared = prepare("a<b>.jpg", &small_files()[0].1, &mut finder, &PrepareConfig::new(64, 1.3));
    let json = evidence::json(&prepared.report).expect("a report is JSON");
    assert_eq!(evidence::parse(&json).expect("a whole report"), prepared.report);
    for length in 0..json.len() {
        let error = evidence::parse(&json[..length]).expect_err("a cut report");
        assert_eq!(error.kind(), ErrorKind::BadData);
    }
}

/// A model file whose tensors are few and small.
fn small_model() -> Vec<u8> {
    let tensors =
        vec![("fc.weight".to_string(), vec![2, 3], vec![0.5; 6]), ("fc.bias".to_string(), vec![2], vec![0.1; 2])];
    file::write(&ModelMeta::default(), Precision::Int8, tensors).expect("a model file")
}

#[test]
fn a_model_file_cut_at_any_byte_is_refused() {
    let bytes = small_model();
    ModelFile::parse(&bytes).expect("the whole file is read");
    for length in 0..bytes.len() {
        let error = ModelFile::parse(&bytes[..length]).expect_err("a cut model file");
        assert_eq!(error.kind(), ErrorKind::BadWeights, "cut at {length}");
    }
    let face = include_bytes!("../weights/face.safetensors");
    assert!(Finder::with_weights(face).is_ok());
    let header = 8 + u64::from_le_bytes(face[..8].try_into().expect("eight bytes")) as usize;
    for length in (0..header).chain((header..face.len()).step_by(101)) {
        let Err(error) = Finder::with_weights(&face[..length]) else { panic!("cut at {length}") };
        assert_eq!(error.kind(), ErrorKind::BadWeights, "cut at {length}");
    }
}

#[test]
fn one_other_byte_in_the_header_of_a_model_file_never_panics() {
    let bytes = small_model();
    let header = 8 + u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
    for at in 0..header {
        for change in [0x01, 0x20, 0x80, 0xff] {
            let mut changed = bytes.clone();
            changed[at] ^= change;
            if let Err(error) = ModelFile::parse(&changed) {
                assert_eq!(error.kind(), ErrorKind::BadWeights, "byte {at} xor {change}");
            }
        }
    }
}

fn meta() -> ModelMeta {
    ModelMeta { input_px: 64, ..ModelMeta::default() }
}

type Tensor = (String, Vec<usize>, Vec<f32>);

/// Opens a model of the fixture's weights after `edit`, whose answers on the known picture are known from before it.
fn opened(edit: impl Fn(&mut Vec<Tensor>), is_known: bool) -> grnet::Result<Detector> {
    let mut meta = meta();
    if is_known {
        let right = Detector::on_cpu(&model_file(&meta, Precision::F32)?)?;
        meta.known_logits = wait(right.known_logits())?;
    }
    let mut tensors = tensors(&meta);
    edit(&mut tensors);
    wait(Detector::open(DeviceChoice::Cpu, &file::write(&meta, Precision::F32, tensors)?))
}

/// Not by `expect_err`, which would print the detector's 22 million numbers.
fn refused(result: grnet::Result<Detector>) -> grnet::Error {
    result.map(|_| ()).expect_err("a network that must not be used")
}

fn values<'a>(tensors: &'a mut [Tensor], name: &str) -> &'a mut Vec<f32> {
    &mut tensors.iter_mut().find(|tensor| tensor.0 == name).unwrap_or_else(|| panic!("no tensor {name}")).2
}

#[test]
fn a_network_whose_tensors_were_swapped_is_not_used() {
    assert!(fixture_path("grnet.json").exists());
    opened(|_| (), true).expect("the right network");
    for [one, other] in [
        ["spatial.layer1.0.conv1.weight", "spatial.layer1.0.conv2.weight"],
        ["spatial.conv1.weight", "residual.conv1.weight"],
        ["residual.layer4.1.bn2.weight", "residual.layer4.1.bn2.running_var"],
    ] {
        let swap = |tensors: &mut Vec<Tensor>| {
            let kept = std::mem::take(values(tensors, one));
            let kept = std::mem::replace(values(tensors, other), kept);
            *values(tensors, one) = kept;
        };
        let error = refused(opened(swap, true));
        assert_eq!(error.kind(), ErrorKind::Internal, "{one} and {other}: {}", error.full_message());
        assert!(error.full_message().contains("known scores"), "{}", error.full_message());
    }
}

#[test]
fn a_network_that_leaves_the_numbers_is_not_used_and_has_no_verdict() {
    // Finite in the file; in the network no longer. What happens in its middle may come out as numbers, which the known answer
    // tells from the right ones; what happens at its end comes out as none.
    let middle = |tensors: &mut Vec<Tensor>| values(tensors, "spatial.layer2.0.conv1.weight").fill(1e30);
    let end = |tensors: &mut Vec<Tensor>| values(tensors, "fc.weight").fill(3e38);
    for error in [refused(opened(middle, true)), refused(opened(end, true)), refused(opened(end, false))] {
        assert_eq!(error.kind(), ErrorKind::Internal, "{}", error.full_message());
    }
    let variance = |tensors: &mut Vec<Tensor>| values(tensors, "residual.bn1.running_var")[7] = -1e-3;
    let error = refused(opened(variance, false));
    assert_eq!(error.kind(), ErrorKind::BadWeights);
    assert!(error.full_message().contains("residual.bn1.running_var"), "{}", error.full_message());

    // The same network without the check at opening, as if the known picture alone were harmless.
    let mut tensors = tensors(&meta());
    end(&mut tensors);
    let detector = Detector::on_cpu(&file::write(&meta(), Precision::F32, tensors).expect("finite")).expect("a file");
    let config = PrepareConfig { whole: true, ..detector.prepare_config() };
    let mut finder = Finder::new().expect("the built-in weights");
    let prepared = prepare("a", include_bytes!("pictures/astronaut.jpg"), &mut finder, &config);
    let error = wait(detector.judge(&prepared)).expect_err("no verdict");
    assert_eq!(error.kind(), ErrorKind::BadWeights, "{}", error.full_message());
}

#[test]
fn metadata_out_of_range_is_refused_whatever_it_is() {
    let counted = UntouchedOutcomes {
        face_px: [0, 99],
        jpeg_quality: [0, 100],
        faces: 50,
        likely_fake: 0.1,
        inconclusive: 0.3,
        no_signs_found: 0.6,
    };
    let alarms =
        FalseAlarms { face_px: [0, 99], pictures: 50, sources: 5, likely_fake: 0.1, at_most: 0.15, confidence: 0.95 };
    let good = ModelMeta { untouched: vec![counted], false_alarms: vec![alarms], ..ModelMeta::default() };
    let good = serde_json::to_value(good).expect("metadata is JSON");
    let edits: [(&str, &[&str]); 23] = [
        ("/input_px", &["0", "32", "96.5", "544", "-64", "1e30", "null"]),
        ("/crop_margin", &["0.5", "3.5", "1e39", "-1", "null", "\"1.3\""]),
        ("/network/classes", &["0", "1", "65", "18446744073709551615", "-2"]),
        ("/network/w_spatial", &["-0.1", "1.1", "1e999", "null"]),
        ("/network/residual_gain", &["0", "-1", "1e999"]),
        ("/network/fusion", &["\"none\"", "7"]),
        ("/mte/radius_px", &["0", "1025", "-1", "18446744073709551616"]),
        ("/mte/eps", &["0", "-1", "1e999"]),
        ("/class_names", &["[]", "[\"a\"]", "{}"]),
        ("/calibration", &["[]", "[{}]", "null"]),
        ("/calibration/0/temperature", &["0", "-1", "1e999", "null"]),
        ("/calibration/0/bias", &["1e999", "-1e999", "null"]),
        ("/calibration/0/jpeg_quality", &["[0, 300]", "[0]", "[-1, 5]"]),
        ("/calibration/0/face_px", &["[0, 4294967296]", "[0.5, 1]"]),
        ("/thresholds/likely_fake", &["-0.1", "1.1", "0.1", "null"]),
        ("/thresholds/auto_scan", &["0.5", "1.01", "1e999"]),
        ("/thresholds/no_signs", &["-0.1", "0.95", "null"]),
        ("/untouched/0/likely_fake", &["-0.1", "0.2", "1.1", "1e999", "null"]),
        ("/untouched/0/inconclusive", &["-0.3", "0.4"]),
        ("/untouched/0/no_signs_found", &["-0.6", "0.7"]),
        ("/false_alarms/0/likely_fake", &["-0.1", "0.16", "1e999"]),
        ("/false_alarms/0/at_most", &["0.09", "1.1", "null"]),
        ("/false_alarms/0/confidence", &["-0.1", "1.1", "null"]),
    ];
    let template = small_model();
    let parse = |document: &str| {
        let (_, header) = safetensors::SafeTensors::read_metadata(&template).expect("a model file");
        let mut metadata = header.metadata().clone().expect("metadata");
        metadata.insert("grnet".to_string(), document.to_string());
        let file = safetensors::SafeTensors::deserialize(&template).expect("a model file");
        ModelFile::parse(&safetensors::serialize(file.iter(), Some(metadata)).expect("a file"))
    };
    parse(&good.to_string()).expect("untouched metadata");
    const MARK: &str = "\"here\"";
    for (place, values) in edits {
        let mut document = good.clone();
        *document.pointer_mut(place).unwrap_or_else(|| panic!("no {place}")) = "here".into();
        let document = document.to_string();
        for value in values {
            // As text: no number type holds all of these.
            let Err(error) = parse(&document.replace(MARK, value)) else { panic!("{place} = {value} is taken") };
            assert_eq!(error.kind(), ErrorKind::BadWeights, "{place} = {value}");
        }
    }
}
