//! Pictures as a person knows them: bytes, pixels, faces. No tensors here.

mod colour;
pub mod crop;
pub mod decode;
pub mod encode;
pub mod face;
pub(crate) mod jpeg;
pub mod provenance;
pub mod quality;
pub mod rgb8;
pub mod stability;

pub(crate) use decode::foreign;
pub use decode::{Damage, Limits, Photo, decode, decode_damaged, for_browser, from_browser};
#[cfg(feature = "cli")]
pub(crate) use decode::{declared_pixels, is_read};
pub use encode::encode_jpeg;
pub(crate) use jpeg::jpeg_segments;
pub use rgb8::{Rgb8, planes};
