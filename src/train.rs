//! Training: a table of labelled pictures in, a model file out. Beside [`crate::detector`], with the same decoding, face
//! finding, cropping, residual and network; imported by the command line alone.
//!
//! [`data`] cuts faces once into a pack and makes pairs of real and fake crops from it on the fly, [`reconstruct`] adds fakes
//! made by auto-encoders to it, [`looks`] forges, augments and degrades; [`learn`] runs the network of [`nn`] and keeps
//! checkpoints, [`measure`] says how good it is, [`formats`] writes the model; [`compare`] does all that for the paper's systems.

pub mod backend;
pub mod compare;
pub mod config;
pub mod data;
pub mod files;
pub mod formats;
pub mod learn;
pub mod looks;
pub mod measure;
pub mod metrics;
pub mod nn;
pub mod reconstruct;
pub mod rng;
