//! Tables of labelled pictures: `path,label,source,generator,group,split[,crop]` as CSV, read and checked before any
//! picture is opened. As spreadsheets write them: with commas, semicolons or tabs, in UTF-8 or UTF-16, labels as numbers or words.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{Error, ErrorKind, Result};

/// Which part of the data a row belongs to. Test rows are never looked at in training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// Learnt from.
    Train,
    /// Decides which checkpoint is kept, calibration and thresholds.
    Val,
    /// Only ever evaluated on.
    Test,
}

impl Split {
    /// As tables have it.
    pub fn name(self) -> &'static str {
        match self {
            Split::Train => "train",
            Split::Val => "val",
            Split::Test => "test",
        }
    }

    /// The split of a group where the data does not name one: 80 % train, 10 % val, 10 % test, decided by the group's name
    /// alone (first 8 bytes of the SHA-256 of `split:` + group, big-endian, modulo 10; 8 is val, 9 test), so that the same
    /// group is in the same split in every table, on every machine.
    pub fn of_group(group: &str) -> Split {
        let digest = Sha256::digest(format!("split:{group}").as_bytes());
        let number = digest.iter().take(8).fold(0u64, |number, byte| number << 8 | u64::from(*byte));
        match number % 10 {
            8 => Split::Val,
            9 => Split::Test,
            _ => Split::Train,
        }
    }
}

/// How the face is cut out of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Crop {
    /// A photo: the face must be found.
    #[default]
    Find,
    /// Already a tight crop: all of it is taken.
    Whole,
}

/// Label of an untouched picture.
pub const REAL: i8 = 0;
/// Label of a generated or manipulated picture.
pub const FAKE: i8 = 1;
/// Label of a picture of which nothing is known: scored, never counted, never trained on.
pub const UNKNOWN: i8 = -1;

/// One picture of a table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Where the picture is, relative to the table.
    pub path: String,
    /// [`REAL`], [`FAKE`] or [`UNKNOWN`].
    #[serde(deserialize_with = "label")]
    pub label: i8,
    /// The collection it comes from.
    #[serde(default)]
    pub source: String,
    /// What made it; empty for real pictures.
    #[serde(default)]
    pub generator: String,
    /// Pictures of one identity, video or original; never in two splits.
    #[serde(default)]
    pub group: String,
    /// The part of the data it belongs to; [`Split::of_group`] where the table has no such column.
    #[serde(default = "train")]
    pub split: Split,
    /// How to cut the face out.
    #[serde(default)]
    pub crop: Crop,
    /// A named selection, reported apart by `grnet eval`; empty where the table has no such column.
    #[serde(default)]
    pub set: String,
}

fn train() -> Split {
    Split::Train
}

/// A label as a number, or as the word for it.
fn label<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<i8, D::Error> {
    struct Label;

    impl Visitor<'_> for Label {
        type Value = i8;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a label: 0 or real, 1 or fake, -1 or unknown")
        }

        fn visit_i64<E: de::Error>(self, number: i64) -> std::result::Result<i8, E> {
            i8::try_from(number).map_err(|_| E::invalid_value(de::Unexpected::Signed(number), &self))
        }

        fn visit_u64<E: de::Error>(self, number: u64) -> std::result::Result<i8, E> {
            i8::try_from(number).map_err(|_| E::invalid_value(de::Unexpected::Unsigned(number), &self))
        }

        fn visit_str<E: de::Error>(self, word: &str) -> std::result::Result<i8, E> {
            match word.to_lowercase().as_str() {
                "real" => Ok(REAL),
                "fake" => Ok(FAKE),
                "unknown" => Ok(UNKNOWN),
                _ => Err(E::invalid_value(de::Unexpected::Str(word), &self)),
            }
        }
    }

    deserializer.deserialize_any(Label)
}

/// Reads a table and checks what can be known without opening a picture: labels, splits, that no path comes twice and
/// no group is in two splits. An empty group means that the picture stands for itself.
///
/// # Errors
/// `Io` when the file cannot be opened; `BadData`, naming line and value, otherwise.
pub fn read_table(path: &Path) -> Result<Vec<Row>> {
    let file = std::fs::File::open(path)
        .map_err(|e| Error::caused(ErrorKind::Io, format!("cannot open the table {}", path.display()), e))?;
    parse_table(file, &path.display().to_string())
}

/// [`read_table`] for any reader; `name` appears in errors.
///
/// # Errors
/// As [`read_table`].
pub fn parse_table(mut reader: impl std::io::Read, name: &str) -> Result<Vec<Row>> {
    let mut bytes = Vec::new();
    let read = reader.read_to_end(&mut bytes);
    read.map_err(|e| Error::caused(ErrorKind::Io, format!("cannot read the table {name}"), e))?;
    let text = text_of(bytes).ok_or_else(|| {
        Error::new(ErrorKind::BadData, format!("{name}: expected a table in UTF-8 or UTF-16, found neither"))
    })?;

    let mut rows = Vec::new();
    let mut reader =
        csv::ReaderBuilder::new().delimiter(separator(&text)).trim(csv::Trim::All).from_reader(text.as_bytes());
    let broken = |e| Error::caused(ErrorKind::BadData, format!("{name}: expected names of columns"), e);
    let columns: csv::StringRecord = reader.headers().map_err(broken)?.iter().map(str::to_lowercase).collect();
    for needed in ["path", "label"] {
        if !columns.iter().any(|column| column == needed) {
            let found = columns.iter().collect::<Vec<&str>>().join(", ");
            let message = format!("{name}: expected a column `{needed}`, found the columns {found}");
            return Err(Error::new(ErrorKind::BadData, message));
        }
    }
    let unsplit = !columns.iter().any(|column| column == "split");
    reader.set_headers(columns);
    for (index, record) in reader.deserialize::<Row>().enumerate() {
        let mut row = record.map_err(|e| {
            Error::caused(ErrorKind::BadData, format!("{name}: expected a picture in row {}", index + 1), e)
        })?;
        if ![REAL, FAKE, UNKNOWN].contains(&row.label) {
            let message = format!("{name}: expected label 0, 1 or -1 for {}, found {}", row.path, row.label);
            return Err(Error::new(ErrorKind::BadData, message));
        }
        if row.group.is_empty() {
            row.group = row.path.clone();
        }
        if unsplit {
            row.split = Split::of_group(&row.group);
        }
        rows.push(row);
    }
    check_rows(&rows, name)?;
    Ok(rows)
}

/// The text of a file by its byte order mark; UTF-8 where there is none.
fn text_of(bytes: Vec<u8>) -> Option<String> {
    let units = |bytes: &[u8], of: fn([u8; 2]) -> u16| {
        String::from_utf16(&bytes.as_chunks::<2>().0.iter().map(|pair| of(*pair)).collect::<Vec<u16>>()).ok()
    };
    match &bytes[..] {
        [0xff, 0xfe, rest @ ..] => units(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => units(rest, u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, rest @ ..] => String::from_utf8(rest.to_vec()).ok(),
        _ => String::from_utf8(bytes).ok(),
    }
}

/// What stands between columns, by the line of their names.
fn separator(text: &str) -> u8 {
    let names = text.lines().next().unwrap_or_default();
    let count = |separator: u8| names.bytes().filter(|&byte| byte == separator).count();
    // The last of equals, and so a comma in a table of one column.
    [b'\t', b';', b','].into_iter().max_by_key(|&separator| count(separator)).unwrap_or(b',')
}

/// Refuses an empty table, a path that comes twice and a group that is in two splits.
///
/// # Errors
/// `BadData`, naming the first offender.
pub fn check_rows(rows: &[Row], name: &str) -> Result<()> {
    let bad = |message: String| Err(Error::new(ErrorKind::BadData, format!("{name}: {message}")));
    if rows.is_empty() {
        return bad("expected at least one picture, found none".into());
    }
    let mut paths = HashMap::new();
    let mut groups: HashMap<&str, Split> = HashMap::new();
    for row in rows {
        if paths.insert(&row.path, ()).is_some() {
            return bad(format!("expected every path once, found {} twice", row.path));
        }
        match groups.insert(&row.group, row.split) {
            Some(other) if other != row.split => {
                let (one, two) = (other.name(), row.split.name());
                return bad(format!("expected each group in one split, found group {} in {one} and {two}", row.group));
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "path,label,source,generator,group,split,crop\n";

    fn parse(lines: &str) -> Result<Vec<Row>> {
        parse_table(format!("{HEAD}{lines}").as_bytes(), "table")
    }

    #[test]
    fn a_good_table_is_read() {
        let rows = parse("a.jpg,0,celeba,,g1,train,find\nb.jpg,1,swap,dfdc,g1,train,whole\nc.jpg,-1,web,,,val,find\n")
            .unwrap();
        assert_eq!(rows.len(), 3);
        assert_eq!((rows[1].label, rows[1].crop, rows[1].generator.as_str()), (FAKE, Crop::Whole, "dfdc"));
        assert_eq!((rows[2].group.as_str(), rows[2].split), ("c.jpg", Split::Val));
    }

    #[test]
    fn a_table_without_splits_gets_them_by_group() {
        let rows = |count| (0..count).map(|i| format!("{i}.jpg,0,g{}\n", i / 2)).collect::<String>();
        let table = |count| parse_table(format!("path,label,group\n{}", rows(count)).as_bytes(), "table").unwrap();
        let splits: Vec<Split> = table(4000).iter().map(|row| row.split).collect();
        assert_eq!(table(100).iter().map(|row| row.split).collect::<Vec<_>>(), splits[..100], "grows with the table");
        for (split, share) in [(Split::Train, 0.8), (Split::Val, 0.1), (Split::Test, 0.1)] {
            let found = splits.iter().filter(|s| **s == split).count() as f64 / 4000.0;
            assert!((found - share).abs() < 0.02, "{split:?}: {found}");
        }
        // The rule in Python: int.from_bytes(sha256(b"split:g6").digest()[:8], "big") % 10 is 9, g8 gives 8.
        assert_eq!(["g0", "g6", "g8"].map(Split::of_group), [Split::Train, Split::Test, Split::Val]);
    }

    #[test]
    fn tables_of_spreadsheets_are_read_alike() {
        let plain = "path,label,group\na b.jpg,0,g\nc.jpg,1,h\nd.jpg,-1,i\n";
        let expected = parse_table(plain.as_bytes(), "table").unwrap();
        let words = " Path ; Label ; Group\r\na b.jpg ; Real ; g\r\nc.jpg;fake;h\r\nd.jpg;unknown;i\r\n";
        let units = |text: &str, of: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(of).collect::<Vec<u8>>();
        for bytes in [
            words.as_bytes().to_vec(),
            words.replace(';', "\t").into_bytes(),
            [&[0xef, 0xbb, 0xbf], plain.as_bytes()].concat(),
            [vec![0xff, 0xfe], units(words, u16::to_le_bytes)].concat(),
            [vec![0xfe, 0xff], units(plain, u16::to_be_bytes)].concat(),
        ] {
            assert_eq!(parse_table(&bytes[..], "table").unwrap(), expected, "{}", String::from_utf8_lossy(&bytes));
        }
        let error = parse_table(&b"file,label\na.jpg,0\n"[..], "table").unwrap_err().full_message();
        assert!(error.contains("expected a column `path`, found the columns file, label"), "{error}");
        let error = parse_table(&b"path,label\n\xe9.jpg,0\n"[..], "table").unwrap_err().full_message();
        assert!(error.contains("UTF-8 or UTF-16"), "{error}");
    }

    #[test]
    fn bad_tables_are_refused_by_name() {
        for (lines, word) in [
            ("a.jpg,2,s,,g,train,find\n", "found 2"),
            ("a.jpg,maybe,s,,g,train,find\n", "0 or real, 1 or fake"),
            ("a.jpg,0,s,,g,training,find\n", "row 1"),
            ("a.jpg,0,s,,g,train,find\na.jpg,0,s,,g,train,find\n", "twice"),
            ("a.jpg,0,s,,g,train,find\nb.jpg,1,s,,g,val,find\n", "group g in train and val"),
            ("", "found none"),
        ] {
            let error = parse(lines).expect_err(lines);
            assert_eq!(error.kind(), ErrorKind::BadData);
            assert!(error.full_message().contains(word), "{} lacks {word}", error.full_message());
        }
    }
}
