//! `grnet detect --out` as people meet it with long lists: runs that are killed, stopped or run out of disk go on and count
//! nothing twice, shards together are the single run, and what a folder may hold does not end one. The model is one with
//! weights made by a rule.

mod common;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

#[cfg(target_os = "linux")]
use common::disk::SmallDisk;
use common::model_file;
use grnet::model::{ModelMeta, Precision};
use serde_json::Value;

const ASTRONAUT: &[u8] = include_bytes!("pictures/astronaut.jpg");
const COFFEE: &[u8] = include_bytes!("pictures/coffee.jpg");
/// Longest that anything here is waited for.
const PATIENCE: Duration = Duration::from_secs(600);

/// An empty folder of this name.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bulk").join(name);
    if folder.exists() {
        fs::remove_dir_all(&folder).expect("an old test folder can be removed");
    }
    fs::create_dir_all(&folder).expect("a test folder can be made");
    folder
}

fn write(path: impl AsRef<Path>, bytes: &[u8]) {
    fs::write(path, bytes).expect("a test file can be written");
}

/// A model file with weights made by a rule, in a folder of its own.
fn model_named(name: &str) -> PathBuf {
    let path = folder(&format!("model_{name}")).join("model.safetensors");
    let meta = ModelMeta { name: name.to_string(), ..ModelMeta::default() };
    write(&path, &model_file(&meta, Precision::Int8).expect("a model can be written"));
    path
}

fn model() -> &'static Path {
    static MODEL: OnceLock<PathBuf> = OnceLock::new();
    MODEL.get_or_init(|| model_named("fresh"))
}

/// `grnet detect --cropped` on the CPU with the fresh model: what is judged is the whole of each picture.
fn detect() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_grnet"));
    command.args(["detect", "--device", "cpu", "--cropped", "--model"]).arg(model());
    command
}

fn to(out: &Path, paths: &[&Path]) -> Command {
    let mut command = detect();
    command.arg("--out").arg(out).args(paths);
    command
}

fn run(command: &mut Command) -> Output {
    command.output().expect("grnet starts")
}

fn resume(out: &Path, paths: &[&Path]) -> Output {
    run(to(out, paths).arg("--resume"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("output is UTF-8")
}

fn png(side: u32, seed: u32) -> Vec<u8> {
    let pixel = |x: u32, y: u32| image::Rgb([(x * 7 + seed) as u8, (y * 5 + seed / 256) as u8, (x * y + seed) as u8]);
    let mut bytes = std::io::Cursor::new(Vec::new());
    image::RgbImage::from_fn(side, side, pixel).write_to(&mut bytes, image::ImageFormat::Png).expect("a PNG");
    bytes.into_inner()
}

/// A folder of so many pictures: too small to be judged, which takes no time, or not.
fn pictures(name: &str, count: u32, side: u32) -> PathBuf {
    let folder = folder(name);
    for number in 0..count {
        let inner = folder.join(format!("part{}", number % 3));
        fs::create_dir_all(&inner).expect("a folder");
        write(inner.join(format!("{number:04}.png")), &png(side, number));
    }
    folder
}

/// The reports, without what differs from run to run. Fails where a line is not whole.
fn lines(out: &Path) -> Vec<String> {
    lines_of(&fs::read(out).expect("the output"))
}

fn lines_of(bytes: &[u8]) -> Vec<String> {
    let text = text(bytes);
    assert!(text.is_empty() || text.ends_with('\n'), "the last line is whole");
    let line = |line: &str| {
        let mut report: Value = serde_json::from_str(line).expect("a report a line");
        assert!(report.as_object_mut().expect("an object").remove("timings_ms").is_some());
        report.to_string()
    };
    text.lines().map(line).collect()
}

fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort();
    lines
}

fn names(out: &Path) -> Vec<String> {
    let name = |line: &String| {
        let report: Value = serde_json::from_str(line).expect("a report");
        report["file"]["name"].as_str().expect("a name").to_string()
    };
    lines(out).iter().map(name).collect()
}

/// A run in the background, ended with the test. Two threads, so that any machine is caught in the middle of it.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Running {
        Running(command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("grnet starts"))
    }

    /// Waits until there are so many reports.
    fn wait_for(&mut self, out: &Path, reports: usize) {
        let begun = Instant::now();
        let written = || fs::read(out).map_or(0, |bytes| bytes.iter().filter(|byte| **byte == b'\n').count());
        while written() < reports {
            assert!(begun.elapsed() < PATIENCE, "{} reports after {PATIENCE:?}", written());
            let ended = self.0.try_wait().expect("its state");
            assert!(ended.is_none(), "ended early: {ended:?}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn finish(mut self) -> (Option<i32>, String) {
        let mut told = String::new();
        let mut stderr = self.0.stderr.take().expect("its errors");
        std::io::Read::read_to_string(&mut stderr, &mut told).expect("text");
        (self.0.wait().expect("it ends").code(), told)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _code = self.0.wait();
    }
}

#[test]
fn the_file_holds_what_json_prints_in_the_order_of_the_files() {
    let photos = pictures("same", 6, 80);
    write(photos.join("astronaut.jpg"), ASTRONAUT);
    write(photos.join("half.jpg"), &COFFEE[..COFFEE.len() / 2]);
    let missing = photos.join("missing.jpg");
    let out = folder("same_out").join("results.jsonl");
    let printed = run(detect().arg("--json").args([&photos, &missing]));
    let written = run(&mut to(&out, &[&photos, &missing]));
    assert_eq!((written.status.code(), printed.status.code()), (Some(1), Some(1)), "{}", text(&written.stderr));
    assert!(written.stdout.is_empty());
    assert_eq!(lines(&out), lines_of(&printed.stdout));
    assert_eq!(lines(&out).len(), 9);
    assert!(lines(&out).iter().filter(|line| !line.contains(r#""p_fake":null"#)).count() >= 7, "{:?}", lines(&out));
    let told = text(&written.stderr);
    assert!(told.contains("results.jsonl holds 9 reports") && told.contains("1 unreadable"), "{told}");
    // Nothing is left to do, and the exit code still tells of the file that could not be read.
    // However many cores there are.
    for threads in ["1", "5"] {
        let printed = run(detect().args(["--json", "--threads", threads]).args([&photos, &missing]));
        assert_eq!(lines_of(&printed.stdout), lines(&out), "{threads} threads");
    }
    let again = resume(&out, &[&photos, &missing]);
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains("holds 9 reports, 9 of them from before"), "{}", text(&again.stderr));
    assert!(text(&again.stderr).contains("1 unreadable"), "{}", text(&again.stderr));
}

#[test]
fn shards_together_are_the_single_run() {
    let photos = pictures("shards", 60, 40);
    write(photos.join("astronaut.jpg"), ASTRONAUT);
    let outs = folder("shards_out");
    let whole = outs.join("whole.jsonl");
    assert!(run(&mut to(&whole, &[&photos])).status.success());
    let mut together = Vec::new();
    for number in 1..=4 {
        let out = outs.join(format!("{number}.jsonl"));
        let output = run(to(&out, &[&photos]).args(["--shard", &format!("{number}/4")]));
        assert!(output.status.success(), "{}", text(&output.stderr));
        let part = lines(&out);
        assert!((5..=30).contains(&part.len()), "{} of 61", part.len());
        together.extend(part);
    }
    assert_eq!(sorted(together), sorted(lines(&whole)));
    // Without a file to write they are parts, too.
    let printed = run(detect().args(["--json", "--shard", "2/4"]).arg(&photos));
    assert_eq!(lines_of(&printed.stdout), lines(&outs.join("2.jsonl")));
    // A part that has nothing to do is no error, and makes its file.
    let single = photos.join("astronaut.jpg");
    let counts: Vec<usize> = (1..=3)
        .map(|number| {
            let out = outs.join(format!("single{number}.jsonl"));
            assert!(run(to(&out, &[&single]).args(["--shard", &format!("{number}/3")])).status.success());
            lines(&out).len()
        })
        .collect();
    assert_eq!(counts.iter().sum::<usize>(), 1, "{counts:?}");
}

#[test]
fn wrong_shards_and_options_that_exclude_each_other_are_wrong_usage() {
    let out = folder("usage").join("out.jsonl");
    let photo = folder("usage_photo").join("a.png");
    write(&photo, &png(40, 0));
    for arguments in [
        &["--shard", "0/4"][..],
        &["--shard", "5/4"],
        &["--threads", "0"],
        &["--json"],
        &["--html", "x"],
        &["--map", "x"],
    ] {
        let output = run(to(&out, &[&photo]).args(arguments));
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", text(&output.stderr));
    }
    assert_eq!(run(detect().arg("--resume").arg(&photo)).status.code(), Some(2), "there is nothing to go on with");
    assert!(!out.exists());
    for name in ["out.parquet", "out.csv", "out"] {
        let output = run(&mut to(&out.with_file_name(name), &[&photo]));
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output.stderr).contains("ends in .jsonl"), "{}", text(&output.stderr));
    }
}

#[test]
fn a_killed_run_goes_on_and_nothing_is_counted_twice() {
    let photos = pictures("killed", 90, 96);
    let outs = folder("killed_out");
    let (whole, out) = (outs.join("whole.jsonl"), outs.join("out.jsonl"));
    let first = run(&mut to(&whole, &[&photos]));
    assert!(first.status.success());
    for reports in [5, 30, 60] {
        let mut running = Running::start(to(&out, &[&photos]).args(["--resume", "--threads", "2"]));
        running.wait_for(&out, reports);
        running.0.kill().expect("it can be killed");
        running.0.wait().expect("it ends");
        let kept = text(&fs::read(&out).expect("the output")).lines().count();
        assert!((reports..90).contains(&kept), "killed in the middle: {kept}");
        // What a write that was cut short leaves.
        let torn = &fs::read(&whole).expect("the output")[..7 * reports];
        let mut file = fs::OpenOptions::new().append(true).open(&out).expect("the output");
        file.write_all(torn).expect("half a line");
    }
    let last = resume(&out, &[&photos]);
    assert!(last.status.success(), "{}", text(&last.stderr));
    assert_eq!(lines(&out), lines(&whole), "each once, in the order of the files");
    let told = text(&last.stderr);
    assert!(told.contains("ends in half a line, which is cut off"), "{told}");
    let counts = |told: &str| told.lines().find(|line| line.contains(" with traces, ")).map(str::to_string);
    assert_eq!(counts(&told), counts(&text(&first.stderr)), "the sum is that of the single run");
    assert!(counts(&told).is_some());
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_after_whole_lines_and_says_how_to_go_on() {
    let photos = pictures("stopped", 90, 96);
    let outs = folder("stopped_out");
    let (whole, out) = (outs.join("whole.jsonl"), outs.join("out.jsonl"));
    for signal in ["INT", "TERM"] {
        let mut running = Running::start(to(&out, &[&photos]).args(["--resume", "--threads", "2"]));
        running.wait_for(&out, if signal == "INT" { 3 } else { 40 });
        let sent =
            Command::new("kill").args(["-s", signal, &running.0.id().to_string()]).status().expect("kill starts");
        assert!(sent.success());
        let (code, told) = running.finish();
        let kept = lines(&out).len();
        assert!(kept < 90, "stopped in the middle");
        assert_eq!(code, Some(3), "{told}");
        for words in
            [&format!("stopped; {} holds {kept} reports", out.display()), "the same command with --resume goes on"]
        {
            assert!(told.contains(words), "{words}: {told}");
        }
    }
    assert!(resume(&out, &[&photos]).status.success());
    assert!(run(&mut to(&whole, &[&photos])).status.success());
    assert_eq!(lines(&out), lines(&whole));
}

#[test]
fn another_model_other_options_and_another_shard_are_refused_and_the_file_stays_as_it_is() {
    let photos = pictures("refused", 8, 40);
    let out = folder("refused_out").join("out.jsonl");
    assert!(run(&mut to(&out, &[&photos])).status.success());
    let kept = fs::read(&out).expect("the output");
    let other = model_named("other");
    let cases: [(&[&str], &str); 4] = [
        (&["--stability"], "made without --stability, this run is with it"),
        (&["--shard", "1/2"], "does not belong to shard 1/2"),
        (&[], "holds something already; --resume goes on with it"),
        (&["--model", other.to_str().expect("a path")], "judged by the model fresh"),
    ];
    for (arguments, expected) in cases {
        // Built anew: an option given twice is wrong usage.
        let mut command = Command::new(env!("CARGO_BIN_EXE_grnet"));
        command.args(["detect", "--device", "cpu", "--cropped", "--out"]).arg(&out).arg(&photos).args(arguments);
        if !arguments.contains(&"--model") {
            command.arg("--model").arg(model());
        }
        if !arguments.is_empty() {
            command.arg("--resume");
        }
        let output = run(&mut command);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", text(&output.stderr));
        assert!(text(&output.stderr).contains(expected), "{arguments:?}: {}", text(&output.stderr));
        assert_eq!(fs::read(&out).expect("the output"), kept, "{arguments:?}");
    }
    let mut found = Command::new(env!("CARGO_BIN_EXE_grnet"));
    found.args(["detect", "--device", "cpu", "--resume", "--out"]).arg(&out).arg(&photos).arg("--model").arg(model());
    assert!(text(&run(&mut found).stderr).contains("made with --cropped, this run is without it"));

    // Something else of that name, whole or not, is nobody's to cut.
    for foreign in ["{\"a\":1}\n", "{\"a\":1}", "path,label\n", "{\"schema\":\"grnet.report/9\"}\n"] {
        write(&out, foreign.as_bytes());
        let output = resume(&out, &[&photos]);
        assert_eq!(output.status.code(), Some(3), "{foreign}");
        assert!(text(&output.stderr).contains("line 1: "), "{}", text(&output.stderr));
        assert_eq!(fs::read(&out).expect("the file"), foreign.as_bytes());
    }
}

#[test]
fn two_processes_do_not_write_one_file() {
    let photos = pictures("locked", 3, 40);
    let out = folder("locked_out").join("out.jsonl");
    let held = fs::File::create(&out).expect("a file");
    held.lock().expect("a lock");
    let output = resume(&out, &[&photos]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("is being written by another process"), "{}", text(&output.stderr));
    drop(held);
    assert!(resume(&out, &[&photos]).status.success());
    assert_eq!(lines(&out).len(), 3);
}

#[cfg(target_os = "linux")]
#[test]
fn a_device_without_room_is_said_to_have_none() {
    let photos = pictures("no_room", 5, 40);
    let out = folder("no_room_out").join("out.jsonl");
    std::os::unix::fs::symlink("/dev/full", &out).expect("a link");
    let output = run(&mut to(&out, &[&photos]));
    assert_eq!(output.status.code(), Some(3));
    let told = text(&output.stderr);
    assert!(told.contains("cannot write") && told.contains("No space left"), "{told}");
}

#[cfg(target_os = "linux")]
#[test]
fn what_fits_on_a_full_disk_is_whole_and_with_more_room_the_run_goes_on() {
    let Some(disk) = SmallDisk::mount(folder("full_disk"), 32) else { return };
    let photos = pictures("full", 90, 40);
    let out = disk.0.join("out.jsonl");
    let output = run(&mut to(&out, &[&photos]));
    let kept = lines(&out).len();
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{told}");
    assert!((5..90).contains(&kept), "{kept}");
    for words in ["No space left", &format!("holds {kept} reports; the same command with --resume goes on")] {
        assert!(told.contains(words), "{words}: {told}");
    }
    disk.remount("size=4m");
    assert!(resume(&out, &[&photos]).status.success());
    let whole = folder("full_out").join("whole.jsonl");
    assert!(run(&mut to(&whole, &[&photos])).status.success());
    assert_eq!(lines(&out), lines(&whole));
}

#[cfg(target_os = "linux")]
#[test]
fn an_output_that_cannot_be_written_is_told_before_anything_is_judged() {
    let photos = pictures("read_only", 5, 40);
    let refused = |out: &Path, expected: &str| {
        // Any model would do: none is opened.
        let mut command = Command::new(env!("CARGO_BIN_EXE_grnet"));
        let output = run(command.args(["detect", "--model", "none.safetensors", "--out"]).arg(out).arg(&photos));
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{told}");
        assert!(told.contains(&format!("cannot write {}", out.display())) && told.contains(expected), "{told}");
    };
    let out = folder("read_only_out");
    refused(&out.join("none/out.jsonl"), "No such file");
    fs::create_dir(out.join("folder.jsonl")).expect("a folder");
    refused(&out.join("folder.jsonl"), "Is a directory");
    let Some(disk) = SmallDisk::mount(folder("read_only_disk"), 64) else { return };
    disk.remount("ro");
    refused(&disk.0.join("out.jsonl"), "Read-only file system");
}

#[cfg(target_os = "linux")]
#[test]
fn what_may_not_be_read_is_told_and_the_rest_is_judged() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::os::unix::process::CommandExt;
    const NOBODY: u32 = 65_534;
    let place = std::env::temp_dir().join(format!("grnet-bulk-{}", std::process::id()));
    fs::create_dir_all(place.join("photos/closed")).expect("a folder");
    let photos = place.join("photos");
    let allow = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
    for name in ["photos/a.png", "photos/closed/b.png", "photos/secret.png", "photos/secret"] {
        write(place.join(name), &png(40, 1));
    }
    for (name, mode) in [("photos/closed", 0), ("photos/secret.png", 0), ("photos/secret", 0), ("", 0o777)] {
        allow(&place.join(name), mode);
    }
    let (program, weights, out) = (place.join("grnet"), place.join("m.safetensors"), place.join("out.jsonl"));
    fs::copy(env!("CARGO_BIN_EXE_grnet"), &program).expect("a copy of the program");
    fs::copy(model(), &weights).expect("a copy of the model");
    let mut command = Command::new(&program);
    command
        .args(["detect", "--device", "cpu", "--cropped", "--model"])
        .arg(&weights)
        .arg("--out")
        .arg(&out)
        .arg(&photos);
    if fs::metadata(&place).expect("the folder").uid() == 0 {
        // Root may read everything.
        command.uid(NOBODY).gid(NOBODY);
    }
    let output = command.output();
    let found = output.is_ok().then(|| names(&out));
    allow(&place.join("photos/closed"), 0o700);
    fs::remove_dir_all(&place).expect("the folder can be removed");
    let (Ok(output), Some(found)) = (output, found) else {
        eprintln!("skipped: a root that cannot become another user can read everything");
        return;
    };
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    let shown = |name: &str| photos.join(name).display().to_string();
    assert_eq!(found, [shown("a.png"), shown("secret.png")]);
    for words in [
        format!("cannot search a folder: IO error for operation on {}: Permission denied", shown("closed")),
        format!("{}: cannot read {}: Permission denied", shown("secret.png"), shown("secret.png")),
        format!("passed over 1 x an unreadable file: {}", shown("secret")),
    ] {
        assert!(told.contains(&words), "{words}: {told}");
    }
}

#[cfg(unix)]
#[test]
fn links_that_lead_in_circles_end() {
    use std::os::unix::fs::symlink;
    let photos = pictures("circles", 3, 40);
    symlink(&photos, photos.join("part0/up")).expect("a link");
    symlink(photos.join("self.png"), photos.join("self.png")).expect("a link");
    symlink("two.png", photos.join("one.png")).expect("a link");
    symlink("one.png", photos.join("two.png")).expect("a link");
    let out = folder("circles_out").join("out.jsonl");
    let output = run(&mut to(&out, &[&photos]));
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{told}");
    assert_eq!(lines(&out).len(), 3);
    for words in ["passed over 1 x a link to a folder that holds it", "passed over 3 x a link to nothing"] {
        assert!(told.contains(words), "{words}: {told}");
    }
}

#[test]
fn files_that_go_away_while_others_are_judged_are_told_and_stop_nothing() {
    let photos = pictures("going", 120, 96);
    let out = folder("going_out").join("out.jsonl");
    let mut running = Running::start(to(&out, &[&photos]).args(["--threads", "2"]));
    running.wait_for(&out, 1);
    // Its names are listed already; those of the last folder are not yet read.
    for number in 0..120 {
        fs::remove_file(photos.join(format!("part{}/{number:04}.png", number % 3))).expect("the file was there");
    }
    let (code, told) = running.finish();
    let reports = lines(&out);
    let unread = reports.iter().filter(|line| line.contains(r#""reason":"unreadable""#)).count();
    assert_eq!(code, Some(i32::from(unread > 0)), "{told}");
    let gone = told.lines().find_map(|line| {
        line.strip_prefix("passed over ")?.strip_suffix(", ...")?.split_once(" x a file that went away")
    });
    let gone: usize = gone.expect("told").0.parse().expect("a number");
    // Folders that were searched later were empty already.
    assert!(gone > 0 && reports.len() + gone >= 40 && reports.len() < 120, "{} and {gone}: {told}", reports.len());
}

#[cfg(unix)]
#[test]
fn nobody_listening_does_not_keep_the_reports_from_the_file() {
    let photos = pictures("unheard", 8, 40);
    write(photos.join("broken.png"), b"no picture");
    let out = folder("unheard_out").join("out.jsonl");
    // Both streams end in a pipe whose other side is closed.
    let closed = || {
        let mut child = Command::new("true").stdin(Stdio::piped()).spawn().expect("true starts");
        let pipe = child.stdin.take().expect("a pipe");
        child.wait().expect("it ends");
        Stdio::from(pipe)
    };
    let status = to(&out, &[&photos]).stdout(closed()).stderr(closed()).status().expect("grnet starts");
    assert_eq!(status.code(), Some(1), "one cannot be read");
    assert_eq!(lines(&out).len(), 9);
}

#[cfg(target_os = "linux")]
#[test]
fn names_that_are_no_text_stay_apart_and_are_gone_on_with() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let photos = folder("odd_names");
    for (number, name) in [&b"a\xfe.png"[..], b"a\xff.png", b"b\n.png", "ä \u{fffd}.png".as_bytes()].iter().enumerate()
    {
        write(photos.join(OsStr::from_bytes(name)), &png(40, number as u32));
    }
    let out = folder("odd_names_out").join("out.jsonl");
    assert!(run(&mut to(&out, &[&photos])).status.success());
    let shown = |name: &str| photos.join(name).display().to_string();
    assert_eq!(names(&out), [shown(r"a\xfe.png"), shown(r"a\xff.png"), shown("b\n.png"), shown("ä \u{fffd}.png")]);
    // Without the second, which the first must not be taken for.
    let whole = fs::read(&out).expect("the output");
    let kept: Vec<&[u8]> = whole
        .split_inclusive(|byte| *byte == b'\n')
        .enumerate()
        .filter(|(index, _)| *index != 1)
        .map(|(_, line)| line)
        .collect();
    write(&out, &kept.concat());
    assert!(resume(&out, &[&photos]).status.success());
    assert_eq!(sorted(lines(&out)), sorted(lines_of(&whole)));
}

#[cfg(unix)]
#[test]
fn the_array_script_run_for_each_task_gives_the_single_run() {
    let photos = pictures("array", 30, 40);
    let outs = folder("array_out");
    let whole = outs.join("whole.jsonl");
    assert!(run(&mut to(&whole, &[&photos])).status.success());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/bulk/slurm-array.sh");
    let task = |number: u32| {
        let mut command = Command::new("bash");
        command.arg(&script).arg(outs.join("parts")).arg(&photos).args(["--cropped", "--device", "cpu", "--model"]);
        command.arg(model()).env("GRNET", env!("CARGO_BIN_EXE_grnet"));
        // As Slurm numbers the tasks of `--array=5-7`.
        command.env("SLURM_ARRAY_TASK_ID", number.to_string()).env("SLURM_ARRAY_TASK_MIN", "5");
        run(command.env("SLURM_ARRAY_TASK_COUNT", "3"))
    };
    for number in [5, 6, 7, 6] {
        // A task that Slurm starts again goes on where it was.
        let output = task(number);
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
    let mut together = Vec::new();
    for part in fs::read_dir(outs.join("parts")).expect("the parts") {
        together.extend(lines(&part.expect("a part").path()));
    }
    assert_eq!(sorted(together), sorted(lines(&whole)));
}
