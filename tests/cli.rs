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
    assert_eq!(reasons, [Some(Reason::Damaged), None, Some(Reason::NoFace), unreadable, None, unreadable]);
    assert!(reports[0].file.present.is_some_and(|present| (0.2..0.8).contains(&present)));
    assert_eq!(reports[1].p_fake, reports[4].p_fake, "the same bytes, the same score");
    assert_eq!(reports[4].file.format.as_deref(), Some("jpeg"));
    let messages = text(&output.stderr);
    for (name, cause) in [("empty.webp", "an empty file"), ("missing.jpg", "No such file"), ("notes.txt", "a text")] {
        assert!(messages.lines().any(|line| line.contains(name) && line.contains(cause)), "{name}: {messages}");
    }

    let output = detect(&[&folder]);
    assert_eq!(output.status.code(), Some(1));
    let words = text(&output.stdout);
    assert_eq!(words.lines().filter(|line| !line.starts_with(' ')).count(), 5, "{words}");
    assert!(words.contains("c.jpeg: not assessed: no face was found"), "{words}");
    assert!(words.contains("a.png: not assessed: the file is damaged or cut off"), "{words}");
    assert!(
        words.lines().any(|line| line.starts_with("  note: ") && line.contains("% of the picture is there")),
        "{words}"
    );
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

    // The astronaut's face is 115 px high at 512 px.
    let portrait = decode(ASTRONAUT, &Limits::default()).expect("the portrait").pixels;
    let small = grnet::picture::crop::resize(&portrait, 256, 256).expect("smaller");
    let picture = image::RgbImage::from_raw(256, 256, small.data).expect("a picture");
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
    assert!(!words.contains("Some(") && !words.contains("NoFace"), "no names of the program's own: {words}");
    let mut report = grnet::report::evidence::parse(&html).expect("the report in the page");
    report.faces[0].p_fake = report.faces[0].p_fake.map(|p| 1.0 - p);
    write(folder.join("changed.json"), grnet::report::evidence::json(&report).expect("JSON").as_bytes());
    let output = verify(&folder.join("changed.json"), &photo);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stdout).lines().filter(|line| line.starts_with("face 1, p_fake")).count(), 1);
    // A true report that this program cannot compute anew is not called false.
    report.file.notes.push(grnet::report::Note::BrowserDecoded);
    write(folder.join("browser.json"), grnet::report::evidence::json(&report).expect("JSON").as_bytes());
    let output = verify(&folder.join("browser.json"), &photo);
    let words = text(&output.stderr);
    assert!(!output.status.success() && words.contains("found one that a browser decoded"), "{words}");
    assert!(!text(&output.stdout).contains("not confirmed"));
    write(folder.join("none.html"), b"<p>no report</p>");
    assert!(text(&verify(&folder.join("none.html"), &photo).stderr).contains("expected a grnet report"));
}

#[test]
fn names_do_not_matter_and_what_is_no_picture_is_listed() {
    let folder = folder("names");
    for name in ["image.jpg?w=400", "x.jpg_large", "plain"] {
        write(folder.join(name), COFFEE);
    }
    write(folder.join("photo.heic"), b"\0\0\0\x18ftypheic\0\0\0\0mif1heic");
    write(folder.join("a.zip"), b"PK\x03\x04\x14\0");
    write(folder.join("empty"), b"");
    let output = detect(&[Path::new("--json"), &folder]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(reports(&output).len(), 3);
    let listed = text(&output.stderr);
    for line in ["1 x an HEIC photo", "1 x a ZIP archive", "1 x an empty file"] {
        assert!(listed.contains(&format!("passed over {line}")), "{listed}");
    }
    // Named itself, it is told what it is.
    let output = detect(&[Path::new("--json"), &folder.join("photo.heic")]);
    let [report] = &reports(&output)[..] else { panic!("one report expected") };
    assert_eq!((report.reason, report.file.format.as_deref()), (Some(Reason::Unreadable), Some("heic")));
}

#[cfg(unix)]
#[test]
fn pipes_devices_links_and_huge_files_hold_nothing_up() {
    use std::os::unix::fs::symlink;
    let folder = folder("odd");
    write(folder.join("good.jpg"), COFFEE);
    let made = Command::new("mkfifo").arg(folder.join("pipe.jpg")).status().expect("mkfifo starts");
    assert!(made.success());
    let _socket = std::os::unix::net::UnixListener::bind(folder.join("socket.jpg")).expect("a socket");
    symlink("/dev/zero", folder.join("zero.jpg")).expect("a link");
    symlink("nowhere", folder.join("nothing.jpg")).expect("a link");
    symlink(&folder, folder.join("loop")).expect("a link");
    let other = self::folder("odd_linked");
    write(other.join("linked.jpg"), COFFEE);
    symlink(&other, folder.join("linked")).expect("a link");
    // Four gigabytes that take no room on the disk.
    let sparse = std::fs::File::create(folder.join("sparse.jpg")).expect("a file");
    sparse.set_len(4 << 30).expect("a sparse file");

    let started = std::time::Instant::now();
    let output = detect(&[Path::new("--json"), &folder, &folder.join("pipe.jpg"), Path::new("/dev/zero")]);
    assert!(started.elapsed().as_secs() < 60, "nothing is waited for or read to its end");
    assert_eq!(output.status.code(), Some(1));
    let names: Vec<String> = reports(&output)
        .iter()
        .filter(|report| report.file.format.is_some())
        .map(|report| report.file.name.rsplit('/').next().expect("a name").to_string())
        .collect();
    assert_eq!(names, ["good.jpg", "linked.jpg"]);
    let told = text(&output.stderr);
    for words in [
        "at most 256 MiB, found 4096 MiB",
        "passed over 1 x a pipe",
        "passed over 1 x a socket",
        "passed over 1 x a device",
        "passed over 1 x a link to nothing",
        "passed over 1 x a link to a folder that holds it",
        "expected a file, found a pipe",
        "expected a file, found a device",
    ] {
        assert!(told.contains(words), "{words}: {told}");
    }
}

#[cfg(unix)]
#[test]
fn a_name_cannot_fake_a_verdict_and_long_names_get_files_of_their_own() {
    let folder = folder("fake_names");
    let fake = "a.jpg\nb.jpg: no signs found\u{1b}[2J\u{202e}.jpg";
    write(folder.join(fake), COFFEE);
    let long = "x".repeat(240);
    for name in [format!("{long}.jpg"), format!("{long}.jpe"), format!("{}y.jpg", "x".repeat(239))] {
        write(folder.join(name), ASTRONAUT);
    }
    let pages = self::folder("fake_names_pages");
    let output = detect(&[Path::new("--html"), &pages, Path::new("--map"), &pages, &folder]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let words = text(&output.stdout);
    assert_eq!(words.lines().filter(|line| !line.starts_with(' ')).count(), 4, "{words}");
    assert!(words.contains(r"a.jpg\nb.jpg: no signs found\u{1b}[2J\u{202e}.jpg: "), "{words}");
    // A page for each, and three pictures for each of at least three faces; nothing half-written is left.
    let names: Vec<String> = std::fs::read_dir(&pages)
        .expect("the folder")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
        .collect();
    assert_eq!(names.iter().filter(|name| name.ends_with(".html")).count(), 4, "{names:?}");
    let pictures = names.iter().filter(|name| name.ends_with(".png")).count();
    assert!(pictures >= 9 && pictures.is_multiple_of(3), "{names:?}");
    assert_eq!(names.len(), 4 + pictures, "{names:?}");
    assert!(names.iter().all(|name| name.len() < 255 && !name.chars().any(char::is_control)), "{names:?}");
}

#[cfg(unix)]
#[test]
fn nobody_reading_is_no_panic() {
    use std::process::Stdio;
    let folder = folder("unread");
    for index in 0..6 {
        write(folder.join(format!("{index}.jpg")), &COFFEE[..COFFEE.len() / (1 + index % 2)]);
    }
    // Both streams end in a pipe whose other side is closed.
    let closed = || {
        let mut child = Command::new("true").stdin(Stdio::piped()).spawn().expect("true starts");
        // Waiting would close this side too.
        let pipe = child.stdin.take().expect("a pipe");
        child.wait().expect("it ends");
        pipe
    };
    for arguments in [&["--json"][..], &[]] {
        let status = Command::new(env!("CARGO_BIN_EXE_grnet"))
            .args(["detect", "--device", "cpu", "--model"])
            .arg(model())
            .args(arguments)
            .arg(&folder)
            .stdout(Stdio::from(closed()))
            .stderr(Stdio::from(closed()))
            .status()
            .expect("grnet starts");
        assert!(matches!(status.code(), Some(0 | 1)), "{status:?}");
    }
}

#[test]
fn a_face_in_the_part_that_is_there_is_judged_and_others_are_not() {
    let folder = folder("damaged");
    // The astronaut's face ends above the middle of her portrait.
    for (name, share) in [("most.jpg", 0.85), ("little.jpg", 0.25)] {
        let cut = &ASTRONAUT[..(ASTRONAUT.len() as f64 * share) as usize];
        write(folder.join(name), &[cut, &[0xff, 0xd9]].concat());
    }
    let output = detect(&[Path::new("--json"), &folder]);
    let reports = reports(&output);
    let [little, most] = &reports[..] else { panic!("two reports expected") };
    assert_eq!((little.band, little.reason, little.p_fake), (Band::NotAssessed, Some(Reason::Damaged), None));
    assert!(most.p_fake.is_some() && most.file.present.is_some_and(|present| present > 0.5), "{most:?}");
    assert_eq!(output.status.code(), Some(1), "one could not be judged");
    let words = text(&detect(&[&folder]).stdout);
    assert!(words.contains("only faces in that part are judged"), "{words}");
}

#[cfg(feature = "train")]
#[test]
fn a_forgery_is_written_in_both_formats_and_what_cannot_be_is_refused() {
    let folder = folder("forge");
    let [photo, none] = ["astronaut.jpg", "coffee.jpg"].map(|name| folder.join(name));
    write(&photo, ASTRONAUT);
    write(&none, COFFEE);
    let forge = |input: &Path, output: &str| {
        let output = folder.join(output);
        let run = grnet([Path::new("forge"), input, &output]);
        (run.status.code(), text(&run.stderr), std::fs::read(&output).ok())
    };
    let pixels = |bytes: &[u8]| decode(bytes, &Limits::default()).expect("a picture").pixels;
    let (code, told, png) = forge(&photo, "forged.png");
    let png = pixels(&png.unwrap_or_else(|| panic!("{code:?}: {told}")));
    let original = pixels(ASTRONAUT);
    assert_eq!((png.height, png.width), (original.height, original.width));
    assert_ne!(png.data, original.data);
    // The same forgery, after a compression that is hardly seen.
    let jpeg = pixels(&forge(&photo, "forged.jpg").2.expect("a JPEG"));
    let apart: u64 = jpeg.data.iter().zip(&png.data).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    assert!(apart < 4 * png.data.len() as u64, "{apart}");
    assert_eq!(forge(&photo, "forged.gif").0, Some(2));
    let (code, told, written) = forge(&none, "nobody.png");
    assert!(code == Some(1) && told.contains("expected a photo with a face, found none"), "{code:?}: {told}");
    assert_eq!(written, None);
}
