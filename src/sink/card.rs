//! The dataset card (README.md) of an output.

use serde_json::Value;
use std::fmt::Write;

/// Its name in an output folder.
pub const FILE: &str = "README.md";

/// Markdown with Hugging Face's front matter, of the dataset whose summary is `done`.
pub fn markdown(done: &Value) -> String {
    let plan = &done["plan"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut s = String::from("---\ntags:\n- synthetic\n- face-recognition\ntask_categories:\n- image-classification\n");
    if plan["format"] == "parquet" {
        // Without the hash, `datasets` takes all our folders of one name for the same dataset and reads its cache.
        let contents = text(&done["content_hash"]);
        let _ = write!(
            s,
            "configs:\n- config_name: default\n  description: contents {contents}\n  data_files:\n  - split: train\n    path: data/train-*\n"
        );
    }
    s += "---\n\n# Synthesized faces\n\n";
    let _ = writeln!(
        s,
        "{} synthetic images of {} classes ({} of them new identities mixed from existing ones), {} px, and {} real images.\n",
        done["synthetic"], done["classes"], done["new_identities"], done["image_size"], done["real"]
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
    let models: Vec<String> = plan["models"].as_array().into_iter().flatten().map(|m| text(&m["hash"])).collect();
    let _ = writeln!(s, "\n- models: {}", models.join(", "));
    let _ =
        writeln!(s, "- configuration: {}\n- manifest: {}", text(&plan["config_hash"]), text(&plan["manifest_hash"]));
    s += "\nA synthetic image of a person is made to look like that person. It is personal data, as the photographs \
              are; the consent and limits that hold for them hold for it.\n";
    s
}
