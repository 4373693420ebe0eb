//! Bounded rejection: of more candidates than are wanted, the first that a judge accepts. Candidates have running numbers, so
//! that a chosen image is made again from its row like any other.

use super::plan::{Plan, Target};
use super::{BATCH, Item, Made, render};
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::sink::ledger::{Screening, Short};
use crate::train::TrainedModel;

/// Whether each image of a target is accepted.
pub type Accept<'a> = dyn FnMut(&Target, &[Vec<u8>]) -> Result<Vec<bool>> + 'a;

/// Leaves in `plan` the first accepted candidates of each identity, among at most `tries` times as many as it asks for, and keeps
/// their pixels in `made`.
///
/// # Errors
/// `Stopped`; those of `accept` and of [`render`].
pub fn select(
    model: &TrainedModel,
    plan: &mut Plan,
    tries: usize,
    accept: &mut Accept,
    made: &mut Made,
    progress: &mut dyn Progress,
) -> Result<Screening> {
    let mut screening = Screening::default();
    progress.start("select", plan.images() as u64, "images");
    let (mut done, sampling) = (0, plan.sampling);
    for target in &mut plan.targets {
        let wanted = target.indices.len();
        let indices = choose(target, tries, &mut screening, |items| {
            if progress.stop_requested() {
                return Err(Error::Stopped);
            }
            let pixels = render(model, &sampling, items)?;
            let accepted = accept(target, &pixels)?;
            let kept = items.iter().zip(pixels).zip(&accepted).filter(|(_, accepted)| **accepted);
            kept.for_each(|((item, pixels), _)| made.keep(target.label, item.index, pixels));
            Ok(accepted)
        })?;
        made.retain(target.label, &indices);
        target.indices = indices;
        done += wanted;
        if target.indices.len() < wanted {
            let (identity, accepted) = (target.identity.clone(), target.indices.len());
            screening.short.push(Short { identity, wanted, accepted });
        }
        progress.at(done as u64);
    }
    progress.finish();
    Ok(screening)
}

/// Numbers of the accepted candidates of one target.
fn choose(
    target: &Target,
    tries: usize,
    screening: &mut Screening,
    mut judge: impl FnMut(&[Item]) -> Result<Vec<bool>>,
) -> Result<Vec<u64>> {
    let wanted = target.indices.len();
    let limit = (wanted * tries) as u64;
    let (mut chosen, mut next) = (Vec::with_capacity(wanted), 0);
    while chosen.len() < wanted && next < limit {
        let end = (next + BATCH as u64).min(limit);
        let items: Vec<Item> = (next..end).map(|index| target.item(index)).collect();
        for (item, accepted) in items.iter().zip(judge(&items)?) {
            if chosen.len() == wanted {
                break;
            }
            screening.candidates += 1;
            if accepted {
                chosen.push(item.index);
            } else {
                screening.rejected += 1;
            }
        }
        next = end;
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_accepted_candidates_are_taken_and_tries_are_bounded() {
        let target = Target { identity: "a".into(), label: 0, mix: vec![(0, 1.0)], indices: (0..50).collect() };
        let run = |tries: usize, accept: fn(u64) -> bool| {
            let mut screening = Screening::default();
            let judge = |items: &[Item]| Ok(items.iter().map(|i| accept(i.index)).collect());
            let chosen = choose(&target, tries, &mut screening, judge).unwrap();
            (chosen, screening.candidates, screening.rejected)
        };
        let (chosen, candidates, rejected) = run(4, |i| i % 3 == 0);
        assert_eq!((chosen.len(), chosen[1], candidates, rejected), (50, 3, 148, 98));
        let (chosen, candidates, _) = run(2, |i| i % 3 == 0);
        assert_eq!((chosen.len(), candidates), (34, 100));
        assert_eq!(run(3, |_| false), (Vec::new(), 150, 150));
    }
}
