//! grnet: does the face in a photo show traces of generation or manipulation?
//!
//! GRnet (guided residuals network, arXiv 2205.00753): a guided filter strips a face of its content and leaves
//! manipulation traces ([`mte`]), two ResNet-18 streams read the picture and the traces, attention fuses them ([`nn`]).
//! [`detector`] joins the whole way from the bytes of a photo to a [`report::Report`]. The library does no file and no
//! network I/O: bytes in, values out.
#![warn(missing_docs)]

pub mod backend;
pub mod detector;
pub mod error;
pub mod evidence;
pub mod face;
pub mod gate;
pub mod infer;
pub mod input;
pub mod mte;
pub mod nn;
pub mod photo;
pub mod provenance;
pub mod quality;
pub mod report;
pub mod stability;
pub mod weights;
pub mod words;

#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "train")]
pub mod train;
#[cfg(target_family = "wasm")]
pub mod web;

pub use error::{Error, ErrorKind, Result};
