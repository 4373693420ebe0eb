//! The report's answer in one sentence.

use crate::evaluate::comparison::Arm;
use crate::evaluate::gain::{ArmResult, Gain, best, gained};

/// One sentence: the gain of the best arm with synthetic images, and whether its interval allows to believe in it.
pub fn verdict(arms: &[ArmResult], pairs: usize) -> String {
    let gained = gained(arms).count();
    let Some((best, gain)) = best(arms) else {
        return "No arm with synthetic images was trained, so no gain was measured.".into();
    };
    let (low, high) = gain.interval();
    let known = |_| format!("95 % interval {:+.2} to {:+.2}", 100.0 * low, 100.0 * high);
    let seeds = gain.by_seed.len();
    let basis = format!(
        "{}, {seeds} paired seed{}, {pairs} pairs, best of {} arm{}",
        gain.ci95.map_or("too few pairs for an interval".into(), known),
        if seeds == 1 { "" } else { "s" },
        gained,
        if gained == 1 { "" } else { "s" }
    );
    let points = 100.0 * gain.accuracy_gain;
    let what = best.description.trim_start_matches("baseline + ");
    if seeds == 1 {
        format!("One seed alone cannot show a gain: the best arm ({what}) stands at {points:+.2} points ({basis}).")
    } else if low > 0.0 {
        let control = best.over_control.as_ref().filter(|(arm, _)| *arm != Arm::Real);
        format!(
            "Yes: {what} gain {points:+.2} points of accuracy over real images with the usual augmentation ({basis}).{}",
            control.map_or(String::new(), |(arm, gain)| beside(*arm, gain))
        )
    } else if high < 0.0 {
        format!("No: even the best arm ({what}) loses accuracy, {points:+.2} points ({basis}).")
    } else {
        format!("Not shown: the best arm ({what}) stands at {points:+.2} points, which may be chance ({basis}).")
    }
}

/// A sentence on the strongest control, where that is better than the baseline.
fn beside(control: Arm, gain: &Gain) -> String {
    let (low, high) = gain.interval();
    let numbers = format!("{:+.2} points ({:+.2} to {:+.2})", 100.0 * gain.accuracy_gain, 100.0 * low, 100.0 * high);
    let name = control.description().trim_start_matches("baseline + ").trim_end_matches(" (control)");
    let shown =
        if low > 0.0 { "That is more than" } else { "That it is more than what needs no generator is not shown:" };
    format!(" {shown} {name}, the strongest control, give: {numbers}.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::statistics::summary;

    fn arm(arm: Arm, gains: &[f64]) -> ArmResult {
        let table: Vec<Vec<f64>> =
            gains.iter().map(|g| (0..100).map(|i| g + 0.02 * f64::from(i % 2) - 0.01).collect()).collect();
        let gain = (!gains.is_empty()).then(|| Gain::new(gains.to_vec(), &table));
        ArmResult {
            arm,
            description: arm.description().into(),
            accuracy: summary(&[0.8, 0.81]),
            figures: std::collections::BTreeMap::new(),
            gain,
            over_control: None,
            seconds: 1.0,
        }
    }

    #[test]
    fn the_verdict_believes_only_intervals_above_zero() {
        let of =
            |gains: &[f64]| verdict(&[arm(Arm::Real, &[]), arm(Arm::Repeats, &[0.5, 0.5]), arm(Arm::New, gains)], 100);
        assert!(of(&[0.02, 0.021, 0.022]).starts_with("Yes: new identities gain +2.10 points"));
        assert!(of(&[0.03, -0.02, 0.02]).starts_with("Not shown"));
        assert!(of(&[-0.03, -0.031, -0.032]).starts_with("No:"));
        assert!(of(&[0.05]).starts_with("One seed alone"));
        assert!(verdict(&[arm(Arm::Real, &[])], 100).starts_with("No arm with synthetic"));
        // A gain that a control has, too, is no merit of the generator.
        let beside = |margin: f64| {
            let mut new = arm(Arm::New, &[0.02, 0.021, 0.022]);
            new.over_control = arm(Arm::New, &[margin, margin + 0.001, margin]).gain.map(|g| (Arm::Composite, g));
            verdict(&[arm(Arm::Real, &[]), new], 100)
        };
        assert!(
            beside(0.02).contains(". That is more than pasted photographs of two persons as new identities, the"),
            "{}",
            beside(0.02)
        );
        assert!(beside(-0.01).contains("what needs no generator is not shown: pasted"), "{}", beside(-0.01));
    }
}
