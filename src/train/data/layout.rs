//! What a data set looks like on disk -> rows of a table. A table says everything itself; folders and the public sets say it
//! by names, lists and metadata files. Nothing is left out in silence: what carries no label is counted.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use walkdir::WalkDir;

use super::table::{self, Crop, FAKE, REAL, Row, Split};
use crate::{Error, ErrorKind, Result};

/// How a data set is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Layout {
    /// Found out from what lies there.
    #[default]
    Auto,
    /// A table, see [`table`].
    Csv,
    /// Folders named by class: `[train|val|test/]{real,fake}/[SOURCE or GENERATOR/[GROUP/]]picture`, or one folder per
    /// generator beside `real`. Frames of one video belong into one GROUP folder; other pictures stand for themselves.
    Folders,
    /// FaceForensics++: `original_sequences/SOURCE/COMPRESSION/*/VIDEO/frame`, `manipulated_sequences/METHOD/...`; with the
    /// official `train.json`, `val.json` and `test.json` in the root (or `splits/`) where they are at hand.
    FaceForensics,
    /// DFDC: folders with a `metadata.json`, the frames of `NAME.mp4` in a folder `NAME` beside it.
    Dfdc,
    /// Celeb-DF v2: `Celeb-real`, `YouTube-real`, `Celeb-synthesis` with a folder of frames a video, and
    /// `List_of_testing_videos.txt`.
    CelebDf,
    /// The Hybrid Fake Face dataset: lists `train.txt`, `val.txt`, `test.txt` of `path label`, where 0 is fake and 1 real.
    Hff,
}

impl Layout {
    /// All layouts by the names of the command line.
    pub const NAMES: [(&str, Layout); 7] = [
        ("auto", Layout::Auto),
        ("csv", Layout::Csv),
        ("folders", Layout::Folders),
        ("faceforensics", Layout::FaceForensics),
        ("dfdc", Layout::Dfdc),
        ("celebdf", Layout::CelebDf),
        ("hff", Layout::Hff),
    ];

    /// The layout of that name.
    ///
    /// # Errors
    /// `BadUsage`, listing the names.
    pub fn named(name: &str) -> Result<Layout> {
        let found = Layout::NAMES.iter().find(|(known, _)| *known == name);
        found.map(|(_, layout)| *layout).ok_or_else(|| {
            let names = Layout::NAMES.map(|(name, _)| name).join(", ");
            Error::new(ErrorKind::BadUsage, format!("expected a layout ({names}), found {name}"))
        })
    }
}

/// A data set that is known picture by picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    /// The pictures.
    pub rows: Vec<Row>,
    /// What the rows' paths are relative to.
    pub base: PathBuf,
    /// Files or rows that were left out, by reason.
    pub left_out: BTreeMap<&'static str, usize>,
}

const UNLABELLED: &str = "pictures whose folder or list names no class";
const OF_TEST: &str = "training pictures of an original that is in the test list";
const UNLISTED: &str = "lists' lines whose picture is not there";

/// Reads the data set at `path`: a table, or the root folder of one of the other layouts.
///
/// # Errors
/// `Io` when nothing is there, `BadData` when it is not laid out so; both say what was expected.
pub fn read(path: &Path, layout: Layout) -> Result<Dataset> {
    let layout = if layout == Layout::Auto { guess(path)? } else { layout };
    if layout == Layout::Csv {
        let base = path.parent().unwrap_or(Path::new(".")).to_path_buf();
        return Ok(Dataset { rows: table::read_table(path)?, base, left_out: BTreeMap::new() });
    }
    let mut found = Finder { root: path, rows: Vec::new(), left_out: BTreeMap::new() };
    match layout {
        Layout::FaceForensics => found.face_forensics()?,
        Layout::Dfdc => found.dfdc()?,
        Layout::CelebDf => found.celeb_df()?,
        Layout::Hff => found.hff()?,
        _ => found.folders()?,
    }
    let Finder { mut rows, left_out, .. } = found;
    rows.sort_by(|a, b| a.path.cmp(&b.path));
    table::check_rows(&rows, &path.display().to_string())?;
    Ok(Dataset { rows, base: path.to_path_buf(), left_out })
}

fn guess(path: &Path) -> Result<Layout> {
    if path.is_file() {
        return Ok(Layout::Csv);
    }
    if !path.is_dir() {
        return Err(Error::new(
            ErrorKind::Io,
            format!("expected a table or a folder, found none at {}", path.display()),
        ));
    }
    let has = |name: &str| path.join(name).exists();
    let below = || fs::read_dir(path).into_iter().flatten().flatten();
    Ok(if has("manipulated_sequences") || has("original_sequences") {
        Layout::FaceForensics
    } else if has("Celeb-synthesis") || has("Celeb-real") {
        Layout::CelebDf
    } else if has(METADATA) || below().any(|entry| entry.path().join(METADATA).exists()) {
        Layout::Dfdc
    } else if SPLITS.iter().any(|(name, _)| has(&format!("{name}.txt"))) {
        Layout::Hff
    } else {
        Layout::Folders
    })
}

const METADATA: &str = "metadata.json";
const SPLITS: [(&str, Split); 6] = [
    ("train", Split::Train),
    ("training", Split::Train),
    ("val", Split::Val),
    ("valid", Split::Val),
    ("validation", Split::Val),
    ("test", Split::Test),
];
const REAL_NAMES: [&str; 6] = ["real", "reals", "0_real", "original", "originals", "real_images"];
const FAKE_NAMES: [&str; 6] = ["fake", "fakes", "1_fake", "manipulated", "generated", "fake_images"];
/// Folders between a video's class and its frames that say nothing.
const FORMS: [&str; 8] = ["images", "frames", "faces", "crops", "raw", "c0", "c23", "c40"];

fn split_named(name: &str) -> Option<Split> {
    SPLITS.iter().find(|(known, _)| name.eq_ignore_ascii_case(known)).map(|(_, split)| *split)
}

fn is_one_of(name: &str, names: &[&str]) -> bool {
    names.iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// Rows in the making.
struct Finder<'a> {
    root: &'a Path,
    rows: Vec<Row>,
    left_out: BTreeMap<&'static str, usize>,
}

impl Finder<'_> {
    fn leave_out(&mut self, reason: &'static str) {
        *self.left_out.entry(reason).or_default() += 1;
    }

    /// All pictures below a folder as their path's parts, relative to the root.
    fn pictures(&self, below: &str) -> Vec<Vec<String>> {
        let kinds = ["jpg", "jpeg", "png", "webp", "bmp", "gif"];
        let files = WalkDir::new(self.root.join(below)).follow_links(true).sort_by_file_name().into_iter();
        let files = files.filter_map(|entry| entry.ok()).filter(|entry| entry.file_type().is_file());
        let pictures = files.filter(|entry| {
            let kind = entry.path().extension().map(|kind| kind.to_string_lossy().to_lowercase());
            kind.is_some_and(|kind| kinds.contains(&kind.as_str()))
        });
        let parts = |path: &Path| path.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        pictures.filter_map(|entry| entry.path().strip_prefix(self.root).ok().map(parts)).collect()
    }

    fn row(&mut self, parts: &[String], label: i8, source: &str, group: String, split: Option<Split>) {
        self.rows.push(Row {
            path: parts.join("/"),
            label,
            source: source.to_string(),
            generator: if label == FAKE { source.to_string() } else { String::new() },
            split: split.unwrap_or_else(|| Split::of_group(&group)),
            group,
            crop: Crop::Find,
            set: String::new(),
        });
    }

    fn folders(&mut self) -> Result<()> {
        let pictures = self.pictures("");
        let named = |parts: &[String], names: &[&str]| parts.iter().any(|part| is_one_of(part, names));
        let folders = |parts: &[String]| parts[..parts.len() - 1].to_vec();
        // Beside a `real` folder every other one is a generator; with neither name nothing says what is fake.
        let any_real = pictures.iter().any(|parts| named(&folders(parts), &REAL_NAMES));
        for parts in pictures {
            let folders = folders(&parts);
            let (mut split, mut label, mut class, mut rest) = (None, None, "", Vec::new());
            for (depth, name) in folders.iter().enumerate() {
                match split_named(name) {
                    Some(found) if depth <= 1 => split = split.or(Some(found)),
                    _ if label.is_none() && is_one_of(name, &REAL_NAMES) => (label, class) = (Some(REAL), name),
                    _ if label.is_none() && is_one_of(name, &FAKE_NAMES) => (label, class) = (Some(FAKE), name),
                    _ => rest.push(name.as_str()),
                }
            }
            let label = label.or((any_real && !rest.is_empty()).then_some(FAKE));
            let Some(label) = label else {
                self.leave_out(UNLABELLED);
                continue;
            };
            let source = rest.first().copied().unwrap_or(class).to_string();
            // A group has one name on both sides, so that an original and its forgery stay together.
            let group = if rest.len() > 1 { rest[1..].join("/") } else { parts.join("/") };
            self.row(&parts, label, &source, group, split);
        }
        self.expect_rows("real/ beside fake/ or one folder per generator")
    }

    fn face_forensics(&mut self) -> Result<()> {
        let mut official = HashMap::new();
        for (file, split) in [("train.json", Split::Train), ("val.json", Split::Val), ("test.json", Split::Test)] {
            let Some(path) =
                [file.to_string(), format!("splits/{file}")].iter().map(|f| self.root.join(f)).find(|p| p.exists())
            else {
                continue;
            };
            for id in read_json(&path)?.as_array().into_iter().flatten().flat_map(|pair| pair.as_array()).flatten() {
                official.insert(id.as_str().unwrap_or_default().to_string(), split);
            }
        }
        let mut videos = Vec::new();
        for (class, label) in [("original_sequences", REAL), ("manipulated_sequences", FAKE)] {
            for parts in self.pictures(class) {
                match video_of(&parts, 2) {
                    Some(video) => videos.push((parts, label, video)),
                    None => self.leave_out(UNLABELLED),
                }
            }
        }
        // A swap `a_b` shows the video a and the face of b: all videos that swaps link are one group.
        let mut links = Links::default();
        for (_, _, video) in &videos {
            let ids = forensics_ids(video);
            ids[1..].iter().for_each(|id| links.join(&ids[0], id));
        }
        for (parts, label, video) in videos {
            let ids = forensics_ids(&video);
            let split = official.get(&ids[0]).copied();
            self.row(&parts, label, &parts[1].clone(), links.root(&ids[0]), split);
        }
        self.expect_rows("frames as original_sequences/SOURCE/c23/images/VIDEO/0000.png")
    }

    fn dfdc(&mut self) -> Result<()> {
        let mut by_video: HashMap<String, Option<(i8, String)>> = HashMap::new();
        let files = WalkDir::new(self.root).sort_by_file_name().into_iter().filter_map(|entry| entry.ok());
        for file in files.filter(|entry| entry.file_name() == METADATA) {
            for (name, about) in read_json(file.path())?.as_object().into_iter().flatten() {
                let stem = |name: &str| name.strip_suffix(".mp4").unwrap_or(name).to_string();
                let original = about["original"].as_str().map_or_else(|| stem(name), stem);
                let label = match about["label"].as_str() {
                    Some("REAL") => Some(REAL),
                    Some("FAKE") => Some(FAKE),
                    _ => None,
                };
                by_video.insert(stem(name), label.map(|label| (label, original)));
            }
        }
        for parts in self.pictures("") {
            let known = parts[..parts.len() - 1]
                .iter()
                .rev()
                .find_map(|folder| by_video.get(folder.strip_suffix(".mp4").unwrap_or(folder)).cloned().flatten());
            match known {
                Some((REAL, original)) => self.row(&parts, REAL, "dfdc_real", original, None),
                Some((_, original)) => self.row(&parts, FAKE, "dfdc", original, None),
                None => self.leave_out(UNLABELLED),
            }
        }
        self.expect_rows("metadata.json and the frames of NAME.mp4 in a folder NAME")
    }

    fn celeb_df(&mut self) -> Result<()> {
        let list = self.root.join("List_of_testing_videos.txt");
        let text = fs::read_to_string(&list).map_err(|e| {
            Error::caused(ErrorKind::Io, format!("expected Celeb-DF's test list at {}", list.display()), e)
        })?;
        // Lines are `1 YouTube-real/00170.mp4`; the label there is 1 for real, and the folder says the same.
        let listed = text.lines().filter_map(|line| line.split_whitespace().nth(1));
        let tested: HashSet<String> = listed.map(|name| name.trim_end_matches(".mp4").to_string()).collect();
        let mut videos = Vec::new();
        for (class, label) in [("Celeb-real", REAL), ("YouTube-real", REAL), ("Celeb-synthesis", FAKE)] {
            for parts in self.pictures(class) {
                let Some(video) = video_of(&parts, 1) else {
                    self.leave_out(UNLABELLED);
                    continue;
                };
                let group = format!("{}/{}", class.replace("synthesis", "real"), celeb_original(&video));
                let test = tested.contains(&format!("{class}/{video}"));
                videos.push((parts, label, group, test));
            }
        }
        // The list is of single videos: what was made from a tested video, or what a tested one was made from, must go.
        let tested: HashSet<String> = videos.iter().filter(|video| video.3).map(|video| video.2.clone()).collect();
        for (parts, label, group, test) in videos {
            if !test && tested.contains(&group) {
                self.leave_out(OF_TEST);
                continue;
            }
            let split = if test { Split::Test } else { train_or_val(&group) };
            self.row(&parts, label, &parts[0].clone(), group, Some(split));
        }
        self.expect_rows("frames as Celeb-synthesis/id0_id1_0000/0000.png")
    }

    fn hff(&mut self) -> Result<()> {
        for (name, split) in SPLITS {
            let list = self.root.join(format!("{name}.txt"));
            if !list.exists() {
                continue;
            }
            let text = fs::read_to_string(&list)
                .map_err(|e| Error::caused(ErrorKind::Io, format!("cannot read {}", list.display()), e))?;
            for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
                let bad = || {
                    let message = format!(
                        "{}:{}: expected a path and 0 (fake) or 1 (real), found {line:?}",
                        list.display(),
                        number + 1
                    );
                    Error::new(ErrorKind::BadData, message)
                };
                let (path, label) = line.trim().rsplit_once(char::is_whitespace).ok_or_else(bad)?;
                let label = match label {
                    "0" => FAKE,
                    "1" => REAL,
                    _ => return Err(bad()),
                };
                // The script writes the paths of the machine that it ran on: all before the split's folder is of no use.
                let parts: Vec<String> = path.trim().split('/').map(str::to_string).collect();
                let start = parts.iter().rposition(|part| part == name).unwrap_or(0);
                let parts = &parts[start..];
                if !self.root.join(parts.join("/")).exists() {
                    self.leave_out(UNLISTED);
                    continue;
                }
                let folders = &parts[..parts.len() - 1];
                let source = folders.iter().rev().find(|part| split_named(part).is_none()).cloned().unwrap_or_default();
                self.row(parts, label, &source, parts.join("/"), Some(split));
            }
        }
        self.expect_rows("pictures that train.txt, val.txt or test.txt name")
    }

    fn expect_rows(&self, what: &str) -> Result<()> {
        if !self.rows.is_empty() {
            return Ok(());
        }
        let videos = WalkDir::new(self.root).into_iter().filter_map(|entry| entry.ok());
        let videos = videos.filter(|e| e.path().extension().is_some_and(|kind| kind == "mp4" || kind == "avi")).count();
        let mut message = format!("{}: expected {what}, found no picture", self.root.display());
        if videos > 0 {
            message += &format!(
                " but {videos} videos; split them first, each into a folder of its name: ffmpeg -i NAME.mp4 -r 1 NAME/%04d.png"
            );
        }
        Err(Error::new(ErrorKind::BadData, message))
    }
}

/// The folder that names the video of a frame: the deepest below `depth` that does not merely name a form.
fn video_of(parts: &[String], depth: usize) -> Option<String> {
    let folders = parts.get(depth..parts.len() - 1)?;
    folders.iter().rev().find(|name| !is_one_of(name, &FORMS)).cloned()
}

/// `071_054` -> 071 and 054; `01_02__walking_outside__ABC` (DeepFakeDetection) -> actors 01 and 02; `071` -> 071.
fn forensics_ids(video: &str) -> Vec<String> {
    match video.split_once("__") {
        // Actors have numbers of two digits, apart from the videos' of three.
        Some((actors, _)) => actors.split('_').map(|id| format!("actor{id}")).collect(),
        None => video.split('_').map(str::to_string).collect(),
    }
}

/// `id0_id1_0000` was made from `id0_0000`; other videos from nothing.
fn celeb_original(video: &str) -> String {
    match video.split('_').collect::<Vec<_>>()[..] {
        [target, _, number] => format!("{target}_{number}"),
        _ => video.to_string(),
    }
}

/// Where the test part is given: one group in ten is for validation.
fn train_or_val(group: &str) -> Split {
    if Split::of_group(group) == Split::Val { Split::Val } else { Split::Train }
}

fn read_json(path: &Path) -> Result<Value> {
    let text = fs::read_to_string(path)
        .map_err(|e| Error::caused(ErrorKind::Io, format!("cannot read {}", path.display()), e))?;
    serde_json::from_str(&text)
        .map_err(|e| Error::caused(ErrorKind::BadData, format!("expected JSON in {}", path.display()), e))
}

/// Names joined into groups; a group is called by its smallest name.
#[derive(Default)]
struct Links(HashMap<String, String>);

impl Links {
    fn root(&self, name: &str) -> String {
        let mut name = name;
        while let Some(parent) = self.0.get(name) {
            name = parent;
        }
        name.to_string()
    }

    fn join(&mut self, a: &str, b: &str) {
        let (a, b) = (self.root(a), self.root(b));
        if a != b {
            let (small, large) = if a < b { (a, b) } else { (b, a) };
            self.0.insert(large, small);
        }
    }
}
