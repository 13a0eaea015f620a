//! grnet: does the face in a photo show traces of generation or manipulation?
//!
//! GRnet (guided residuals network, arXiv 2205.00753): a guided filter strips a face of its content and leaves
//! manipulation traces, two ResNet-18 streams read the picture and the traces, attention fuses them ([`infer`]). [`detector`]
//! joins the whole way from the bytes of a photo to a [`report::Report`]. The library does no file and no network I/O:
//! bytes in, values out.
#![warn(missing_docs)]

pub mod clock;
pub mod detector;
pub mod error;
pub mod infer;
pub mod model;
pub mod picture;
pub mod report;

#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "train")]
pub mod train;
#[cfg(target_family = "wasm")]
pub mod web;

pub use error::{Error, ErrorKind, Result};
