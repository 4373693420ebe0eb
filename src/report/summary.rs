//! An evaluation in Markdown, short enough for the page of a scheduled job.

use super::tables::{arm_row, columns, quality_rows};
use super::{Report, verdict};
use std::fmt::Write;

/// Figures of the images that are told.
const TOLD: [&str; 6] = [
    "top-1 as its identity",
    "consistency",
    "diversity within an identity",
    "Frechet distance of embeddings",
    "share of copies",
    "share above 99.9 % of held-out real images",
];

impl Report<'_> {
    /// The verdict, what fell short of what was demanded, the arms and the figures of the images.
    pub fn markdown(&self, fallen: &[String]) -> String {
        let test = &self.material.test;
        let mut text =
            format!("## Evaluation of `{}`\n\n**{}**\n\n", self.manifest, verdict(self.arms, test.pairs.len()));
        for line in fallen {
            let _ = writeln!(text, "- **failed**: {line}");
        }
        if !fallen.is_empty() {
            text.push('\n');
        }
        text +=
            "| trained on | accuracy, % | gain, points (95 %) | TAR at FAR 1e-3 | rank-1 |\n|---|---|---|---|---|\n";
        for row in self.arms.iter().map(arm_row) {
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {} |",
                row.description, row.accuracy, row.gain, row.tar3, row.rank1
            );
        }
        let kinds: Vec<&str> = columns(self.quality).iter().map(|(name, _)| *name).collect();
        if !kinds.is_empty() {
            let _ = writeln!(text, "\n| images | {} |\n|---|{}", kinds.join(" | "), "---|".repeat(kinds.len()));
            for (name, cells) in quality_rows(self.quality).into_iter().filter(|(name, _)| TOLD.contains(name)) {
                let _ = writeln!(text, "| {name} | {} |", cells.join(" | "));
            }
        }
        if let Some(m) = &self.quality.membership {
            let _ = writeln!(text, "\nMembership inference: AUC {:.3}, 0.5 is chance.", m.auc);
        }
        let _ = writeln!(
            text,
            "\nTested on {} pairs ({}), {} seeds. Manifest `{}`.",
            test.pairs.len(),
            test.name,
            self.arms.first().map_or(0, |a| a.accuracy.count),
            &self.manifest_hash[..self.manifest_hash.len().min(12)]
        );
        text
    }
}
