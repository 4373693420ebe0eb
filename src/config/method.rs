//! The paper's methods: one model, with networks and terms of the loss switched off.

use serde::{Deserialize, Serialize};

/// What is trained. C is always: it labels what was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// E, G, D and C with every term.
    #[default]
    CvaeGan,
    /// E and G by pixels and KL divergence, without D.
    Cvae,
    /// G by the cross entropies of D and C, without E.
    Cgan,
    /// G by the mean features of D and C, without E.
    FmCgan,
}

impl Method {
    /// Every method, the paper's baselines first.
    pub const ALL: [Self; 4] = [Self::Cvae, Self::Cgan, Self::FmCgan, Self::CvaeGan];

    /// Its name in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::CvaeGan => "cvae-gan",
            Self::Cvae => "cvae",
            Self::Cgan => "cgan",
            Self::FmCgan => "fm-cgan",
        }
    }

    /// Whether there is an encoder, and with it posteriors of z.
    pub fn encodes(self) -> bool {
        matches!(self, Self::CvaeGan | Self::Cvae)
    }

    /// Whether there is a discriminator.
    pub fn discriminates(self) -> bool {
        self != Self::Cvae
    }
}
