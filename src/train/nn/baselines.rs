//! The detectors that the paper compares GRnet with (Tables IV to VII), one file a system, with the layer names of the
//! fixtures. Each file states its source, its input, and its authors' training settings as a [`super::recipe::Recipe`].
//!
//! Of Table IX's other systems, none re-trained by the paper either: Two-stream needs steganalysis features and a triplet
//! network, HeadPose 68 landmarks and a pose solver, VA-MLP and VA-LogReg landmarks and masks of eyes and teeth; no code
//! or too little of it was released, and they are not here. Multi-task is here, and of FWA a
//! variant without landmarks ([`resnet::FWA_RECIPE`]).
//!
//! Label 1 is fake for all of them, whatever the source has; inputs are squares of `side_px`, given when a network is made
//! because the fully connected layers depend on it.

pub mod amtennet;
pub mod capsule;
pub mod highpass;
pub mod meso;
pub mod mislnet;
pub mod multitask;
pub mod resnet;
pub mod xception;
