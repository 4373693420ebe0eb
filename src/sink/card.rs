//! The dataset card (README.md) of an output.

use std::fmt::Write;

/// What the card says.
#[derive(Clone, Debug)]
pub struct Card {
    /// Synthetic images.
    pub synthetic: usize,
    /// Real images merged in.
    pub real: usize,
    /// Classes, new identities included.
    pub classes: usize,
    /// Classes that mix several identities.
    pub new_identities: usize,
    /// Side of synthetic images, in pixels.
    pub image_size: usize,
    /// True for Parquet shards, false for an image folder.
    pub shards: bool,
    /// blake3 of model files, in order.
    pub models: Vec<String>,
    /// blake3 of the resolved configuration.
    pub config_hash: String,
    /// blake3 of the manifest.
    pub manifest_hash: String,
}

impl Card {
    /// Markdown with Hugging Face's front matter.
    pub fn to_markdown(&self) -> String {
        let mut s =
            String::from("---\ntags:\n- synthetic\n- face-recognition\ntask_categories:\n- image-classification\n");
        if self.shards {
            s += "configs:\n- config_name: default\n  data_files:\n  - split: train\n    path: data/train-*\n";
        }
        s += "---\n\n# Synthesized faces\n\n";
        let _ = writeln!(
            s,
            "{} synthetic images of {} classes ({} of them new identities mixed from existing ones), {} px, and {} real \
             images.\n",
            self.synthetic, self.classes, self.new_identities, self.image_size, self.real
        );
        s += "Made by `augment` with a CVAE-GAN trained on the identities of a manifest. Every row tells how its image \
              was made: `augment synthesize --model MODEL --regenerate DATASET` makes it again, byte for byte.\n\n";
        s += "| column | meaning |\n|---|---|\n";
        for (column, meaning) in [
            ("image", "encoded image"),
            ("label", "class number; new identities follow the existing ones"),
            ("identity", "identity key; those of new identities begin with `new-`"),
            ("identity_set", "identity set; keys are unique within one"),
            ("sample_id", "unique name of the image"),
            ("synthetic", "false for real images that were merged in"),
            ("seed, index", "root of the random streams, number of the image within its identity"),
            ("label_mix", "JSON list of [identity, weight] that the generator was given"),
            ("latent, truncation", "distribution of the latent vector and factor on its deviation"),
            ("model_hash, config_hash, manifest_hash", "blake3 of the model file, configuration and manifest"),
        ] {
            let _ = writeln!(s, "| {column} | {meaning} |");
        }
        let _ = writeln!(s, "\n- models: {}", self.models.join(", "));
        let _ = writeln!(s, "- configuration: {}\n- manifest: {}", self.config_hash, self.manifest_hash);
        s += "\nA synthetic image of a person is made to look like that person. It is personal data, as the photographs \
              are; the consent and limits that hold for them hold for it.\n";
        s
    }
}
