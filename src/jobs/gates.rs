//! What an evaluation must show, for jobs that nobody watches.

use crate::error::{Error, Result};
use crate::evaluate::gain::{ArmResult, best};
use crate::evaluate::quality::Quality;

/// What is demanded; nothing by default.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Gates {
    /// Least gain of the best arm with synthetic images, in points of accuracy.
    pub gain: Option<f64>,
    /// Largest share of synthetic images that are copies of training images, in [0, 1].
    pub copies: Option<f64>,
    /// Largest area under the ROC curve of membership inference, in [0, 1].
    pub membership: Option<f64>,
}

impl Gates {
    /// Refuses demands that the images cannot be measured by.
    ///
    /// # Errors
    /// `Usage`: copies or membership are limited, but there is no synthetic image, or no held-out one.
    pub(super) fn check(&self, synthetic: bool, held_out: bool) -> Result<()> {
        let lacking = [
            (self.gain.is_some() && !synthetic, "fail_below", "synthetic"),
            (self.copies.is_some() && !synthetic, "fail_above_copies", "synthetic"),
            (self.membership.is_some() && !(synthetic && held_out), "fail_above_membership", "synthetic and held-out"),
        ];
        match lacking.iter().find(|(lacks, ..)| *lacks) {
            Some((_, name, what)) => Err(Error::Usage(format!(
                "option `{name}` needs {what} images: name them with option `synthetic` and option `held_out`"
            ))),
            None => Ok(()),
        }
    }

    /// What falls short, in sentences.
    pub(super) fn fallen(&self, arms: &[ArmResult], quality: &Quality) -> Vec<String> {
        let mut fallen = Vec::new();
        if let Some(least) = self.gain {
            match best(arms) {
                None => fallen.push(format!("no gain was measured, and {least:+.2} points are demanded")),
                Some((arm, gain)) if 100.0 * gain.accuracy_gain < least => fallen.push(format!(
                    "the best arm ({}) gains {:+.2} points, and {least:+.2} are demanded",
                    arm.arm.name(),
                    100.0 * gain.accuracy_gain
                )),
                Some(_) => {}
            }
        }
        if let Some(most) = self.copies {
            let kinds = [("synthetic images", &quality.existing), ("images of new identities", &quality.new)];
            for (name, share) in kinds.into_iter().filter_map(|(name, f)| Some((name, f.as_ref()?.copies.share))) {
                if share > most {
                    let (percent, most) = (100.0 * share, 100.0 * most);
                    fallen.push(format!(
                        "{percent:.2} % of the {name} are copies of training images, and {most:.2} % are allowed"
                    ));
                }
            }
        }
        if let Some(most) = self.membership {
            match &quality.membership {
                None => fallen.push("membership inference was not measured: no held-out image shows a person of whom there are synthetic ones".into()),
                Some(m) if m.auc > most => {
                    fallen.push(format!("membership inference stands at AUC {:.3}, and {most:.3} is allowed", m.auc));
                }
                Some(_) => {}
            }
        }
        fallen
    }
}
