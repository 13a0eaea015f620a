//! The browser's surface: what `www/shared/worker.js` calls. Converts types and errors, decides nothing.

use std::cell::RefCell;
use std::collections::BTreeMap;

use serde::Serialize;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

use crate::clock::now_ms;
use crate::detector::{Detector, DeviceChoice, PrepareConfig, Prepared, SelfCheck, prepare_decoded};
use crate::error::{Error, ErrorKind};
use crate::model::{ModelFile, ModelMeta, Thresholds, sha256_hex};
use crate::picture::face::Finder;
use crate::picture::{self, Limits, Photo, Rgb8};
use crate::report::evidence::{self, FacePictures, HEAT_OPACITY, RESIDUAL_GAIN};
use crate::report::{HeatMap, ModelInfo, Report};

/// A loaded model on its device, and the photo that was assessed last.
#[wasm_bindgen]
pub struct Engine {
    detector: Detector,
    finder: RefCell<Finder>,
    last: RefCell<Option<(Prepared, Report)>>,
}

#[wasm_bindgen]
impl Engine {
    /// Loads a model file onto the GPU (`device` "gpu": the CPU where that fails) or the CPU ("cpu"), and checks that it
    /// computes rightly. `digest` is the file's SHA-256 where the browser has computed it, ten times faster than code that is
    /// compiled in haste; otherwise it is computed here.
    ///
    /// # Errors
    /// `{code, message}`: `bad_weights`, `bad_usage` for another device, `internal` for a CPU that computes wrongly.
    pub async fn load(model: Vec<u8>, device: String, digest: Option<String>) -> Result<Engine, JsValue> {
        console_error_panic_hook::set_once();
        let choice = match device.as_str() {
            "cpu" => DeviceChoice::Cpu,
            "gpu" => DeviceChoice::GpuOrCpu,
            other => {
                let message = format!("expected the device cpu or gpu, found {other}");
                return Err(js_error(Error::new(ErrorKind::BadUsage, message)));
            }
        };
        let id = digest.unwrap_or_else(|| sha256_hex(&model));
        let file = ModelFile::parse_as(&model, id).map_err(js_error)?;
        drop(model);
        let detector = Detector::of(choice, file).await.map_err(js_error)?;
        let finder = Finder::new().map_err(js_error)?;
        Ok(Engine { detector, finder: RefCell::new(finder), last: RefCell::new(None) })
    }

    /// `{model: {id, name, input_px}, build, backend, note, detail, thresholds: {likely_fake, auto_scan, no_signs},
    /// origin: {licence, training}, self_check: {ok, filter_max_abs, network_max_abs}}`; `build` is the device, `note` why it is
    /// not the GPU that was wanted (`no_adapter`, `gpu_failed`, `self_check_failed`) or null, `detail` what that one did.
    ///
    /// # Errors
    /// `internal`, should the values not be expressible in JSON.
    pub fn info(&self) -> Result<JsValue, JsValue> {
        let ModelMeta { licence, training, thresholds, .. } = self.detector.meta();
        let why = self.detector.why_not_gpu();
        to_js(&Info {
            model: self.detector.model_info(),
            build: if self.detector.is_on_gpu() { "gpu" } else { "cpu" },
            backend: self.detector.backend(),
            note: why.map(|(why, _)| why.code()),
            detail: why.map_or("", |(_, message)| message),
            thresholds,
            origin: Origin { licence, training },
            self_check: self.detector.checked(),
        })
    }

    /// The report on a photo, and in `failure` why its file could not be read, else null: `{report, failure}`. Where its score
    /// is at least `stability_from`, each face is also scored under gentle changes, which takes five times as long.
    ///
    /// Files that are not read here but by browsers are given to `decoder`, where there is one, with their media type; it resolves
    /// to `{height, width, rgba: Uint8Array}`, upright and in sRGB, or to null, and then the file is as unread as natively.
    ///
    /// # Errors
    /// `gpu_lost` when the device fails to answer. A file that cannot be read is a report, no error.
    pub async fn assess(
        &self,
        name: String,
        bytes: Vec<u8>,
        stability_from: Option<f32>,
        decoder: Option<js_sys::Function>,
    ) -> Result<JsValue, JsValue> {
        let started = now_ms();
        let at_once = stability_from == Some(0.0);
        let later = stability_from.filter(|_| !at_once);
        let config = PrepareConfig { stability: at_once, keep_cuts: later.is_some(), ..self.detector.prepare_config() };
        let photo = match (picture::for_browser(&bytes, &config.limits), decoder) {
            (Some(media_type), Some(decoder)) => decoded_by(&decoder, &bytes, media_type, &config.limits).await?,
            _ => None,
        };
        let photo = photo.unwrap_or_else(|| picture::decode_damaged(&bytes, &config.limits));
        let prepared = prepare_decoded(&name, &bytes, photo, started, &mut *self.finder.borrow_mut(), &config);
        drop(bytes);
        let mut report = self.detector.judge(&prepared).await.map_err(js_error)?;
        if later.is_some_and(|from| report.p_fake.is_some_and(|p_fake| p_fake >= from)) {
            report = self.detector.look_again(&prepared, &report).await.map_err(js_error)?;
        }
        let answer = to_js(&Answer { report: &report, failure: prepared.failure.as_deref() })?;
        self.last.replace(Some((prepared, report)));
        Ok(answer)
    }

    /// The cut-out face `index` of the photo assessed last, its amplified residual, and its heat map as a layer to lay over
    /// it, on the scale of all faces and on that of its own maximum: `{photo, residual, heat, heat_own}`, each
    /// `{height, width, rgba}`.
    ///
    /// # Errors
    /// `bad_usage` where there is no such face at the network's size, `gpu_lost` when the device fails to answer.
    pub async fn evidence(&self, index: usize) -> Result<JsValue, JsValue> {
        let (crop, map) = {
            let last = self.last.borrow();
            let found = last.as_ref().and_then(|(prepared, report)| {
                let crop = prepared.crops.get(index)?.clone()?;
                Some((crop, report.faces.get(index)?.map.clone()))
            });
            let none = || Error::new(ErrorKind::BadUsage, format!("expected a face, found none at {index}"));
            found.ok_or_else(none).map_err(js_error)?
        };
        let residual = self.detector.residual_picture(&crop, RESIDUAL_GAIN).await.map_err(js_error)?;
        let layer = |map: Option<HeatMap>| {
            let (height, width) = (crop.height, crop.width);
            let rgba = map.map_or_else(|| vec![0; height * width * 4], |map| evidence::paint(&map, height, width));
            pixels(height, width, &rgba)
        };
        let own = layer(map.as_ref().map(evidence::on_own_scale))?;
        object(&[
            ("photo", picture(&crop)?),
            ("residual", picture(&residual)?),
            ("heat", layer(map)?),
            ("heat_own", own),
        ])
    }
}

/// The printable report as an HTML file: from the report's JSON and, for each of its faces, the RGBA bytes of `photo` and,
/// after them, of `residual` as [`Engine::evidence`] gave them; no bytes for a face that was not judged.
///
/// # Errors
/// `bad_data` when `report` is none, `internal` when a buffer does not fit the model's input size.
#[wasm_bindgen]
pub fn report_html(
    report: &str,
    pictures: Vec<js_sys::Uint8Array>,
    failure: Option<String>,
) -> Result<String, JsValue> {
    let report = evidence::parse(report).map_err(js_error)?;
    let side = report.model.input_px as usize;
    let faces: Result<Vec<_>, Error> = report
        .faces
        .iter()
        .zip(&pictures)
        .map(|(face, buffer)| {
            let rgba = buffer.to_vec();
            if rgba.is_empty() {
                return Ok(None);
            }
            let part = |index: usize| {
                let bytes = rgba.get(index * side * side * 4..(index + 1) * side * side * 4).unwrap_or_default();
                Rgb8::new(side, side, bytes.chunks_exact(4).flat_map(|p| [p[0], p[1], p[2]]).collect())
            };
            let (photo, residual) = (part(0)?, part(1)?);
            let heat =
                face.map.as_ref().map_or_else(|| photo.clone(), |map| evidence::overlay(&photo, map, HEAT_OPACITY));
            Ok(Some(FacePictures { photo, residual, heat }))
        })
        .collect();
    evidence::html(&report, &faces.map_err(js_error)?, failure.as_deref()).map_err(js_error)
}

#[derive(Serialize)]
struct Info<'a> {
    model: ModelInfo,
    build: &'static str,
    backend: &'a str,
    note: Option<&'static str>,
    detail: &'a str,
    thresholds: &'a Thresholds,
    origin: Origin<'a>,
    self_check: Option<&'a SelfCheck>,
}

/// Where the weights come from.
#[derive(Serialize)]
struct Origin<'a> {
    licence: &'a str,
    training: &'a BTreeMap<String, String>,
}

#[derive(Serialize)]
struct Answer<'a> {
    report: &'a Report,
    failure: Option<&'a str>,
}

/// What JavaScript's `decoder` makes of a file; none where that is nothing.
async fn decoded_by(
    decoder: &js_sys::Function,
    bytes: &[u8],
    media_type: &str,
    limits: &Limits,
) -> Result<Option<Result<Photo, Error>>, JsValue> {
    let promise = decoder.call2(&JsValue::NULL, &js_sys::Uint8Array::from(bytes).into(), &media_type.into())?;
    let decoded = JsFuture::from(js_sys::Promise::resolve(&promise)).await?;
    if decoded.is_null() {
        return Ok(None);
    }
    let field = |name: &str| js_sys::Reflect::get(&decoded, &name.into());
    let side = |name: &str| field(name).map(|value| value.as_f64().unwrap_or_default() as usize);
    let (height, width) = (side("height")?, side("width")?);
    let rgba: js_sys::Uint8Array = field("rgba")?.dyn_into()?;
    // Row by row: all at once would be a second copy, in memory that wasm does not give back.
    let row = |y: usize, row: &mut [u8]| {
        let start = (y * row.len()) as u32;
        rgba.subarray(start, start + row.len() as u32).copy_to(row);
    };
    Ok(Some(picture::from_browser(bytes, (height, width), limits, row)))
}

fn picture(rgb8: &Rgb8) -> Result<JsValue, JsValue> {
    let rgba: Vec<u8> = rgb8.data.chunks_exact(3).flat_map(|pixel| [pixel[0], pixel[1], pixel[2], 255]).collect();
    pixels(rgb8.height, rgb8.width, &rgba)
}

/// `{height, width, rgba: Uint8ClampedArray}`, ready for `ImageData`.
fn pixels(height: usize, width: usize, rgba: &[u8]) -> Result<JsValue, JsValue> {
    object(&[
        ("height", (height as u32).into()),
        ("width", (width as u32).into()),
        ("rgba", js_sys::Uint8ClampedArray::from(rgba).into()),
    ])
}

fn object(entries: &[(&str, JsValue)]) -> Result<JsValue, JsValue> {
    let object = js_sys::Object::new();
    for (key, value) in entries {
        js_sys::Reflect::set(&object, &(*key).into(), value)?;
    }
    Ok(object.into())
}

/// Through JSON text, and not through `serde_json::Value`, which would widen every f32 and show other digits than the
/// command line does.
fn to_js(value: &impl Serialize) -> Result<JsValue, JsValue> {
    let text = serde_json::to_string(value)
        .map_err(|error| js_error(Error::caused(ErrorKind::Internal, "expected a value that fits into JSON", error)))?;
    js_sys::JSON::parse(&text)
}

/// An `Error` of JavaScript that carries `code` beside `message`.
fn js_error(error: Error) -> JsValue {
    let thrown = js_sys::Error::new(&error.full_message());
    // Setting a property of a fresh object cannot fail; were it to, the message would still arrive.
    let _ = js_sys::Reflect::set(&thrown, &"code".into(), &error.kind().code().into());
    thrown.into()
}
