//! Which of the planned images' candidates are kept: those that a judge accepts, without copies of training images.

use super::set_model::SetModel;
use super::wanted::{Chooser, NamedJudge};
use super::write::Assembly;
use crate::dataset::{IdentityDataset, View};
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::recogniser::copies::{self, Index};
use crate::recogniser::filter::{self, Filter, Judging};
use crate::recogniser::judge::Judge;
use crate::recogniser::outside::Acquainted;
use crate::sink::ledger::Screening;
use crate::synthesize::Made;
use crate::synthesize::plan::{Plan, Target};
use crate::synthesize::select::{Bounds, select};

/// What is said where a network from outside shall judge whom it has never seen.
pub(super) const NEEDS_PHOTOGRAPHS: &str = "a judge in ONNX knows persons by their photographs: name a manifest with option `manifest`, and this model with option `model`";

/// What is left of plans.
pub(super) struct Screened {
    /// The plan of each model.
    pub plans: Vec<Plan>,
    /// What was rejected, by model; nothing where nobody looked at anything.
    pub screenings: Vec<Screening>,
    /// Pixels that were made on the way.
    pub made: Made,
}

/// Screens the candidates of `plans`.
pub(super) fn screen(assembly: &Assembly, plans: Vec<Plan>, progress: &mut dyn Progress) -> Result<Screened> {
    let mut screened = Screened { plans: Vec::new(), screenings: Vec::new(), made: Made::default() };
    for (m, mut plan) in assembly.models.iter().zip(plans) {
        screened.screenings.extend(screen_set(assembly, m, &mut plan, &mut screened.made, progress)?);
        screened.plans.push(plan);
    }
    Ok(screened)
}

/// Screens the candidates of one set; none where there is neither a judge nor a training image.
fn screen_set(
    assembly: &Assembly,
    m: &SetModel,
    plan: &mut Plan,
    made: &mut Made,
    progress: &mut dyn Progress,
) -> Result<Option<Screening>> {
    let s = assembly.synthesis;
    let own = m.judge.as_ref().map(|(path, _)| Judge::load(path, &assembly.device)).transpose()?;
    let read;
    let training: Option<&IdentityDataset> = match (&m.training, assembly.source) {
        (Some(training), _) => Some(training),
        (None, Some(source)) => {
            read = source.load_set(&m.set, View::new(m.image_size, assembly.config.alignment), progress)?;
            Some(&read)
        }
        (None, None) => None,
    };
    let copy_limit = match (training, s.max_copy_similarity) {
        (None, _) => None,
        (Some(_), Some(limit)) => Some(limit),
        (Some(training), None) => Some(copies::natural_level(training, progress)?),
    };
    let acquainted;
    let judge: Option<&dyn filter::Chooser> = match (&own, &assembly.judge) {
        (Some(own), _) => Some(own),
        (None, Some(NamedJudge::Ours(judge))) => Some(&**judge),
        (None, Some(NamedJudge::Outside(outside))) => {
            let training = training.ok_or_else(|| Error::Usage(NEEDS_PHOTOGRAPHS.into()))?;
            acquainted = Acquainted::new(outside, training, progress)?;
            Some(&acquainted)
        }
        (None, None) => None,
    };
    if judge.is_none() && copy_limit.is_none() {
        return Ok(None);
    }
    let judged = judge.is_some();
    let judge = judge.map(|judge| Judging::new(judge, s.min_similarity));
    let copies = training.map(Index::new).zip(copy_limit);
    let mut filter = Filter { judge, copies, size: m.image_size };
    let mut accept = |target: &Target, pixels: &[Vec<u8>]| filter.judge(target, pixels);
    // Who names a judge, or a similarity, wants no image that falls short of it; else everybody gets as many images as were asked for.
    let demanded = matches!(s.chooser, Chooser::Judge(_)) || s.min_similarity.is_some();
    let bounds = Bounds { tries: s.tries, fill: !demanded, judged };
    let screening = m.with(&assembly.device, |model| select(model, plan, bounds, &mut accept, made, progress))?;
    Ok(Some(Screening { copy_limit, ..screening }))
}
