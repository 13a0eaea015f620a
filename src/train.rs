//! Training: a table of labelled pictures in, a model file out. Beside [`crate::detector`], with the same decoding, face
//! finding, cropping, residual and network; imported by the command line alone.
//!
//! [`prepare`] cuts faces once into a pack, [`reconstruct`] adds fakes made by auto-encoders to it; [`batch`] makes pairs of
//! real and fake crops from it on the fly (with fakes forged from reals, augmented and degraded alike); [`run`] learns,
//! measures and keeps checkpoints.

pub mod audit;
pub mod augment;
pub mod backend;
pub mod batch;
pub mod bench;
pub mod calibrate;
pub mod card;
pub mod checkpoint;
pub mod classes;
pub mod compare;
pub mod config;
pub mod curves;
pub mod degrade;
pub mod detail;
pub mod disguise;
pub mod eval;
pub mod examined;
pub mod export;
pub mod folder;
pub mod forge;
pub mod guided;
pub mod hull;
pub mod landmarks;
pub mod layout;
pub mod ledger;
pub mod metrics;
pub mod mte;
pub mod nn;
pub mod onnx;
pub mod optim;
pub mod pack;
pub mod picture_grid;
pub mod pixels;
pub mod plots;
pub mod prepare;
pub mod reconstruct;
pub mod ring;
pub mod rng;
pub mod run;
pub mod sampler;
pub mod sgd;
pub mod start;
pub mod system;
pub mod table;
pub mod torch;
pub mod validate;
