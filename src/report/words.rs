//! What the command line and the printable report say, in English. The page has its own table, which is translated
//! (`www/shared/strings.js`).

use crate::report::{Band, Change, Mark, MarkKind, Meaning, Reason};

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
        Reason::Unstable => "the score leaves its band when the picture is gently re-encoded or rescaled",
        Reason::Unfamiliar => "the picture is unlike the face photos that the model knows",
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
