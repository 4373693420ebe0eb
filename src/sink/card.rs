//! The dataset card (README.md) of an output.

use super::ledger::Summary;
use crate::formats;
use std::fmt::Write;

/// Its name in an output folder.
pub const FILE: &str = "README.md";

/// Markdown with Hugging Face's front matter, of the dataset that `done` describes.
pub fn markdown(done: &Summary) -> String {
    let order = &done.order;
    let mut s = String::from("---\ntags:\n- synthetic\n- face-recognition\ntask_categories:\n- image-classification\n");
    if let Some(format) = formats::named(&order.format) {
        s += &format.card(&done.content_hash);
    }
    s += "---\n\n# Synthesized faces\n\n";
    let size = done.image_size.map_or("null".into(), |s| s.to_string());
    let _ = writeln!(
        s,
        "{} synthetic images of {} classes ({} of them new identities mixed from existing ones), {size} px, and {} real images.\n",
        done.synthetic, done.classes, done.new_identities, done.real
    );
    s += "Made by `augment` with a CVAE-GAN trained on the identities of a manifest. ";
    let command = order.task.as_ref().map(|task| task["name"].as_str().unwrap_or_default());
    let _ = match command {
        None => writeln!(
            s,
            "Every row tells how its image was made: `augment synthesize --model MODEL --regenerate DATASET` makes it again, byte for byte.\n"
        ),
        Some(name) => writeln!(
            s,
            "Made of images that were there, by `augment {name}`: the same command makes them again, byte for byte.\n"
        ),
    };
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
        (
            "latent, truncation",
            "distribution of the latent vector (or the command that read it out of images) and factor on its deviation",
        ),
        ("model_hash, config_hash, manifest_hash", "blake3 of the model file, configuration and manifest"),
    ] {
        let _ = writeln!(s, "| {column} | {meaning} |");
    }
    let models: Vec<&str> = order.models.iter().flatten().map(|m| m.hash.as_str()).collect();
    let _ = writeln!(s, "\n- models: {}", models.join(", "));
    let _ = writeln!(s, "- configuration: {}\n- manifest: {}", order.config_hash, order.manifest_hash);
    s += "\nA synthetic image of a person is made to look like that person. It is personal data, as the photographs \
              are; the consent and limits that hold for them hold for it.\n";
    s
}
