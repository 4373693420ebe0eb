//! The tables of the report, as text.

use crate::dataset::IdentityDataset;
use crate::evaluate::gain::{ArmResult, Gain};
use crate::evaluate::groups::{GroupArm, GroupResult};
use crate::evaluate::outside::OutsideQuality;
use crate::evaluate::quality::{Figures, IdentityFigures, Quality};
use crate::manifest::keys;

pub(super) struct ArmRow {
    pub name: &'static str,
    pub description: String,
    pub accuracy: String,
    pub gain: String,
    pub tar2: String,
    pub tar3: String,
    pub eer: String,
    pub auc: String,
    pub rank1: String,
    pub rank5: String,
    pub seconds: String,
}

/// What a gain's interval is made of, in points.
pub(super) struct GainRow {
    pub name: &'static str,
    pub over_seeds: String,
    pub over_pairs: String,
    pub by_seed: String,
}

pub(super) struct Group {
    pub name: String,
    pub pairs: usize,
    pub cells: Vec<String>,
}

pub(super) struct Person {
    pub identity: String,
    pub real: usize,
    pub synthetic: usize,
    pub consistent: String,
    pub nearest: String,
}

/// A kind of images under the network from outside.
pub(super) struct OutsideRow {
    pub name: &'static str,
    pub cells: Vec<String>,
}

pub(super) fn outside_rows(q: &OutsideQuality) -> Vec<OutsideRow> {
    let kinds = [
        ("held-out real", q.held_out.as_ref()),
        ("real training images", Some(&q.training)),
        ("reconstructions", q.reconstructed.as_ref()),
        ("synthetic", q.existing.as_ref()),
    ];
    let cell = |v: Option<f64>| v.map_or("–".to_owned(), |v| format!("{v:.3}"));
    let row = |(name, figures): (&'static str, Option<&crate::evaluate::outside::OutsideFigures>)| {
        let f = figures?;
        let values = [Some(f.top1), Some(f.similarity), f.frechet, f.precision, f.recall];
        let cells = std::iter::once(f.images.to_string()).chain(values.map(cell)).collect();
        Some(OutsideRow { name, cells })
    };
    kinds.into_iter().filter_map(row).collect()
}

pub(super) fn arm_row(a: &ArmResult) -> ArmRow {
    let figure = |name: &str| a.figures.get(name).map_or("–".to_owned(), |s| format!("{:.3}", s.mean));
    ArmRow {
        name: a.arm.name(),
        description: a.description.clone(),
        accuracy: a.accuracy.percent(),
        gain: a.gain.as_ref().map_or("–".into(), gain_cell),
        tar2: figure("tar_at_far_1e2"),
        tar3: figure("tar_at_far_1e3"),
        eer: figure("eer"),
        auc: figure("auc"),
        rank1: figure("rank1"),
        rank5: figure("rank5"),
        seconds: format!("{:.0}", a.seconds),
    }
}

/// A gain in points with its interval.
fn gain_cell(g: &Gain) -> String {
    format!("{}{}", points(g.accuracy_gain), g.ci95.map_or(String::new(), |i| format!(" ({})", interval(i))))
}

/// A fraction in points.
fn points(fraction: f64) -> String {
    format!("{:+.2}", 100.0 * fraction)
}

fn interval((low, high): (f64, f64)) -> String {
    format!("{} to {}", points(low), points(high))
}

pub(super) fn gain_row(name: &'static str, g: &Gain) -> GainRow {
    GainRow {
        name,
        over_seeds: g.ci95_seeds.map_or("–".into(), interval),
        over_pairs: interval(g.ci95_pairs),
        by_seed: g.by_seed.iter().map(|v| points(*v)).collect::<Vec<_>>().join(", "),
    }
}

/// The kinds of images that have figures.
pub(super) fn columns(q: &Quality) -> Vec<(&'static str, &Figures)> {
    let all = [
        ("held-out real", &q.real),
        ("reconstructions", &q.reconstructed),
        ("synthetic", &q.existing),
        ("new identities", &q.new),
    ];
    all.into_iter().filter_map(|(name, f)| Some((name, f.as_ref()?))).collect()
}

pub(super) fn quality_rows(q: &Quality) -> Vec<(&'static str, Vec<String>)> {
    type Cell = fn(&Figures) -> Option<f64>;
    let rows: [(&'static str, Cell); 21] = [
        ("images looked at", |f| Some(f.images as f64)),
        ("top-1 as its identity", |f| f.top1),
        ("exp(E KL) over identities", |f| Some(f.score)),
        ("mean similarity to its identity", |f| Some(f.similarity)),
        ("consistency", |f| Some(f.consistency)),
        ("uniqueness of identities", |f| Some(f.uniqueness)),
        ("diversity within an identity", |f| f.diversity),
        ("EER against identity means", |f| f.eer),
        ("images that the next six compare", |f| Some(f.distances?.0 as f64)),
        ("Frechet distance of embeddings", |f| Some(f.distances?.1.frechet)),
        ("kernel distance of embeddings, x 1000", |f| Some(f.distances?.1.kernel * 1000.0)),
        ("precision (5 neighbours)", |f| Some(f.distances?.1.precision)),
        ("recall (5 neighbours)", |f| Some(f.distances?.1.recall)),
        ("density (5 neighbours)", |f| Some(f.distances?.1.density)),
        ("coverage (5 neighbours)", |f| Some(f.distances?.1.coverage)),
        ("mean similarity to nearest training image", |f| Some(f.copies.mean)),
        ("99 % are below", |f| Some(f.copies.high)),
        ("share of copies", |f| Some(f.copies.share)),
        ("mean similarity of embeddings to nearest training image", |f| Some(f.embedded.mean)),
        ("99 % are below", |f| Some(f.embedded.high)),
        ("share above 99.9 % of held-out real images", |f| Some(f.embedded.share)),
    ];
    let columns = columns(q);
    let shown = |v: f64| if v.fract() == 0.0 && v >= 10.0 { format!("{v:.0}") } else { format!("{v:.3}") };
    let cells = |cell: &Cell| columns.iter().map(|(_, f)| cell(f).map_or("–".into(), shown)).collect();
    rows.iter().map(|(name, cell)| (*name, cells(cell))).collect()
}

/// Accuracy of the baseline and gains of the other arms, which are `arms` in this order, by group.
pub(super) fn group_rows(arms: &[ArmResult], groups: Vec<GroupResult>) -> Vec<Group> {
    let cell = |a: &GroupArm| a.gain.as_ref().map_or_else(|| a.accuracy.percent(), gain_cell);
    let row = |g: GroupResult| {
        let own = arms.iter().filter_map(|a| g.arms.iter().find(|own| own.arm == a.arm));
        Group { cells: own.map(cell).collect(), name: g.group, pairs: g.pairs }
    };
    groups.into_iter().map(row).collect()
}

/// Figures of the synthetic images of each identity of `real`, the least consistent first.
pub(super) fn person_rows(real: &IdentityDataset, figures: &[IdentityFigures]) -> Vec<Person> {
    let mut order: Vec<&IdentityFigures> = figures.iter().collect();
    order.sort_by(|a, b| a.consistency.total_cmp(&b.consistency));
    let row = |f: &IdentityFigures| Person {
        identity: f.identity.clone(),
        real: keys::find(real.identities(), &f.identity).map_or(0, |l| real.images_of(l as u32).len()),
        synthetic: f.images,
        consistent: format!("{:.2}", f.consistency),
        nearest: format!("{:.3}", f.nearest),
    };
    order.into_iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gain_is_told_with_each_interval() {
        let mut gain = Gain {
            accuracy_gain: 0.015,
            by_seed: vec![0.02, -0.001],
            ci95_seeds: Some((-0.04, 0.05)),
            ci95_pairs: (0.01, 0.02),
            ci95: Some((-0.06, 0.07)),
        };
        assert_eq!(gain_cell(&gain), "+1.50 (-6.00 to +7.00)");
        let row = gain_row("both", &gain);
        assert_eq!((&row.over_seeds[..], &row.over_pairs[..]), ("-4.00 to +5.00", "+1.00 to +2.00"));
        assert_eq!((row.name, &row.by_seed[..]), ("both", "+2.00, -0.10"));
        (gain.ci95_seeds, gain.ci95) = (None, None);
        assert_eq!((gain_cell(&gain), gain_row("both", &gain).over_seeds), ("+1.50".into(), "–".into()));
    }
}
