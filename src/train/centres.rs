//! Moving averages of feature means, overall (L_GD) and per class (L_GC), for real and generated features.
//!
//! A batch holds few images of one class, so the paper averages means over batches. An average that is wholly detached
//! gives the generator no gradient; here the newest batch mean carries it, undiminished:
//! `centre = stop(decay * old + (1 - decay) * batch) + (batch - stop(batch))`.

use crate::error::{Error, Result};
use crate::model::loss::{class_means, discriminator_means};
use crate::ops::rows;
use candle_core::{Device, Tensor};
use std::collections::BTreeMap;

/// Value `stop(value) + (batch - stop(batch))`: that of the average, with the gradient of the batch.
fn with_gradient(value: &Tensor, batch: &Tensor) -> candle_core::Result<Tensor> {
    value.detach() + (batch - batch.detach())?
}

/// Centres of one kind of images (real or generated).
struct Side {
    /// `[F_D]`, zero before the first update
    overall: Option<Tensor>,
    /// `[K, F_C]`
    classes: Option<Tensor>,
    /// Classes that have been seen.
    seen: Vec<bool>,
}

/// The centres of real and generated features.
pub struct Centres {
    decay: f64,
    real: Side,
    fake: Side,
}

/// The labels of a batch, grouped: distinct labels in order, and the matrix that averages rows of each.
struct Groups {
    labels: Vec<u32>,
    /// u32 `[P]`
    ids: Tensor,
    /// `[P, B]`, rows sum to 1
    averaging: Tensor,
}

impl Groups {
    fn new(labels: &[u32], device: &Device) -> candle_core::Result<Self> {
        let mut rows: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for (i, l) in labels.iter().enumerate() {
            rows.entry(*l).or_default().push(i);
        }
        let mut matrix = vec![0f32; rows.len() * labels.len()];
        for (p, members) in rows.values().enumerate() {
            for &i in members {
                matrix[p * labels.len() + i] = 1.0 / members.len() as f32;
            }
        }
        let distinct: Vec<u32> = rows.keys().copied().collect();
        Ok(Self {
            ids: Tensor::from_slice(&distinct, distinct.len(), device)?,
            averaging: Tensor::from_vec(matrix, (distinct.len(), labels.len()), device)?,
            labels: distinct,
        })
    }
}

impl Side {
    /// Moves the overall centre towards `features` (`[B, F]`); the result carries the gradient of the batch mean.
    fn update_overall(&mut self, features: &Tensor, decay: f64) -> candle_core::Result<Tensor> {
        let batch = features.mean(0)?;
        let value = match &self.overall {
            None => batch.detach(),
            Some(old) => ((old * decay)? + (batch.detach() * (1.0 - decay))?)?,
        };
        self.overall = Some(value.clone());
        with_gradient(&value, &batch)
    }

    /// The same for the classes of a batch: `[B, F]` to `[P, F]`, rows in the order of `groups.labels`.
    fn update_classes(&mut self, features: &Tensor, groups: &Groups, decay: f64) -> candle_core::Result<Tensor> {
        let batch = groups.averaging.matmul(features)?;
        if self.classes.is_none() {
            let shape = (self.seen.len(), features.dim(1)?);
            self.classes = Some(Tensor::zeros(shape, features.dtype(), features.device())?);
        }
        let Some(table) = &self.classes else { candle_core::bail!("no centres") };
        let old = table.index_select(&groups.ids, 0)?;
        // A class that is seen for the first time starts at its batch mean.
        let keep: Vec<f32> =
            groups.labels.iter().map(|l| if self.seen[*l as usize] { decay as f32 } else { 0.0 }).collect();
        let keep = Tensor::from_vec(keep, (groups.labels.len(), 1), features.device())?;
        let value = (batch.detach() + (&old - batch.detach())?.broadcast_mul(&keep)?)?;
        // Only these rows of the table are touched, however many there are.
        rows::write(table, &groups.labels, &(&old + (&value - &old)?)?.detach())?;
        for l in &groups.labels {
            self.seen[*l as usize] = true;
        }
        with_gradient(&value, &batch)
    }
}

/// Unweighted losses of the two mean terms.
pub struct MeanLosses {
    /// L_GD, a scalar.
    pub overall: Tensor,
    /// L_GC over the classes of this batch of generated images (the others do not move), a scalar.
    pub classes: Tensor,
}

impl Centres {
    /// No centre yet, for `classes` labels.
    pub fn new(classes: usize, decay: f64) -> Self {
        let side = || Side { overall: None, classes: None, seen: vec![false; classes] };
        Self { decay, real: side(), fake: side() }
    }

    /// Number of labels.
    pub fn classes(&self) -> usize {
        self.real.seen.len()
    }

    /// Updates all centres with a batch and returns L_GD and L_GC.
    ///
    /// # Shapes
    /// - `fd_*`: `[B, F_D]`, `fc_*`: `[B, F_C]`; gradients flow into the `fake` ones only
    ///
    /// # Errors
    /// Shapes that do not fit together, or too little memory.
    pub fn update(
        &mut self,
        (fd_real, fc_real, labels_real): (&Tensor, &Tensor, &[u32]),
        (fd_fake, fc_fake, labels_fake): (&Tensor, &Tensor, &[u32]),
    ) -> candle_core::Result<MeanLosses> {
        let device = fd_real.device();
        let real = self.real.update_overall(&fd_real.detach(), self.decay)?;
        let fake = self.fake.update_overall(fd_fake, self.decay)?;
        let overall = discriminator_means(&real, &fake)?;

        self.real.update_classes(&fc_real.detach(), &Groups::new(labels_real, device)?, self.decay)?;
        let groups = Groups::new(labels_fake, device)?;
        let fake = self.fake.update_classes(fc_fake, &groups, self.decay)?;
        // Classes of which no real image has been seen yet have nothing to match.
        let known: Vec<f32> =
            groups.labels.iter().map(|l| if self.real.seen[*l as usize] { 1.0 } else { 0.0 }).collect();
        let known = Tensor::from_vec(known, (groups.labels.len(), 1), device)?;
        let real = match &self.real.classes {
            Some(t) => t.index_select(&groups.ids, 0)?,
            None => fake.detach(),
        };
        let classes = class_means(&real.broadcast_mul(&known)?, &fake.broadcast_mul(&known)?)?;
        Ok(MeanLosses { overall, classes })
    }

    /// Copies the state into `out` under `centres.`.
    ///
    /// # Errors
    /// Shapes that do not fit together, or too little memory.
    pub fn export(&self, out: &mut BTreeMap<String, Tensor>) -> Result<()> {
        for (name, side) in [("real", &self.real), ("fake", &self.fake)] {
            if let (Some(overall), Some(classes)) = (&side.overall, &side.classes) {
                out.insert(format!("centres.{name}.overall"), overall.clone());
                out.insert(format!("centres.{name}.classes"), classes.clone());
                let seen: Vec<f32> = side.seen.iter().map(|s| f32::from(u8::from(*s))).collect();
                out.insert(format!("centres.{name}.seen"), Tensor::from_vec(seen, side.seen.len(), overall.device())?);
            }
        }
        Ok(())
    }

    /// Takes the state out of `tensors`, as [`Centres::export`] left it; none, where no mean was matched.
    ///
    /// # Errors
    /// `Model`: a tensor that is missing, or of another shape.
    pub fn import(&mut self, tensors: &mut BTreeMap<String, Tensor>) -> Result<()> {
        if !tensors.keys().any(|key| key.starts_with("centres.")) {
            return Ok(());
        }
        for (name, side) in [("real", &mut self.real), ("fake", &mut self.fake)] {
            let mut take = |what: &str, rank: usize| {
                let key = format!("centres.{name}.{what}");
                let t = tensors.remove(&key).filter(|t| t.rank() == rank);
                t.ok_or_else(|| Error::Model(format!("tensor `{key}` is missing or has another shape")))
            };
            let (overall, classes, seen) = (take("overall", 1)?, take("classes", 2)?, take("seen", 1)?);
            if classes.dim(0)? != side.seen.len() || seen.dim(0)? != side.seen.len() {
                return Err(Error::Model(format!("tensors `centres.{name}.*` are of another number of classes")));
            }
            (side.overall, side.classes) = (Some(overall), Some(classes));
            side.seen = seen.to_vec1::<f32>()?.iter().map(|v| *v > 0.0).collect();
        }
        Ok(())
    }
}
