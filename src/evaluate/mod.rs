//! What synthesized images are worth: recognisers trained with and without them, and the quality of the images as such, under a
//! recogniser of our own and, if one is given, a face network from outside.

pub mod comparison;
mod composite;
pub mod contamination;
pub mod distribution;
pub mod enrolment;
mod figures;
pub mod gain;
pub mod groups;
pub mod judges;
pub mod measures;
pub mod membership;
mod nearest;
pub mod outside;
pub mod quality;
pub mod statistics;
pub mod synthetic;
pub mod verification;
