//! The browser's surface: what `www/shared/worker.js` calls. Converts types and errors, decides nothing.

use std::cell::RefCell;

use serde::Serialize;
use wasm_bindgen::prelude::*;

use crate::backend::{AnyDetector, DeviceChoice};
use crate::detector::{Prepared, SelfCheck, prepare};
use crate::error::{Error, ErrorKind};
use crate::face::SeetaFinder;
use crate::photo::Rgb8;
use crate::report::{ModelInfo, Report};

/// How much the residual is amplified for the eye; most of it lies below an eighth of the full scale.
const RESIDUAL_GAIN: f32 = 8.0;

/// What this build computes on: one build a device, so that a page fetches only what it needs.
const DEVICE: DeviceChoice = if cfg!(feature = "wgpu") { DeviceChoice::Gpu } else { DeviceChoice::Cpu };

/// A loaded model on its device, and the photo that was assessed last.
#[wasm_bindgen]
pub struct Engine {
    detector: AnyDetector,
    finder: RefCell<SeetaFinder>,
    last: RefCell<Option<Prepared>>,
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

    /// `{model: {id, name, input_px}, backend}`.
    ///
    /// # Errors
    /// `internal`, should the values not be expressible in JSON.
    pub fn info(&self) -> Result<JsValue, JsValue> {
        to_js(&Info { model: self.detector.model_info(), backend: self.detector.backend() })
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

    /// The report on a photo, and in `failure` why its file could not be read, else null: `{report, failure}`.
    ///
    /// # Errors
    /// `gpu_lost` when the device fails to answer. A file that cannot be read is a report, no error.
    pub async fn assess(&self, name: String, bytes: Vec<u8>) -> Result<JsValue, JsValue> {
        let config = self.detector.prepare_config();
        let prepared = prepare(&name, &bytes, &mut *self.finder.borrow_mut(), &config);
        drop(bytes);
        let report = self.detector.judge(&prepared).await.map_err(js_error)?;
        let answer = to_js(&Answer { report, failure: prepared.failure.clone() })?;
        self.last.replace(Some(prepared));
        Ok(answer)
    }

    /// The cut-out face `index` of the photo assessed last, and its amplified residual:
    /// `{photo, residual}`, each `{height, width, rgba}`.
    ///
    /// # Errors
    /// `bad_usage` where there is no such face at the network's size, `gpu_lost` when the device fails to answer.
    pub async fn evidence(&self, index: usize) -> Result<JsValue, JsValue> {
        let crop = self.last.borrow().as_ref().and_then(|prepared| prepared.crops.get(index).cloned().flatten());
        let crop =
            crop.ok_or_else(|| Error::new(ErrorKind::BadUsage, format!("expected a face, found none at {index}")));
        let crop = crop.map_err(js_error)?;
        let residual = self.detector.residual_picture(&crop, RESIDUAL_GAIN).await.map_err(js_error)?;
        object(&[("photo", picture(&crop)?), ("residual", picture(&residual)?)])
    }
}

#[derive(Serialize)]
struct Info<'a> {
    model: ModelInfo,
    backend: &'a str,
}

#[derive(Serialize)]
struct Check {
    #[serde(flatten)]
    check: SelfCheck,
    message: String,
}

#[derive(Serialize)]
struct Answer {
    report: Report,
    failure: Option<String>,
}

/// `{height, width, rgba: Uint8ClampedArray}`, ready for `ImageData`.
fn picture(rgb8: &Rgb8) -> Result<JsValue, JsValue> {
    let rgba: Vec<u8> = rgb8.data.chunks_exact(3).flat_map(|pixel| [pixel[0], pixel[1], pixel[2], 255]).collect();
    object(&[
        ("height", (rgb8.height as u32).into()),
        ("width", (rgb8.width as u32).into()),
        ("rgba", js_sys::Uint8ClampedArray::from(rgba.as_slice()).into()),
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
