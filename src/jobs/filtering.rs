//! Which of the planned images' candidates are kept: those that a judge accepts, without copies of training images.

use super::write::Assembly;
use crate::error::Result;
use crate::progress::Progress;
use crate::recogniser::filter::{Filter, drop_copies};
use crate::sink::ledger::Screening;
use crate::synthesize::Made;
use crate::synthesize::plan::{Plan, Target};
use crate::synthesize::select::select;

/// What is left of plans.
pub(super) struct Screened {
    /// The plan of each model.
    pub plans: Vec<Plan>,
    /// What was rejected, by model; nothing where nobody judged.
    pub screenings: Vec<Screening>,
    /// Pixels that were made on the way.
    pub made: Made,
}

/// Screens the candidates of `plans`.
pub(super) fn screen(assembly: &Assembly, plans: Vec<Plan>, progress: &mut dyn Progress) -> Result<Screened> {
    let s = assembly.synthesis;
    let limit = s.max_copy_similarity;
    if assembly.judge.is_none() && limit.is_none() {
        return Ok(Screened { plans, screenings: Vec::new(), made: Made::default() });
    }
    let mut screened = Screened { plans: Vec::new(), screenings: Vec::new(), made: Made::default() };
    for (m, mut plan) in assembly.models.iter().zip(plans) {
        let (mut screening, made) = (Screening::default(), &mut screened.made);
        m.with(&assembly.device, |model| {
            if let Some(judge) = &assembly.judge {
                let mut filter = Filter { judge, least: s.min_similarity, size: m.image_size, new: None };
                let mut accept = |target: &Target, pixels: &[Vec<u8>]| filter.accept(target, pixels);
                screening = select(model, &mut plan, s.tries, &mut accept, made, progress)?;
            }
            if let (Some(limit), Some(training)) = (limit, &m.training) {
                screening.copies = drop_copies(model, &mut plan, training, limit, made, progress)?;
            }
            Ok(())
        })?;
        screened.plans.push(plan);
        screened.screenings.push(screening);
    }
    Ok(screened)
}
