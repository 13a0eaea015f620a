//! The ledger: every verdict of a fixed set under two models, and which turned. A release says with it what it changes for
//! whom, instead of one figure that got better.

use std::collections::BTreeMap;

use serde::Serialize;

use super::eval::Judged;
use crate::report::Band;
use crate::train::data::table::{FAKE, REAL, Row};
use crate::{Error, ErrorKind, Result};

/// One line: a picture in one degradation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Line {
    /// As in the table.
    pub path: String,
    /// As in the table.
    pub label: i8,
    /// As in the table.
    pub source: String,
    /// The table's column `set`.
    pub family: String,
    /// The degradation.
    pub degrade: &'static str,
    /// Verdict of the model before.
    pub before: Band,
    /// Its score, where it assessed the picture.
    pub p_fake_before: Option<f32>,
    /// Verdict of this model.
    pub now: Band,
    /// Its score.
    pub p_fake_now: Option<f32>,
    /// Whether the verdict is another one.
    pub turned: bool,
}

/// All lines, by degradation, family, source and path. `now` and `before` are of the same rows and degradations, as
/// [`super::eval::judge`] gives them.
pub fn lines(rows: &[Row], now: &[Judged], before: &[Judged]) -> Vec<Line> {
    // Four digits: more would turn with every compiler.
    let short = |p_fake: Option<f32>| p_fake.map(|p| (p * 1e4).round() / 1e4);
    let pairs = now.iter().zip(before).map(|(now, before)| {
        assert_eq!((now.row, now.tier), (before.row, before.tier), "both models judge the same pictures in one order");
        let row = &rows[now.row];
        Line {
            path: row.path.clone(),
            label: row.label,
            source: row.source.clone(),
            family: row.set.clone(),
            degrade: now.tier.name(),
            before: before.band,
            p_fake_before: short(before.p_fake),
            now: now.band,
            p_fake_now: short(now.p_fake),
            turned: now.band != before.band,
        }
    });
    let mut lines: Vec<Line> = pairs.collect();
    lines.sort_by(|a, b| (a.degrade, &a.family, &a.source, &a.path).cmp(&(b.degrade, &b.family, &b.source, &b.path)));
    lines
}

/// The lines as CSV.
///
/// # Errors
/// `Internal`, should a line have no form in CSV.
pub fn csv(lines: &[Line]) -> Result<Vec<u8>> {
    let fail = |e: csv::Error| Error::caused(ErrorKind::Internal, "the ledger as CSV", e);
    let mut text = csv::Writer::from_writer(Vec::new());
    for line in lines {
        text.serialize(line).map_err(fail)?;
    }
    text.into_inner().map_err(|e| Error::caused(ErrorKind::Internal, "the ledger as CSV", e))
}

/// How many verdicts turned in each way, for people: untouched pictures and fakes apart.
pub fn text(lines: &[Line]) -> String {
    let mut ways: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for line in lines {
        let class = match line.label {
            REAL => "untouched",
            FAKE => "fakes",
            _ => "unlabelled",
        };
        let way = match (line.before == Band::LikelyFake, line.now == Band::LikelyFake) {
            (false, true) => "called likely_fake now",
            (true, false) => "called likely_fake no more",
            _ if line.turned => "turned otherwise",
            _ => "as before",
        };
        *ways.entry((class, way)).or_default() += 1;
    }
    let mut totals: BTreeMap<&str, usize> = BTreeMap::new();
    ways.iter().for_each(|((class, _), count)| *totals.entry(class).or_default() += count);
    ways.iter().map(|((class, way), count)| format!("{count:>7} of {:>6} {class:<10} {way}\n", totals[class])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::data::table::parse_table;
    use crate::train::looks::degrade::Tier;

    fn judged(bands: &[Band]) -> Vec<Judged> {
        let one = |(row, band): (usize, &Band)| Judged {
            row,
            tier: Tier::Raw,
            p_fake: Some(0.123_456),
            band: *band,
            reason: None,
            quality: None,
        };
        bands.iter().enumerate().map(one).collect()
    }

    #[test]
    fn every_verdict_is_listed_and_what_turned_is_counted_by_class_and_way() {
        let table = "path,label,source,split,set\nb.jpg,0,s,test,profile\na.jpg,0,s,test,profile\nc.jpg,1,g,test,gan\n";
        let rows = parse_table(table.as_bytes(), "table").unwrap();
        let (likely, open, none) = (Band::LikelyFake, Band::Inconclusive, Band::NoSignsFound);
        let lines = lines(&rows, &judged(&[open, none, likely]), &judged(&[likely, none, open]));
        let turned: Vec<(&str, bool)> = lines.iter().map(|line| (line.path.as_str(), line.turned)).collect();
        assert_eq!(turned, [("c.jpg", true), ("a.jpg", false), ("b.jpg", true)]);
        let csv = String::from_utf8(csv(&lines).unwrap()).unwrap();
        assert!(
            csv.starts_with("path,label,source,family,degrade,before,p_fake_before,now,p_fake_now,turned\n"),
            "{csv}"
        );
        assert!(csv.contains("c.jpg,1,g,gan,raw,inconclusive,0.1235,likely_fake,0.1235,true\n"), "{csv}");
        let text = text(&lines);
        assert!(text.contains("1 of      2 untouched  called likely_fake no more"), "{text}");
        assert!(text.contains("1 of      1 fakes      called likely_fake now"), "{text}");
    }
}
