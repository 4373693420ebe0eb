//! What of a picture is shown whose row says where its face is.

use serde::{Deserialize, Serialize};

/// What of a picture is shown whose row says where its face is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Alignment {
    /// The frame that recognisers of faces are usually trained on: the template of ArcFace in 112 x 112 px, from the forehead to below the chin.
    #[default]
    Arcface,
    /// The middle 84 x 84 px of that frame: eyes, nose and mouth, and little else.
    Tight,
    /// The centre square of the picture, wherever its face is.
    None,
}

impl Alignment {
    /// What was shown before rows could say where faces are.
    pub(crate) fn before() -> Self {
        Self::None
    }

    /// Its name in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Arcface => "arcface",
            Self::Tight => "tight",
            Self::None => "none",
        }
    }
}
