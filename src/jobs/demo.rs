//! Draws the demonstration manifest.

use super::place;
use crate::demo;
use crate::error::Result;
use std::path::PathBuf;

/// What to draw.
#[derive(Clone, Debug)]
pub struct Request {
    /// File to write.
    pub out: PathBuf,
    /// Number of identities.
    pub identities: usize,
    /// Identity sets that they are divided among.
    pub sets: usize,
    /// Images of each.
    pub per_id: usize,
    /// Side of the images, in pixels.
    pub image_size: usize,
    /// Root of the random streams.
    pub seed: u64,
}

impl Request {
    /// Refuses a path that is no Parquet file's, or somebody else's file.
    ///
    /// # Errors
    /// `Usage`: one of these.
    pub fn check(&self) -> Result<()> {
        place::usable_parquet(&self.out, demo::is_drawn)
    }

    /// Numbers of other persons and of all images in the set.
    pub fn size(&self) -> (usize, usize) {
        demo::size(self.identities, self.per_id)
    }
}

/// Draws the set and writes its manifest.
///
/// # Errors
/// Numbers that make no set; a path that cannot be written.
pub fn run(request: &Request) -> Result<()> {
    request.check()?;
    demo::write(&request.out, (request.identities, request.sets), request.per_id, request.image_size, request.seed)
}
