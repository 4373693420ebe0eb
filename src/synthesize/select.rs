//! Bounded rejection: of more candidates than are wanted, the first that are accepted. Candidates have running numbers, so that a chosen
//! image is made again from its row like any other.

use super::plan::{Plan, Target};
use super::{BATCH, Item, Made, render};
use crate::error::Result;
use crate::progress::Progress;
use crate::sink::ledger::{Screening, Short};
use crate::train::TrainedModel;

/// What is thought of a candidate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    /// It is kept, if it is wanted.
    Accepted,
    /// It does not show its identity well enough: it has this similarity to it.
    Unlike(f64),
    /// It is a copy of a training image.
    Copy,
}

/// What is thought of each image of a target.
pub type Accept<'a> = dyn FnMut(&Target, &[Vec<u8>]) -> Result<Vec<Verdict>> + 'a;

/// How many candidates are looked at, and what happens where too few are accepted.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Candidates of an identity, in multiples of the images that are wanted.
    pub tries: usize,
    /// Fill up with those that are most like their identity.
    pub fill: bool,
    /// Somebody looks at identities, and knows a new one by a whole batch of its first candidates.
    pub judged: bool,
}

/// Leaves in `plan` the first accepted candidates of each identity, and keeps their pixels in `made`.
///
/// # Errors
/// `Stopped`; those of `accept` and of [`render`].
pub fn select(
    model: &TrainedModel,
    plan: &mut Plan,
    bounds: Bounds,
    accept: &mut Accept,
    made: &mut Made,
    progress: &mut dyn Progress,
) -> Result<Screening> {
    let mut screening = Screening::default();
    progress.start("select", plan.images() as u64, "images");
    let (mut done, sampling) = (0, plan.sampling);
    for target in &mut plan.targets {
        let wanted = target.indices.len();
        let indices = choose(target, bounds, &mut screening, |items| {
            progress.go_on()?;
            let pixels = render(model, &sampling, items)?;
            let verdicts = accept(target, &pixels)?;
            let kept = |v: &Verdict| *v == Verdict::Accepted || bounds.fill && *v != Verdict::Copy;
            let kept = items.iter().zip(pixels).zip(&verdicts).filter(|(_, v)| kept(v));
            kept.for_each(|((item, pixels), _)| made.keep(target.label, item.index, pixels));
            Ok(verdicts)
        })?;
        made.retain(target.label, &indices);
        target.indices = indices;
        done += wanted;
        progress.at(done as u64);
    }
    progress.finish();
    Ok(screening)
}

/// Numbers of the chosen candidates of one target, in their order.
fn choose(
    target: &Target,
    bounds: Bounds,
    screening: &mut Screening,
    mut judge: impl FnMut(&[Item]) -> Result<Vec<Verdict>>,
) -> Result<Vec<u64>> {
    let wanted = target.indices.len();
    let limit = (wanted * bounds.tries) as u64;
    let (mut chosen, mut unlike, mut next) = (Vec::with_capacity(wanted), Vec::new(), 0);
    while chosen.len() < wanted && next < limit {
        // Where no whole batch is looked at, no more than are likely to be needed are made.
        let some = if bounds.judged && target.mix.len() > 1 {
            BATCH
        } else {
            ((wanted - chosen.len()) * 5 / 4 + 4).min(BATCH)
        };
        let end = (next + some as u64).min(limit);
        let items: Vec<Item> = (next..end).map(|index| target.item(index)).collect();
        for (item, verdict) in items.iter().zip(judge(&items)?) {
            if chosen.len() == wanted {
                break;
            }
            screening.candidates += 1;
            match verdict {
                Verdict::Accepted => chosen.push(item.index),
                Verdict::Unlike(similarity) => unlike.push((similarity, item.index)),
                Verdict::Copy => screening.copies += 1,
            }
        }
        next = end;
    }
    screening.rejected += unlike.len();
    let accepted = chosen.len();
    if accepted < wanted {
        screening.short.push(Short { identity: target.identity.clone(), wanted, accepted });
        if bounds.fill {
            unlike.sort_by(|a, b| b.0.total_cmp(&a.0));
            chosen.extend(unlike.iter().take(wanted - accepted).map(|(_, index)| index));
            screening.filled += chosen.len() - accepted;
            chosen.sort_unstable();
        }
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_accepted_candidates_are_taken_and_tries_are_bounded() {
        let target = Target { identity: "a".into(), label: 0, mix: vec![(0, 1.0)], indices: (0..50).collect() };
        let run = |tries: usize, fill: bool, accept: fn(u64) -> Verdict| {
            let mut screening = Screening::default();
            let judge = |items: &[Item]| Ok(items.iter().map(|i| accept(i.index)).collect());
            let chosen = choose(&target, Bounds { tries, fill, judged: true }, &mut screening, judge).unwrap();
            (chosen, screening)
        };
        let third = |i: u64| if i.is_multiple_of(3) { Verdict::Accepted } else { Verdict::Unlike(i as f64 / 1000.0) };
        let (chosen, s) = run(4, false, third);
        assert_eq!((chosen.len(), chosen[1], s.candidates, s.rejected), (50, 3, 148, 98));
        assert_eq!((s.short.len(), s.filled), (0, 0));
        let (chosen, s) = run(2, false, third);
        assert_eq!((chosen.len(), s.candidates, s.short[0].accepted), (34, 100, 34));
        assert_eq!(run(3, false, |_| Verdict::Unlike(0.0)).0, Vec::<u64>::new());
        // The nearest fill up, and they stand in the order of their numbers; copies never do.
        let (chosen, s) = run(2, true, third);
        assert_eq!((chosen.len(), s.filled, s.short[0].accepted), (50, 16, 34));
        assert!(
            chosen.is_sorted() && chosen.contains(&98) && chosen.contains(&76) && !chosen.contains(&74),
            "{chosen:?}"
        );
        let (chosen, s) = run(1, true, |i| if i < 30 { Verdict::Copy } else { Verdict::Unlike(0.1) });
        assert_eq!((chosen, s.copies, s.filled), ((30..50).collect::<Vec<u64>>(), 30, 20));
    }
}
