//! Which files `grnet detect` is to judge: those named, and the pictures in the folders named. Found one after the other, so
//! that a folder of millions needs no list of them in memory; only the names in one folder at a time are held, to be sorted.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use sha2::{Digest, Sha256};
use walkdir::WalkDir;

use crate::cli;
use crate::picture;
use crate::report::words;

/// Files in a folder that are always tried; others are if they begin like a picture, and a file that is named itself is, too.
const EXTENSIONS: [&str; 8] = ["jpg", "jpeg", "jpe", "jfif", "png", "webp", "gif", "bmp"];
/// Names that are listed of each kind of thing that a search passed over.
const LISTED: usize = 3;

/// A search through files and folders, each folder sorted by name. Links to folders are followed.
#[derive(Debug)]
pub struct Search {
    paths: std::vec::IntoIter<PathBuf>,
    walk: Option<walkdir::IntoIter>,
    /// Found already, to see how many there are at least.
    ahead: VecDeque<PathBuf>,
    selection: Selection,
    /// Only how many there are is asked for: in any order, and nothing is said of it.
    counting: bool,
    unsearched: usize,
    passed_over: BTreeMap<&'static str, (usize, Vec<String>)>,
}

impl Search {
    /// A search that has not begun.
    pub fn new(paths: &[PathBuf]) -> Search {
        Search {
            paths: Vec::from(paths).into_iter(),
            walk: None,
            ahead: VecDeque::new(),
            selection: Selection::default(),
            counting: false,
            unsearched: 0,
            passed_over: BTreeMap::new(),
        }
    }

    /// Finds up to `count` files in advance, whether they are selected or not, and returns how many there are.
    pub fn look_ahead(&mut self, count: usize) -> usize {
        while self.ahead.len() < count
            && let Some(path) = self.find()
        {
            self.ahead.push_back(path);
        }
        self.ahead.len()
    }

    /// Leaves out what is not selected.
    pub fn select(&mut self, selection: Selection) {
        self.selection = selection;
    }

    /// How many files there are, unless `stopped` says that nobody wants to know any more. A search of its own: what it
    /// comes upon is neither told nor kept.
    pub fn count(paths: &[PathBuf], shard: Option<Shard>, stopped: impl Fn() -> bool) -> Option<u64> {
        let selection = Selection { shard, ..Selection::default() };
        let mut search = Search { selection, counting: true, ..Search::new(paths) };
        let mut count = 0;
        while search.next().is_some() {
            if stopped() {
                return None;
            }
            count += 1;
        }
        Some(count)
    }

    /// Folders that could not be searched.
    pub fn unsearched(&self) -> usize {
        self.unsearched
    }

    /// What was found in folders and is not checked: how many of each kind, and the first names.
    pub fn passed_over(&self) -> Vec<String> {
        let line = |(kind, (count, names)): (&&str, &(usize, Vec<String>))| {
            let more = if *count > names.len() { ", ..." } else { "" };
            format!("passed over {count} x {kind}: {}{more}", names.join(", "))
        };
        self.passed_over.iter().map(line).collect()
    }

    fn find(&mut self) -> Option<PathBuf> {
        loop {
            let Some(walk) = &mut self.walk else {
                let path = self.paths.next()?;
                if !path.is_dir() {
                    return Some(path);
                }
                let walk = WalkDir::new(path).follow_links(true);
                self.walk = Some(if self.counting { walk } else { walk.sort_by_file_name() }.into_iter());
                continue;
            };
            match walk.next() {
                None => self.walk = None,
                Some(Ok(entry)) => {
                    if let Some(path) = self.checked(entry.into_path()) {
                        return Some(path);
                    }
                }
                Some(Err(error)) => self.failed(&error),
            }
        }
    }

    /// What a search came upon, if it is a picture by name or content; all else is counted.
    fn checked(&mut self, path: PathBuf) -> Option<PathBuf> {
        let about = match fs::metadata(&path) {
            Ok(about) => about,
            Err(_) => {
                self.pass_over(nothing_there(&path), &path);
                return None;
            }
        };
        if about.is_dir() {
            return None;
        }
        let kind = if !about.is_file() {
            Some(cli::kind_of(&about))
        } else if has_picture_extension(&path) {
            None
        } else {
            kind_by_content(&path)
        };
        match kind {
            None => Some(path),
            Some(kind) => {
                self.pass_over(kind, &path);
                None
            }
        }
    }

    fn failed(&mut self, error: &walkdir::Error) {
        match (error.loop_ancestor().is_some(), error.path()) {
            (true, Some(path)) => self.pass_over("a link to a folder that holds it", path),
            (false, Some(path)) if leads_nowhere(path, error) => self.pass_over(nothing_there(path), path),
            _ => {
                if !self.counting {
                    tell!("grnet: cannot search a folder: {}", words::plain(&error.to_string()));
                }
                self.unsearched += 1;
            }
        }
    }

    fn pass_over(&mut self, kind: &'static str, path: &Path) {
        let (count, names) = self.passed_over.entry(kind).or_default();
        *count += 1;
        if names.len() < LISTED {
            names.push(cli::shown(path));
        }
    }
}

impl Iterator for Search {
    type Item = PathBuf;

    fn next(&mut self) -> Option<PathBuf> {
        loop {
            let path = match self.ahead.pop_front() {
                Some(path) => path,
                None => self.find()?,
            };
            if self.selection.takes(&path) {
                return Some(path);
            }
        }
    }
}

/// Whether a path is gone, or a link to what is not there or to itself; and no place that may not be looked at.
fn leads_nowhere(path: &Path, error: &walkdir::Error) -> bool {
    match error.io_error().map(io::Error::kind) {
        Some(io::ErrorKind::NotFound) => true,
        Some(io::ErrorKind::PermissionDenied) | None => false,
        Some(_) => path.is_symlink(),
    }
}

/// Why a path that a folder listed leads to nothing.
fn nothing_there(path: &Path) -> &'static str {
    if path.is_symlink() { "a link to nothing" } else { "a file that went away" }
}

fn has_picture_extension(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    EXTENSIONS.iter().any(|known| extension.eq_ignore_ascii_case(known))
}

/// What a file is that does not begin like a picture that can be read; nothing for one that does.
fn kind_by_content(path: &Path) -> Option<&'static str> {
    const BEGINNING: u64 = 1024;
    let mut bytes = Vec::new();
    let read = fs::File::open(path).and_then(|file| file.take(BEGINNING).read_to_end(&mut bytes));
    if read.is_err() {
        return Some("an unreadable file");
    }
    if bytes.is_empty() {
        return Some("an empty file");
    }
    if picture::is_read(&bytes) {
        None
    } else {
        Some(picture::foreign(&bytes).map_or("a file of an unknown kind", |kind| kind.1))
    }
}

/// Which of the files found are to be judged.
#[derive(Debug, Default)]
pub struct Selection {
    /// Only the files of this shard.
    pub shard: Option<Shard>,
    /// Files that were judged already.
    pub done: Names,
}

impl Selection {
    fn takes(&mut self, path: &Path) -> bool {
        if self.shard.is_none() && self.done.is_empty() {
            return true;
        }
        let name = cli::name_of(path);
        self.shard.is_none_or(|shard| shard.holds(&name)) && !self.done.remove(&name)
    }
}

/// Names of files, each as often as it was added: a file that is named twice is judged twice, in one run or in two. Of a name
/// 16 bytes of its SHA-256 are kept, so that a million take some 50 MB however long they are.
#[derive(Debug, Default)]
pub struct Names(HashMap<u128, u32>);

impl Names {
    /// Adds a name.
    pub fn add(&mut self, name: &str) {
        *self.0.entry(digest(name)).or_default() += 1;
    }

    /// Takes a name out, once; whether it was there.
    fn remove(&mut self, name: &str) -> bool {
        match self.0.get_mut(&digest(name)) {
            Some(count) if *count > 0 => {
                *count -= 1;
                true
            }
            _ => false,
        }
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn digest(name: &str) -> u128 {
    let digest: [u8; 32] = Sha256::digest(name.as_bytes()).into();
    digest[..16].iter().fold(0, |number, byte| number << 8 | u128::from(*byte))
}

/// A part of the files: those whose names' SHA-256 leaves this remainder. No other file, machine or order plays a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// Which one, from 1.
    number: u32,
    /// Of how many.
    count: u32,
}

impl Shard {
    /// Whether a file of this name belongs to it.
    pub fn holds(self, name: &str) -> bool {
        digest(name) % u128::from(self.count) == u128::from(self.number - 1)
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Shard, String> {
        let parsed = text.split_once('/').and_then(|(number, count)| Some((number.parse().ok()?, count.parse().ok()?)));
        match parsed {
            Some((number, count)) if (1..=count).contains(&number) => Ok(Shard { number, count }),
            _ => Err(format!("expected NUMBER/COUNT from 1/COUNT to COUNT/COUNT, found {text}")),
        }
    }
}

impl std::fmt::Display for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.number, self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_in_one_shard_and_stays_there() {
        let shards: Vec<Shard> = (1..=7).map(|i| format!("{i}/7").parse().expect("a shard")).collect();
        let mut sizes = [0; 7];
        for number in 0..7000 {
            let name = format!("photos/{number}.jpg");
            let holding: Vec<usize> = (0..7).filter(|i| shards[*i].holds(&name)).collect();
            let [holder] = holding[..] else { panic!("{name} is in {holding:?}") };
            sizes[holder] += 1;
        }
        assert!(sizes.iter().all(|size| (850..1150).contains(size)), "{sizes:?}");
        // Shards that finished under another version must go on under this one.
        let holder = |name: &str| shards.iter().position(|shard| shard.holds(name));
        assert_eq!(["a.jpg", "b.jpg", "photos/ä.png"].map(holder), [Some(4), Some(1), Some(3)]);
    }

    #[test]
    fn shards_are_counted_from_one() {
        for wrong in ["0/4", "5/4", "1/0", "1", "/", "-1/4", "1/4/4", "a/b", "1.0/2"] {
            assert!(wrong.parse::<Shard>().is_err_and(|message| message.contains(wrong)), "{wrong}");
        }
        assert_eq!("4/4".parse::<Shard>().map(|shard| shard.to_string()), Ok("4/4".to_string()));
    }

    #[test]
    fn a_name_is_taken_out_as_often_as_it_was_put_in() {
        let mut names = Names::default();
        names.add("a");
        names.add("a");
        assert_eq!(
            [names.remove("a"), names.remove("b"), names.remove("a"), names.remove("a")],
            [true, false, true, false]
        );
    }
}
