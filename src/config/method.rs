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

/// A configuration that is compared with others: what it changes, as `key=value`, and what that means.
#[derive(Clone, Copy, Debug)]
pub struct Variant {
    /// Its name.
    pub name: &'static str,
    /// What it changes.
    pub set: &'static [&'static str],
    /// What that is, in words.
    pub about: &'static str,
}

impl Variant {
    /// The methods of the paper, then what CVAE-GAN is without one of its parts.
    pub const ALL: [Self; 12] = [
        Self::new("cvae", &["train.method=cvae"], "E and G by pixels and KL divergence"),
        Self::new("cgan", &["train.method=cgan"], "G by the cross entropies of D and C; no E"),
        Self::new("fm-cgan", &["train.method=fm-cgan"], "G by the mean features of D and C; no E"),
        Self::new("cvae-gan", &["train.method=cvae-gan"], "all networks and terms"),
        Self::new("no-pixels", &["train.pair_pixel=0"], "CVAE-GAN without the pixels of L_G"),
        Self::new("no-d-features", &["train.pair_d=0"], "CVAE-GAN without f_D in L_G"),
        Self::new("no-c-features", &["train.pair_c=0"], "CVAE-GAN without f_C in L_G"),
        Self::new("no-maps", &["train.pair_maps=0"], "CVAE-GAN without the maps of D and C in L_G"),
        Self::new("no-averages", &["train.centre_decay=0"], "CVAE-GAN with means of one batch alone"),
        Self::new(
            "no-third-fake",
            &["train.cross_fraction=0"],
            "CVAE-GAN whose label-only fakes are all drawn from N(0, I)",
        ),
        Self::new(
            "cross-entropy",
            &[
                "train.mean_weight=0",
                "train.class_mean_weight=0",
                "train.adversarial_weight=10",
                "train.class_adversarial_weight=10",
            ],
            "CVAE-GAN whose G descends on cross entropies in place of means",
        ),
        Self::new(
            "paper-terms",
            &["train.pair_d=1", "train.pair_maps=0", "train.adversarial_weight=0", "train.cross_fraction=0"],
            "CVAE-GAN with the terms of the paper alone",
        ),
    ];

    const fn new(name: &'static str, set: &'static [&'static str], about: &'static str) -> Self {
        Self { name, set, about }
    }

    /// The methods of the paper.
    pub fn of_paper() -> &'static [Self] {
        &Self::ALL[..Method::ALL.len()]
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        Self::ALL.iter().find(|v| v.name == name)
    }
}
