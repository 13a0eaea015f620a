//! What the command line and the printable report say, in English. The page has its own table, which is translated
//! (`www/shared/strings.js`).

use crate::report::{Band, Change, FileInfo, Mark, MarkKind, Meaning, Note, Reason};

/// A name as it may stand in a line of a terminal: control characters are escaped, and so are those that turn the direction of
/// text, since a line break in a file's name could fake a verdict.
pub fn plain(name: &str) -> String {
    let turns = |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let mut shown = String::with_capacity(name.len());
    for c in name.chars() {
        if c.is_control() || turns(c) { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    shown
}

/// A verdict, in a few words.
pub fn band(band: Band) -> &'static str {
    match band {
        Band::LikelyFake => "shows traces of generation or manipulation",
        Band::Inconclusive => "cannot tell",
        Band::NoSignsFound => "no signs found, which is no proof",
        Band::NotAssessed => "not assessed",
    }
}

/// Why nothing can be said.
pub fn reason(reason: Reason) -> &'static str {
    match reason {
        Reason::NoFace => "no face was found",
        Reason::TooSmall => "the face has too few pixels",
        Reason::TooDegraded => "the face is too blurred or too strongly compressed",
        Reason::Unreadable => "the file could not be read as a picture",
        Reason::Damaged => "the file is damaged or cut off, and the face does not lie in the part that is there",
        Reason::Unstable => "the score leaves its band when the picture is gently re-encoded or rescaled",
        Reason::Unfamiliar => "the picture is unlike the face photos that the model knows",
    }
}

/// How a file was read, where that is not as usual: a sentence each.
pub fn file_notes(file: &FileInfo) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(present) = file.present {
        let percent = (100.0 * present).floor();
        notes.push(format!(
            "the file is damaged or cut off: {percent} % of the picture is there; only faces in that part are judged"
        ));
    }
    if let Some(frame) = file.frame {
        notes.push(format!("frame {} of {} of an animation was read", frame.number, frame.count));
    }
    if let Some(shrunk_by) = file.shrunk_by {
        notes.push(format!("the picture is very large and was read at 1/{shrunk_by} of its size"));
    }
    notes.extend(file.notes.iter().map(|note| self::note(*note).to_string()));
    notes
}

fn note(note: Note) -> &'static str {
    match note {
        Note::NoEndMark => "the file lacks its end mark; the picture is all there",
        Note::WrongChecksum => "a checksum in the file is wrong; the picture itself fits its own",
        Note::ColourProfile => "its colours were brought from the file's colour profile to sRGB",
        Note::UnreadProfile => {
            "the file has a colour profile of a kind that is not read; its colours were taken for sRGB"
        }
        Note::NotTurned => "the file asks to be turned; it was judged as browsers show it, unturned",
        Note::BrowserDecoded => {
            "a browser decoded the picture; its score may differ by up to 0.06 from that of the same picture saved as PNG"
        }
    }
}

/// What a verdict means for photos that nobody touched.
pub fn meaning(meaning: Meaning) -> String {
    let Meaning { per_1000_untouched: count, at_most } = meaning;
    if at_most {
        format!(
            "the threshold was fitted so that at most about {count} of 1,000 untouched faces in the validation photos get this result"
        )
    } else {
        format!("of 1,000 untouched faces of this size and compression, about {count} get this result")
    }
}

/// What was done to the picture.
pub fn change(change: Change) -> &'static str {
    match change {
        Change::Jpeg90 => "JPEG 90",
        Change::Jpeg75 => "JPEG 75",
        Change::Scale90 => "90 % size",
        Change::Scale75 => "75 % size",
    }
}

/// What the file says about itself, with where it says so.
pub fn mark(mark: &Mark) -> String {
    let Mark { kind, value, place, detail } = mark;
    let said = match kind {
        MarkKind::C2pa => "C2PA manifest (signature not checked)".to_string(),
        MarkKind::DigitalSourceType => format!("digital source type {value}"),
        MarkKind::Generator => format!("made with {value}"),
        MarkKind::CameraMake => format!("camera make {value}"),
        MarkKind::CameraModel => format!("camera model {value}"),
        MarkKind::Software => format!("software {value}"),
    };
    let detail = detail.as_ref().map_or(String::new(), |detail| format!(": {detail}"));
    format!("{said} ({place}){detail}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::FrameRead;

    const REASONS: [Reason; 7] = [
        Reason::NoFace,
        Reason::TooSmall,
        Reason::TooDegraded,
        Reason::Unreadable,
        Reason::Damaged,
        Reason::Unstable,
        Reason::Unfamiliar,
    ];
    const NOTES: [Note; 6] = [
        Note::NoEndMark,
        Note::WrongChecksum,
        Note::ColourProfile,
        Note::UnreadProfile,
        Note::NotTurned,
        Note::BrowserDecoded,
    ];

    /// All that is said of a verdict.
    fn verdicts() -> Vec<String> {
        let bands = [Band::LikelyFake, Band::Inconclusive, Band::NoSignsFound, Band::NotAssessed].map(band);
        let meanings = [true, false].map(|at_most| meaning(Meaning { per_1000_untouched: 52, at_most }));
        let words = bands.into_iter().chain(REASONS.map(reason)).map(String::from);
        words.chain(meanings).collect()
    }

    #[test]
    fn each_verdict_and_reason_has_words_of_its_own_and_none_says_more_than_is_known() {
        let said = verdicts();
        let distinct: std::collections::BTreeSet<&String> = said.iter().collect();
        assert_eq!(distinct.len(), said.len());
        for text in &said {
            for word in text.to_lowercase().split(|c: char| !c.is_alphabetic()) {
                assert!(!["real", "authentic", "genuine", "true", "fake"].contains(&word), "{text}");
            }
        }
        assert!(said.iter().filter(|text| text.contains("52 ") && text.contains("1,000")).count() == 2, "{said:?}");
    }

    #[test]
    fn all_that_is_unusual_about_a_file_is_told() {
        let usual = FileInfo::default();
        assert_eq!(file_notes(&usual), Vec::<String>::new());
        let file = FileInfo {
            present: Some(0.629),
            frame: Some(FrameRead { number: 2, count: 3 }),
            shrunk_by: Some(4),
            notes: NOTES.to_vec(),
            ..usual
        };
        let notes = file_notes(&file);
        let distinct: std::collections::BTreeSet<&String> = notes.iter().collect();
        assert_eq!([notes.len(), distinct.len()], [3 + NOTES.len(); 2]);
        // A share is never said to be larger than it is.
        assert!(notes[0].contains("62 % of the picture"), "{}", notes[0]);
        assert!(notes[1].contains("frame 2 of 3") && notes[2].contains("1/4 of its size"), "{notes:?}");
    }

    #[test]
    fn what_a_file_says_of_itself_is_told_with_its_place() {
        let of = |kind, detail: Option<&str>| {
            let [value, place] = ["V".to_string(), "XMP".to_string()];
            mark(&Mark { kind, value, place, detail: detail.map(String::from) })
        };
        assert_eq!(of(MarkKind::C2pa, Some("Photoshop")), "C2PA manifest (signature not checked) (XMP): Photoshop");
        let kinds = [
            (MarkKind::DigitalSourceType, "digital source type"),
            (MarkKind::Generator, "made with"),
            (MarkKind::CameraMake, "camera make"),
            (MarkKind::CameraModel, "camera model"),
            (MarkKind::Software, "software"),
        ];
        for (kind, words) in kinds {
            assert_eq!(of(kind, None), format!("{words} V (XMP)"));
        }
    }

    #[test]
    fn changes_are_told_apart() {
        let all = [Change::Jpeg90, Change::Jpeg75, Change::Scale90, Change::Scale75].map(change);
        assert_eq!(all, ["JPEG 90", "JPEG 75", "90 % size", "75 % size"]);
    }
}
