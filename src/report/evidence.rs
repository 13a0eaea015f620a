//! A report for the eye: pictures of a face, its residual and its heat map, and the printable page that holds them. The
//! page is one self-contained HTML file without script; `grnet verify-report` reads it back.

use std::fmt::Write;
use std::io::Cursor;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use image::{ExtendedColorType, ImageFormat};

use crate::error::{Error, ErrorKind, Result};
use crate::picture::Rgb8;
use crate::report::words;
use crate::report::{Face, HeatMap, Note, Report};

/// How much the residual is amplified for the eye; most of it lies below an eighth of the full scale.
pub const RESIDUAL_GAIN: f32 = 8.0;
/// How strongly a heat map covers the face in pictures that cannot be adjusted.
pub const HEAT_OPACITY: f32 = 0.6;

/// The colour of full heat and that of none, R G B; between them colours are mixed.
const HOT: [f32; 3] = [196.0, 22.0, 52.0];
const COLD: [f32; 3] = [255.0, 206.0, 84.0];

/// Pictures of one face, all of one size.
#[derive(Debug, Clone)]
pub struct FacePictures {
    /// The crop as the network sees it.
    pub photo: Rgb8,
    /// Its guided residual, amplified.
    pub residual: Rgb8,
    /// The crop with the heat map over it.
    pub heat: Rgb8,
}

/// A heat map as a layer of `height` x `width` pixels, R G B and opacity: 0 leaves the picture as it is, 255 covers it.
pub fn paint(map: &HeatMap, height: usize, width: usize) -> Vec<u8> {
    let mut layer = Vec::with_capacity(height * width * 4);
    for y in 0..height {
        for x in 0..width {
            let heat = sample(map, (y as f32 + 0.5) / height as f32, (x as f32 + 0.5) / width as f32);
            for (hot, cold) in HOT.iter().zip(COLD) {
                layer.push((cold + (hot - cold) * heat).round() as u8);
            }
            // Squared, so that what speaks weakly leaves the face visible.
            layer.push((255.0 * heat * heat).round() as u8);
        }
    }
    layer
}

/// The map on the scale of its own maximum, which shows where a sure verdict is surest; an empty map stays as it is.
pub fn on_own_scale(map: &HeatMap) -> HeatMap {
    let maximum = map.values.iter().copied().fold(0.0, f32::max);
    let scale = if maximum > 0.0 { 1.0 / maximum } else { 1.0 };
    HeatMap { values: map.values.iter().map(|value| value * scale).collect(), ..map.clone() }
}

/// The map's value at a place given in shares of its sides, linear between the middles of its cells.
fn sample(map: &HeatMap, y: f32, x: f32) -> f32 {
    let (height, width) = (map.height as usize, map.width as usize);
    if height * width == 0 || map.values.len() != height * width {
        return 0.0;
    }
    let around = |at: f32, length: usize| {
        let at = (at * length as f32 - 0.5).clamp(0.0, (length - 1) as f32);
        (at as usize, (at as usize + 1).min(length - 1), at.fract())
    };
    let ((top, bottom, down), (left, right, across)) = (around(y, height), around(x, width));
    let row = |y: usize| map.values[y * width + left] * (1.0 - across) + map.values[y * width + right] * across;
    (row(top) * (1.0 - down) + row(bottom) * down).clamp(0.0, 1.0)
}

/// The picture with a heat map over it, at `opacity` 0..1.
pub fn overlay(picture: &Rgb8, map: &HeatMap, opacity: f32) -> Rgb8 {
    let layer = paint(map, picture.height, picture.width);
    let mut data = picture.data.clone();
    for (pixel, colour) in data.chunks_exact_mut(3).zip(layer.chunks_exact(4)) {
        let share = f32::from(colour[3]) / 255.0 * opacity;
        for (value, new) in pixel.iter_mut().zip(colour) {
            *value = (f32::from(*value) * (1.0 - share) + f32::from(*new) * share).round() as u8;
        }
    }
    Rgb8 { height: picture.height, width: picture.width, data }
}

/// The picture as a PNG file.
///
/// # Errors
/// `Internal` when the encoder refuses, for example because the picture's fields contradict each other.
pub fn png(picture: &Rgb8) -> Result<Vec<u8>> {
    let mut bytes = Cursor::new(Vec::new());
    let (height, width) = (picture.height as u32, picture.width as u32);
    image::write_buffer_with_format(
        &mut bytes,
        &picture.data,
        width,
        height,
        ExtendedColorType::Rgb8,
        ImageFormat::Png,
    )
    .map_err(|error| Error::caused(ErrorKind::Internal, "cannot encode as PNG", error))?;
    Ok(bytes.into_inner())
}

/// The report as JSON, indented.
///
/// # Errors
/// `Internal`, should a value not be expressible in JSON.
pub fn json(report: &Report) -> Result<String> {
    serde_json::to_string_pretty(report)
        .map_err(|error| Error::caused(ErrorKind::Internal, "cannot write the report as JSON", error))
}

/// The report from its JSON, or from a page that [`html`] wrote.
///
/// # Errors
/// `BadData` when it is neither.
pub fn parse(text: &str) -> Result<Report> {
    let page =
        text.split_once(JSON_START).and_then(|(_, rest)| rest.split_once(JSON_END)).map(|(json, _)| unescaped(json));
    serde_json::from_str(page.as_deref().unwrap_or(text)).map_err(|error| {
        Error::caused(ErrorKind::BadData, "expected a grnet report, as JSON or as a page that grnet wrote", error)
    })
}

const JSON_START: &str = "<pre id=\"grnet-report\">";
const JSON_END: &str = "</pre>";

const STYLE: &str = "\
:root{color-scheme:light dark;font:16px/1.5 system-ui,sans-serif}body{max-width:52rem;margin:2rem auto;padding:0 1rem}\
h1{font-size:1.4rem}h2{font-size:1.15rem;margin-top:2rem}.verdict{font-size:1.2rem;font-weight:700;padding:.7rem 1rem;\
border:2px solid;border-radius:8px}figure{margin:0}.pictures{display:grid;grid-template-columns:repeat(3,1fr);gap:1rem}\
img{width:100%;border-radius:4px}figcaption{font-size:.85rem}table{border-collapse:collapse;width:100%;margin-top:.8rem}\
th,td{text-align:left;vertical-align:top;padding:.25rem .8rem .25rem 0;border-bottom:1px solid #8886;overflow-wrap:anywhere}\
th{font-weight:500;white-space:nowrap}pre{white-space:pre-wrap;overflow-wrap:anywhere;font-size:.75rem}\
@media print{body{margin:0;max-width:none}section{break-inside:avoid}}";

/// The printable page: one self-contained file, without script and without a request. `pictures` are those of each face,
/// absent for faces that were not judged; `failure` says why the file could not be read.
///
/// # Errors
/// `Internal` when a picture or the report cannot be encoded.
pub fn html(report: &Report, pictures: &[Option<FacePictures>], failure: Option<&str>) -> Result<String> {
    let mut body = String::new();
    let name = escaped(&report.file.name);
    add(&mut body, format_args!("<h1>grnet report on {name}</h1>\n"));
    let reason = report.reason.map_or(String::new(), |reason| format!(": {}", words::reason(reason)));
    let failure = failure.map_or(String::new(), |failure| format!(" ({failure})"));
    let verdict = escaped(&format!("{}{reason}{failure}", words::band(report.band)));
    add(&mut body, format_args!("<p class=\"verdict\">{}</p>\n", capitalised(&verdict)));
    body += "<p>A score is a hint, never a proof: forgeries of kinds that the model has not learned pass, and retouched or \
        compressed photos can look like forgeries. Do not accuse anyone on the strength of this page.</p>\n";
    for (index, face) in report.faces.iter().enumerate() {
        add_face(&mut body, index, report.faces.len(), face, pictures.get(index).and_then(Option::as_ref))?;
    }
    body += "<section><h2>What the file says about itself</h2>\n";
    if report.provenance.marks.is_empty() && report.file.notes.contains(&Note::BrowserDecoded) {
        body += "<p>Not read: such notes are not looked for in a file of this format.</p>\n";
    } else if report.provenance.marks.is_empty() {
        body += "<p>Nothing. That means nothing: most sites remove such notes.</p>\n";
    } else {
        body += "<p>Anybody can write or remove these notes; they are no part of the score.</p>\n<ul>\n";
        for mark in &report.provenance.marks {
            add(&mut body, format_args!("<li>{}</li>\n", escaped(&words::mark(mark))));
        }
        body += "</ul>\n";
    }
    body += "</section>\n<section><h2>How it was computed</h2>\n";
    add_table(&mut body, &computation(report));
    body += "</section>\n<h2>Report as JSON</h2>\n";
    add(&mut body, format_args!("{JSON_START}{}{JSON_END}\n", escaped(&json(report)?)));
    Ok(document(&format!("grnet report: {}", report.file.name), STYLE, &body))
}

/// A page that asks for nothing outside itself and runs no script; `title` is text, `body` is HTML.
pub(crate) fn document(title: &str, style: &str, body: &str) -> String {
    let title = escaped(title);
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>{title}</title>\n\
        <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
        <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">\n\
        <style>{style}</style>\n</head>\n<body>\n{body}</body>\n</html>\n"
    )
}

fn add(text: &mut String, part: std::fmt::Arguments<'_>) {
    text.write_fmt(part).expect("writing to a string cannot fail");
}

fn add_table(text: &mut String, rows: &[(&str, String)]) {
    *text += "<table>\n";
    for (label, value) in rows {
        add(text, format_args!("<tr><th scope=\"row\">{label}</th><td>{}</td></tr>\n", escaped(value)));
    }
    *text += "</table>\n";
}

fn add_face(text: &mut String, index: usize, count: usize, face: &Face, pictures: Option<&FacePictures>) -> Result<()> {
    let number = index + 1;
    add(text, format_args!("<section><h2>Face {number} of {count}: {}</h2>\n", words::band(face.band)));
    if let Some(pictures) = pictures {
        *text += "<div class=\"pictures\">\n";
        let shown = [
            (&pictures.photo, "The face as the network sees it"),
            (&pictures.residual, "Guided residual, amplified: what is left when the content is taken away"),
            (&pictures.heat, "Heat map: the redder a place, the more it speaks for a fake"),
        ];
        for (picture, caption) in shown {
            let data = BASE64_STANDARD.encode(png(picture)?);
            let image = format!("<img alt=\"{caption}\" src=\"data:image/png;base64,{data}\">");
            add(text, format_args!("<figure>{image}<figcaption>{caption}</figcaption></figure>\n"));
        }
        *text += "</div>\n";
    }
    add_table(text, &face_rows(face));
    *text += "</section>\n";
    Ok(())
}

fn face_rows(face: &Face) -> Vec<(&'static str, String)> {
    let mut rows = Vec::new();
    if let Some(reason) = face.reason {
        rows.push(("Why", words::reason(reason).to_string()));
    }
    if let Some(p_fake) = face.p_fake {
        rows.push(("Score (p_fake)", format!("{p_fake:.3}, on a scale from 0 (no traces) to 1 (strong traces)")));
    }
    if let Some(meaning) = face.meaning {
        rows.push(("What that means", words::meaning(meaning)));
    }
    if let Some(votes) = face.votes {
        rows.push(("Votes of the streams", format!("picture {:.3}, residual {:.3}", votes.spatial, votes.residual)));
    }
    if let Some(stability) = &face.stability {
        let one = |score: &crate::report::ChangedScore| format!("{} {:.3}", words::change(score.change), score.p_fake);
        let scores: Vec<String> = stability.scores.iter().map(one).collect();
        let outcome = if stability.flipped { "the verdict does not hold" } else { "the verdict holds" };
        rows.push(("Under gentle changes", format!("{outcome}: {}", scores.join(", "))));
    }
    let jpeg =
        face.quality.jpeg_quality.map_or("not a JPEG file".to_string(), |quality| format!("JPEG quality {quality}"));
    let quality = face.quality;
    rows.push(("Quality", format!("face of {} px, {jpeg}, sharpness {:.0}", quality.face_px, quality.sharpness)));
    let bounds = face.bounds;
    let place = format!("x {:.0}, y {:.0}, {:.0} x {:.0} px", bounds.x, bounds.y, bounds.width, bounds.height);
    rows.push(("Place in the photo", place));
    rows
}

fn computation(report: &Report) -> Vec<(&'static str, String)> {
    let file = &report.file;
    let mut rows = vec![("File", format!("{}, {} bytes", file.name, file.size_bytes))];
    if let Some(format) = file.format.as_ref().filter(|_| file.width_px > 0) {
        rows.push(("Picture", format!("{format}, {} x {} px", file.width_px, file.height_px)));
    }
    rows.extend(words::file_notes(file).into_iter().map(|note| ("Note", note)));
    rows.push(("SHA-256 of the file", file.sha256.clone()));
    rows.push(("Model", format!("{}, {} px, SHA-256 {}", report.model.name, report.model.input_px, report.model.id)));
    let on = |set: bool| if set { "on" } else { "off" };
    let settings = report.settings;
    let settings = format!("stability check {}, picture taken whole {}", on(settings.stability), on(settings.whole));
    rows.push(("Settings", settings));
    rows.push(("Computed on", format!("{}, grnet {}", report.backend, env!("CARGO_PKG_VERSION"))));
    if let Some(time) = &report.checked_at {
        rows.push(("Time", time.clone()));
    }
    rows
}

/// Text as it stands in HTML, in attributes too.
pub(crate) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn unescaped(text: &str) -> String {
    text.replace("&quot;", "\"").replace("&gt;", ">").replace("&lt;", "<").replace("&amp;", "&")
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heat_lies_where_the_map_is_hot_and_nowhere_else() {
        let map = HeatMap { height: 2, width: 2, values: vec![0.0, 0.0, 0.0, 1.0] };
        let layer = paint(&map, 8, 8);
        let opacity = |y: usize, x: usize| layer[(y * 8 + x) * 4 + 3];
        assert_eq!((opacity(0, 0), opacity(7, 7)), (0, 255));
        assert!(opacity(4, 4) > opacity(3, 3) && opacity(3, 3) > 0, "between the cells it grows");
        let picture = Rgb8 { height: 8, width: 8, data: vec![100; 192] };
        let warm = overlay(&picture, &map, 0.5);
        assert_eq!(warm.pixel(0, 0), [100, 100, 100]);
        assert_eq!(warm.pixel(7, 7), [148, 61, 76], "half of 100, half of full heat");
        assert_eq!(overlay(&picture, &map, 0.0), picture);
    }

    #[test]
    fn the_own_scale_ends_at_the_maximum_and_keeps_proportions() {
        let map = HeatMap { height: 1, width: 4, values: vec![0.0, 0.1, 0.2, 0.4] };
        assert_eq!(on_own_scale(&map).values, [0.0, 0.25, 0.5, 1.0]);
        let cold = HeatMap { height: 1, width: 2, values: vec![0.0, 0.0] };
        assert_eq!(on_own_scale(&cold), cold);
    }

    #[test]
    fn a_map_that_contradicts_itself_is_cold() {
        let map = HeatMap { height: 3, width: 2, values: vec![1.0] };
        assert!(paint(&map, 4, 4).chunks(4).all(|pixel| pixel[3] == 0));
    }
}
