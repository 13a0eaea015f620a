//! How pictures look: what augmentation, the web and makers of fakes do to them.

pub mod augment;
pub mod degrade;
pub mod detail;
pub mod disguise;
pub mod forge;
pub mod hull;
pub mod pixels;
pub mod ring;
