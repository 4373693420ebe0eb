//! Bounded rejection: of more candidates than are wanted, the first that a judge accepts. Candidates have running numbers, so
//! that a chosen image is made again from its row like any other.

use super::plan::{Plan, Target};
use super::{BATCH, Item, render};
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::train::TrainedModel;
use serde::Serialize;

/// What a selection rejected, and whom it could not satisfy.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Selection {
    /// Images that were judged.
    pub candidates: usize,
    /// Images that were rejected.
    pub rejected: usize,
    /// Accepted images that were left out because they are copies of training images.
    pub copies: usize,
    /// Identities with fewer images than were asked for.
    pub short: Vec<Short>,
}

/// An identity that too few candidates were accepted of.
#[derive(Clone, Debug, Serialize)]
pub struct Short {
    /// Its key.
    pub identity: String,
    /// Images asked for.
    pub wanted: usize,
    /// Images accepted.
    pub accepted: usize,
}

/// Whether each image of a target is accepted.
pub type Accept<'a> = dyn FnMut(&Target, &[Vec<u8>]) -> Result<Vec<bool>> + 'a;

/// `plan` with the first accepted candidates of each identity, among at most `tries` times as many as it asks for.
pub fn select(
    model: &TrainedModel,
    mut plan: Plan,
    tries: usize,
    accept: &mut Accept,
    progress: &mut dyn Progress,
) -> Result<(Plan, Selection)> {
    let mut selection = Selection::default();
    progress.start("select", plan.images() as u64, "images");
    let (mut done, sampling) = (0, plan.sampling);
    for target in &mut plan.targets {
        let wanted = target.indices.len();
        let indices = choose(target, tries, &mut selection, |items| {
            if progress.stop_requested() {
                return Err(Error::Stopped);
            }
            accept(target, &render(model, &sampling, items)?)
        })?;
        target.indices = indices;
        done += wanted;
        if target.indices.len() < wanted {
            let (identity, accepted) = (target.identity.clone(), target.indices.len());
            selection.short.push(Short { identity, wanted, accepted });
        }
        progress.at(done as u64);
    }
    progress.finish();
    Ok((plan, selection))
}

/// Numbers of the accepted candidates of one target.
fn choose(
    target: &Target,
    tries: usize,
    selection: &mut Selection,
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
            selection.candidates += 1;
            if accepted {
                chosen.push(item.index);
            } else {
                selection.rejected += 1;
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
            let mut selection = Selection::default();
            let judge = |items: &[Item]| Ok(items.iter().map(|i| accept(i.index)).collect());
            let chosen = choose(&target, tries, &mut selection, judge).unwrap();
            (chosen, selection.candidates, selection.rejected)
        };
        let (chosen, candidates, rejected) = run(4, |i| i % 3 == 0);
        assert_eq!((chosen.len(), chosen[1], candidates, rejected), (50, 3, 148, 98));
        let (chosen, candidates, _) = run(2, |i| i % 3 == 0);
        assert_eq!((chosen.len(), candidates), (34, 100));
        assert_eq!(run(3, |_| false), (Vec::new(), 150, 150));
    }
}
