//! The browser's surface: what `www/shared/worker.js` calls. Converts types and errors, decides nothing.

use std::cell::RefCell;
use std::collections::BTreeMap;

use serde::Serialize;
use wasm_bindgen::prelude::*;

use crate::detector::{AnyDetector, DeviceChoice};
use crate::detector::{PrepareConfig, Prepared, SelfCheck, prepare};
use crate::error::{Error, ErrorKind};
use crate::model::{ModelMeta, Thresholds};
use crate::picture::Rgb8;
use crate::picture::face::SeetaFinder;
use crate::report::evidence::{self, FacePictures, HEAT_OPACITY, RESIDUAL_GAIN};
use crate::report::{ModelInfo, Report};

/// What this build computes on: one build a device, so that a page fetches only what it needs.
const DEVICE: DeviceChoice = if cfg!(feature = "wgpu") { DeviceChoice::Gpu } else { DeviceChoice::Cpu };

/// A loaded model on its device, and the photo that was assessed last.
#[wasm_bindgen]
pub struct Engine {
    detector: AnyDetector,
    finder: RefCell<SeetaFinder>,
    last: RefCell<Option<(Prepared, Report)>>,
}

#[wasm_bindgen]
impl Engine {
    /// Loads a model file: sets up the device and uploads the weights.
    ///
    /// # Errors
    /// `{code, message}`: `bad_weights`, `no_gpu`.
    pub async fn load(model: Vec<u8>) -> Result<Engine, JsValue> {
        console_error_panic_hook::set_once();
        let detector = AnyDetector::open(DEVICE, &model).await.map_err(js_error)?;
        let finder = SeetaFinder::new().map_err(js_error)?;
        Ok(Engine { detector, finder: RefCell::new(finder), last: RefCell::new(None) })
    }

    /// `{model: {id, name, input_px}, backend, thresholds: {likely_fake, auto_scan, no_signs}, origin: {licence, training}}`.
    ///
    /// # Errors
    /// `internal`, should the values not be expressible in JSON.
    pub fn info(&self) -> Result<JsValue, JsValue> {
        let ModelMeta { licence, training, thresholds, .. } = self.detector.meta();
        let origin = Origin { licence, training };
        to_js(&Info { model: self.detector.model_info(), backend: self.detector.backend(), thresholds, origin })
    }

    /// Runs filter and network on a known picture: `{ok, filter_max_abs, network_max_abs, message}`.
    ///
    /// # Errors
    /// `gpu_lost` when the device fails to answer; wrong answers are `ok: false`.
    pub async fn self_check(&self) -> Result<JsValue, JsValue> {
        let check = self.detector.self_check().await.map_err(js_error)?;
        let (filter, network) = (check.filter_max_abs, check.network_max_abs);
        to_js(&Check { check, message: format!("largest differences: filter {filter:e}, network {network:e}") })
    }

    /// The report on a photo, and in `failure` why its file could not be read, else null: `{report, failure}`. With
    /// `stability` each face is also scored under gentle changes, which takes five times as long.
    ///
    /// # Errors
    /// `gpu_lost` when the device fails to answer. A file that cannot be read is a report, no error.
    pub async fn assess(&self, name: String, bytes: Vec<u8>, stability: Option<bool>) -> Result<JsValue, JsValue> {
        let config = PrepareConfig { stability: stability.unwrap_or(false), ..self.detector.prepare_config() };
        let prepared = prepare(&name, &bytes, &mut *self.finder.borrow_mut(), &config);
        drop(bytes);
        let report = self.detector.judge(&prepared).await.map_err(js_error)?;
        let answer = to_js(&Answer { report: &report, failure: prepared.failure.as_deref() })?;
        self.last.replace(Some((prepared, report)));
        Ok(answer)
    }

    /// The cut-out face `index` of the photo assessed last, its amplified residual, and its heat map as a layer to lay over
    /// it: `{photo, residual, heat}`, each `{height, width, rgba}`.
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
        let heat = map.map_or_else(
            || vec![0; crop.height * crop.width * 4],
            |map| evidence::paint(&map, crop.height, crop.width),
        );
        let heat = pixels(crop.height, crop.width, &heat)?;
        object(&[("photo", picture(&crop)?), ("residual", picture(&residual)?), ("heat", heat)])
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
    backend: &'a str,
    thresholds: &'a Thresholds,
    origin: Origin<'a>,
}

/// Where the weights come from.
#[derive(Serialize)]
struct Origin<'a> {
    licence: &'a str,
    training: &'a BTreeMap<String, String>,
}

#[derive(Serialize)]
struct Check {
    #[serde(flatten)]
    check: SelfCheck,
    message: String,
}

#[derive(Serialize)]
struct Answer<'a> {
    report: &'a Report,
    failure: Option<&'a str>,
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
