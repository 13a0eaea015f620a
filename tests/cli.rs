//! The `grnet` program as its users meet it: exit codes, reports, messages. The model is one with weights made by a
//! rule: what it says of a face means nothing, but the library must say the same.

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use common::{model_file, wait};
use grnet::detector::{Detector, prepare};
use grnet::infer::architecture::GuidedFilterConfig;
use grnet::infer::reference;
use grnet::model::{Manifest, ModelMeta, Precision};
use grnet::picture::face::Finder;
use grnet::picture::{Limits, decode};
use grnet::report::{Band, Reason, Report};

const ASTRONAUT: &[u8] = include_bytes!("pictures/astronaut.jpg");
const COFFEE: &[u8] = include_bytes!("pictures/coffee.jpg");

/// An empty folder of this name.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cli").join(name);
    if folder.exists() {
        std::fs::remove_dir_all(&folder).expect("an old test folder can be removed");
    }
    std::fs::create_dir_all(&folder).expect("a test folder can be made");
    folder
}

fn write(path: impl AsRef<Path>, bytes: &[u8]) {
    std::fs::write(path, bytes).expect("a test file can be written");
}

/// A model file with weights made by a rule.
fn model() -> &'static Path {
    static MODEL: OnceLock<PathBuf> = OnceLock::new();
    MODEL.get_or_init(|| {
        let path = folder("model").join("fresh.safetensors");
        let meta = ModelMeta { name: "fresh".to_string(), ..ModelMeta::default() };
        write(&path, &model_file(&meta, Precision::Int8).expect("a model can be written"));
        path
    })
}

fn grnet<S: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = S>) -> Output {
    Command::new(env!("CARGO_BIN_EXE_grnet")).args(arguments).output().expect("grnet starts")
}

/// `grnet detect` on the CPU with the fresh model.
fn detect(arguments: &[&Path]) -> Output {
    let fixed = ["detect", "--device", "cpu", "--model"].map(Path::new);
    grnet(fixed.iter().chain(&[model()]).chain(arguments))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("output is UTF-8")
}

fn reports(output: &Output) -> Vec<Report> {
    text(&output.stdout).lines().map(|line| serde_json::from_str(line).expect("a report a line")).collect()
}

#[test]
fn one_photo_gives_the_report_of_the_library() {
    let photo = folder("one").join("astronaut.jpg");
    write(&photo, ASTRONAUT);
    let output = detect(&[Path::new("--json"), &photo]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let [found] = &reports(&output)[..] else { panic!("one report expected: {}", text(&output.stdout)) };

    let bytes = std::fs::read(model()).expect("the model");
    let detector = Detector::on_cpu(&bytes).expect("a detector");
    let mut finder = Finder::new().expect("a finder");
    let prepared = prepare(&photo.display().to_string(), ASTRONAUT, &mut finder, &detector.prepare_config());
    let mut expected = wait(detector.judge(&prepared)).expect("a report");
    assert!(expected.p_fake.is_some() && expected.faces.len() == 1, "{expected:?}");
    // Only the time taken may differ.
    assert!(found.timings_ms.total_ms > 0.0);
    expected.timings_ms = found.timings_ms;
    assert_eq!(found, &expected);
}

#[test]
fn a_folder_is_searched_in_order_and_unreadable_files_do_not_stop_it() {
    let folder = folder("mixed");
    std::fs::create_dir(folder.join("inner")).expect("a folder");
    write(folder.join("b.JPG"), ASTRONAUT);
    write(folder.join("c.jpeg"), COFFEE);
    write(folder.join("a.png"), &COFFEE[..COFFEE.len() / 2]);
    write(folder.join("inner/empty.webp"), b"");
    // By content a JPEG; and no picture at all.
    write(folder.join("inner/z.png"), ASTRONAUT);
    write(folder.join("notes.txt"), b"not a picture");

    let missing = folder.join("missing.jpg");
    let output = detect(&[Path::new("--json"), &folder, &missing]);
    assert_eq!(output.status.code(), Some(1));
    let reports = reports(&output);
    let names = ["a.png", "b.JPG", "c.jpeg", "inner/empty.webp", "inner/z.png", "missing.jpg"];
    let expected: Vec<String> = names.iter().map(|name| folder.join(name).display().to_string()).collect();
    assert_eq!(reports.iter().map(|report| report.file.name.clone()).collect::<Vec<_>>(), expected);
    let reasons: Vec<_> = reports.iter().map(|report| report.reason).collect();
    let unreadable = Some(Reason::Unreadable);
    assert_eq!(reasons, [unreadable, None, Some(Reason::NoFace), unreadable, None, unreadable]);
    assert_eq!(reports[1].p_fake, reports[4].p_fake, "the same bytes, the same score");
    assert_eq!(reports[4].file.format.as_deref(), Some("jpeg"));
    let messages = text(&output.stderr);
    for (name, cause) in [("a.png", "cut off"), ("empty.webp", "an empty file"), ("missing.jpg", "No such file")] {
        assert!(messages.lines().any(|line| line.contains(name) && line.contains(cause)), "{name}: {messages}");
    }

    let output = detect(&[&folder]);
    assert_eq!(output.status.code(), Some(1));
    let words = text(&output.stdout);
    assert_eq!(words.lines().count(), 5, "{words}");
    assert!(words.contains("c.jpeg: not assessed: no face was found"), "{words}");
    assert!(words.contains("could not be read as a picture (expected an end-of-image marker"), "{words}");
    assert!(words.lines().any(|line| line.contains("b.JPG") && line.contains("p_fake 0.")), "{words}");
}

#[test]
fn a_photo_without_a_face_is_no_failure_and_a_small_face_is_named() {
    let folder = folder("no_face");
    let coffee = folder.join("coffee.jpg");
    write(&coffee, COFFEE);
    let output = detect(&[Path::new("--json"), &coffee]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!((reports(&output)[0].band, reports(&output)[0].reason), (Band::NotAssessed, Some(Reason::NoFace)));

    // The astronaut's face is 96 px wide at 512 px.
    let portrait = decode(ASTRONAUT, &Limits::default()).expect("the portrait").pixels;
    let small = grnet::picture::crop::resize(&portrait, 280, 280).expect("smaller");
    let picture = image::RgbImage::from_raw(280, 280, small.data).expect("a picture");
    let path = folder.join("small.png");
    picture.save(&path).expect("a PNG");
    let output = detect(&[Path::new("--json"), &path]);
    assert_eq!(output.status.code(), Some(0));
    let report = &reports(&output)[0];
    assert_eq!((report.band, report.reason, report.p_fake), (Band::NotAssessed, Some(Reason::TooSmall), None));
    assert!(report.faces[0].quality.face_px < 64, "{report:?}");
}

#[test]
fn cropped_pictures_are_taken_whole() {
    let coffee = folder("cropped").join("coffee.jpg");
    write(&coffee, COFFEE);
    let output = detect(&[Path::new("--json"), Path::new("--cropped"), &coffee]);
    assert_eq!(output.status.code(), Some(0));
    let report = &reports(&output)[0];
    assert_eq!(report.faces.len(), 1);
    assert_eq!((report.faces[0].bounds.x, report.faces[0].bounds.width), (100.0, 400.0));
    assert!(report.p_fake.is_some());
}

#[test]
fn wrong_usage_is_exit_code_2() {
    let empty = folder("empty");
    write(empty.join("notes.txt"), b"not a picture");
    let output = detect(&[&empty]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("expected a picture"), "{}", text(&output.stderr));
    for arguments in [&["detect"][..], &["detect", "--device", "abacus", "a.jpg"], &["guess"], &["residual", "a.jpg"]] {
        assert_eq!(grnet(arguments).status.code(), Some(2), "{arguments:?}");
    }
    assert_eq!(grnet(["--help"]).status.code(), Some(0));
}

#[test]
fn a_bad_model_is_refused_by_name() {
    let folder = folder("bad_model");
    let photo = folder.join("coffee.jpg");
    write(&photo, COFFEE);
    let run = |model: &Path| {
        let output =
            grnet([Path::new("detect"), Path::new("--device"), Path::new("cpu"), Path::new("--model"), model, &photo]);
        assert_eq!(output.status.code(), Some(1));
        assert!(output.stdout.is_empty());
        text(&output.stderr)
    };
    assert!(run(&folder.join("none.safetensors")).contains("none.safetensors"));
    assert!(run(&photo).contains("expected a safetensors model file"));
    // One changed byte, and the manifest beside it tells.
    let mut bytes = std::fs::read(model()).expect("the model");
    let changed = folder.join("changed.safetensors");
    let manifest = serde_json::to_vec(&Manifest::of("changed.safetensors", &bytes)).expect("a manifest");
    write(changed.with_extension("json"), &manifest);
    *bytes.last_mut().expect("a model has bytes") ^= 1;
    write(&changed, &bytes);
    assert!(run(&changed).contains("expected SHA-256"));
}

#[test]
fn the_residual_is_that_of_the_reference() {
    let folder = folder("residual");
    let (photo, png) = (folder.join("photo.png"), folder.join("residual.png"));
    let pixels = decode(ASTRONAUT, &Limits::default()).expect("the portrait").pixels;
    let part = grnet::picture::crop::resize(&pixels, 90, 70).expect("smaller");
    image::RgbImage::from_raw(70, 90, part.data.clone()).expect("a picture").save(&photo).expect("a PNG");
    let options = ["--radius", "3", "--eps", "0.02", "--gain", "4"].map(Path::new);
    let output = grnet([Path::new("residual"), &photo, &png].into_iter().chain(options));
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));

    let found = decode(&std::fs::read(&png).expect("the residual"), &Limits::default()).expect("a PNG").pixels;
    let unit: Vec<f64> =
        (0..3).flat_map(|c| part.data.iter().skip(c).step_by(3).map(|value| f64::from(*value) / 255.0)).collect();
    let config = GuidedFilterConfig { radius_px: 3, eps: 0.02, ..GuidedFilterConfig::default() };
    let residual = reference::residual(&unit, 90, 70, &config);
    let worst = |expected: &[f64]| {
        let value = |i: usize| (expected[i % 3 * 90 * 70 + i / 3] * 4.0 * 255.0).round().clamp(0.0, 255.0);
        (0..found.data.len()).map(|i| (value(i) - f64::from(found.data[i])).abs()).fold(0.0, f64::max)
    };
    // One step of 255 where f32 and f64 round apart.
    assert!(worst(&residual) <= 1.0, "largest difference {}", worst(&residual));
    let other = reference::residual(&unit, 90, 70, &GuidedFilterConfig { eps: 0.01, ..config });
    assert!(worst(&other) > 5.0, "another eps must be seen, found {}", worst(&other));

    for options in [["--radius", "0"], ["--eps", "-1"], ["--gain", "0"]] {
        let output = grnet([Path::new("residual"), &photo, &png].into_iter().chain(options.map(Path::new)));
        assert_eq!(output.status.code(), Some(2), "{options:?}: {}", text(&output.stderr));
    }
    let output = grnet([Path::new("residual"), &folder.join("none.png"), &png]);
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn the_stability_check_is_in_the_report_and_turns_a_flipped_verdict_into_none() {
    let photo = folder("stability").join("astronaut.jpg");
    write(&photo, ASTRONAUT);
    let output = detect(&[Path::new("--json"), Path::new("--stability"), &photo]);
    let [report] = &reports(&output)[..] else { panic!("one report expected: {}", text(&output.stderr)) };
    assert!(report.settings.stability);
    let face = &report.faces[0];
    let stability = face.stability.as_ref().expect("a stability check");
    assert_eq!(stability.scores.len(), grnet::picture::stability::CHANGES.len());
    let own = face.p_fake.expect("a score");
    assert!(stability.scores.iter().any(|score| score.p_fake != own), "changes that change nothing check nothing");
    assert_eq!(face.reason == Some(Reason::Unstable), stability.flipped);
    assert_eq!(face.meaning, None, "an uncalibrated model supports no figure");
    let map = face.map.as_ref().expect("a heat map");
    assert_eq!((map.height, map.width, map.values.len()), (4, 4, 16));
}

#[test]
fn evidence_is_written_and_a_kept_report_is_confirmed_by_its_photo_alone() {
    let folder = folder("evidence");
    let (photo, pages, maps) = (folder.join("a <b>.jpg"), folder.join("pages"), folder.join("maps"));
    write(&photo, ASTRONAUT);
    let output = detect(&[Path::new("--stability"), Path::new("--html"), &pages, Path::new("--map"), &maps, &photo]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let names = |folder: &Path| -> Vec<PathBuf> {
        let mut names: Vec<PathBuf> =
            std::fs::read_dir(folder).expect("the folder").map(|entry| entry.expect("an entry").path()).collect();
        names.sort();
        names
    };
    let maps: Vec<_> = names(&maps)
        .iter()
        .map(|path| decode(&std::fs::read(path).expect("a map"), &Limits::default()))
        .map(|map| map.expect("a picture").pixels)
        .collect();
    let [heat, cut, residual] = &maps[..] else { panic!("three pictures expected") };
    assert!([heat, cut, residual].iter().all(|map| (map.height, map.width) == (128, 128)));
    assert!(heat != cut && residual != cut, "three different pictures");

    let [page] = &names(&pages)[..] else { panic!("one page expected") };
    let html = std::fs::read_to_string(page).expect("the page");
    assert_eq!(html.matches("<img ").count(), 3);
    assert!(!html.contains("<script") && !html.contains("<b>") && html.contains("a &lt;b&gt;.jpg"), "{html}");

    let verify = |report: &Path, photo: &Path| {
        grnet([
            Path::new("verify-report"),
            report,
            photo,
            Path::new("--device"),
            Path::new("cpu"),
            Path::new("--model"),
            model(),
        ])
    };
    let output = verify(page, &photo);
    assert_eq!(output.status.code(), Some(0), "{}{}", text(&output.stdout), text(&output.stderr));
    assert!(text(&output.stdout).starts_with("confirmed"));

    // Another photo, and a report that someone has changed.
    write(folder.join("other.jpg"), COFFEE);
    let output = verify(page, &folder.join("other.jpg"));
    assert_eq!(output.status.code(), Some(1));
    let words = text(&output.stdout);
    assert!(words.contains("SHA-256 of the photo") && words.contains("number of faces"), "{words}");
    let mut report = grnet::report::evidence::parse(&html).expect("the report in the page");
    report.faces[0].p_fake = report.faces[0].p_fake.map(|p| p / 2.0);
    write(folder.join("changed.json"), grnet::report::evidence::json(&report).expect("JSON").as_bytes());
    let output = verify(&folder.join("changed.json"), &photo);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stdout).lines().filter(|line| line.starts_with("face 1, p_fake")).count(), 1);
    write(folder.join("none.html"), b"<p>no report</p>");
    assert!(text(&verify(&folder.join("none.html"), &photo).stderr).contains("expected a grnet report"));
}
