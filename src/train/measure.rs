//! How good a model is: evaluation, validation, calibration, and what shows it.

pub mod calibrate;
pub mod card;
pub mod curves;
pub mod eval;
pub mod examined;
pub mod ledger;
pub mod plots;
pub mod validate;
