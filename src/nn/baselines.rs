//! The detectors that the paper compares GRnet with (Tables IV to VII), one file a system, with the layer names of the
//! fixtures. Each file states its source, its input, and its authors' training settings as a [`super::recipe::Recipe`].
//!
//! Label 1 is fake for all of them, whatever the source has; inputs are squares of `side_px`, given when a network is made
//! because the fully connected layers depend on it.

pub mod amtennet;
pub mod capsule;
pub mod highpass;
pub mod meso;
pub mod mislnet;
pub mod resnet;
pub mod xception;
