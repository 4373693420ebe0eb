//! Adam, and a moving average, of a table that are moved by the rows in use.

use super::course::{Course, Row};
use super::{RowGradient, read, write};
use crate::ops::adam::{Moments, average_values, step_values};
use candle_core::{DType, Device, Result, Tensor, Var};
use rayon::prelude::*;

/// Rows that are read at a time.
const AT_ONCE: usize = 4096;

/// Some rows, taken out of their tables.
struct Taken {
    width: usize,
    values: Vec<f32>,
    first: Vec<f32>,
    second: Vec<f32>,
    average: Option<Vec<f32>>,
}

impl Taken {
    /// Calls `f` with each row and its place.
    fn each(&mut self, f: impl Fn(usize, Row) + Sync) {
        let n = self.width;
        let moments = self.first.par_chunks_mut(n).zip(self.second.par_chunks_mut(n));
        let rows = self.values.par_chunks_mut(n).zip(moments).enumerate();
        if let Some(average) = &mut self.average {
            rows.zip(average.par_chunks_mut(n)).for_each(|((i, (values, (first, second))), average)| {
                f(i, Row { values, first, second, average: Some(average) });
            });
        } else {
            rows.for_each(|(i, (values, (first, second)))| f(i, Row { values, first, second, average: None }));
        }
    }
}

/// Moments of Adam of a table `[K, N]`, and the step that each of its rows is at.
pub struct RowMoments {
    moments: Moments,
    /// Step up to which a row, its moments and its average have been moved.
    at: Vec<u32>,
    /// The moving average of the table.
    average: Option<Var>,
}

impl RowMoments {
    /// Zero moments for `table`, and its moving average, if it has one.
    ///
    /// # Errors
    /// Shapes that do not fit together, or too little memory.
    pub fn new(table: &Tensor, average: Option<Var>) -> Result<Self> {
        Ok(Self { moments: Moments::zeros_like(table)?, at: vec![0; table.dim(0)?], average })
    }

    fn take(&self, table: &Var, ids: &[u32]) -> Result<Taken> {
        Ok(Taken {
            width: table.dim(1)?,
            values: read(table, ids)?,
            first: read(&self.moments.first, ids)?,
            second: read(&self.moments.second, ids)?,
            average: self.average.as_ref().map(|a| read(a, ids)).transpose()?,
        })
    }

    fn put(&mut self, table: &Var, ids: &[u32], taken: Taken, t: u64) -> Result<()> {
        let back = |to: &Var, values: Vec<f32>| {
            write(to, ids, &Tensor::from_vec(values, (ids.len(), taken.width), table.device())?)
        };
        back(table, taken.values)?;
        back(&self.moments.first, taken.first)?;
        back(&self.moments.second, taken.second)?;
        if let (Some(to), Some(values)) = (&self.average, taken.average) {
            back(to, values)?;
        }
        ids.iter().for_each(|id| self.at[*id as usize] = t as u32);
        Ok(())
    }

    /// Moves the rows `ids`, each named once, to where they are after step `t`: to be called before they are used in step `t + 1`.
    ///
    /// # Errors
    /// Shapes that do not fit together, or too little memory.
    pub fn catch_up(&mut self, table: &Var, ids: &[u32], t: u64, course: &Course) -> Result<()> {
        let behind: Vec<u32> = ids.iter().copied().filter(|id| u64::from(self.at[*id as usize]) < t).collect();
        if behind.is_empty() {
            return Ok(());
        }
        let mut taken = self.take(table, &behind)?;
        taken.each(|i, mut row| course.make_up(&mut row, u64::from(self.at[behind[i] as usize]), t));
        self.put(table, &behind, taken, t)
    }

    /// Step `t`, counted from 1, of the rows that have a gradient.
    ///
    /// # Errors
    /// Shapes that do not fit together, or too little memory.
    pub fn step(&mut self, table: &Var, gradient: &RowGradient, t: u64, course: &Course) -> Result<()> {
        self.catch_up(table, &gradient.ids, t - 1, course)?;
        let mut taken = self.take(table, &gradient.ids)?;
        let width = taken.width;
        taken.each(|i, row| {
            let gradient = &gradient.values[i * width..(i + 1) * width];
            step_values(row.values, row.first, row.second, gradient, &course.adam, t);
            if let Some(average) = row.average {
                average_values(average, row.values, course.decay(t));
            }
        });
        self.put(table, &gradient.ids, taken, t)
    }

    /// The table and its average as they are after step `t`, with every row moved to there. Nothing is changed by it.
    ///
    /// # Errors
    /// Shapes that do not fit together, or too little memory.
    pub fn whole(&self, table: &Var, t: u64, course: &Course) -> Result<(Tensor, Option<Tensor>)> {
        let (rows, width) = table.dims2()?;
        let mut values = Vec::with_capacity(rows * width);
        let mut averages = self.average.as_ref().map(|_| Vec::with_capacity(rows * width));
        let all: Vec<u32> = (0..rows as u32).collect();
        for ids in all.chunks(AT_ONCE) {
            let mut taken = self.take(table, ids)?;
            taken.each(|i, mut row| course.make_up(&mut row, u64::from(self.at[ids[i] as usize]), t));
            values.extend(taken.values);
            if let (Some(all), Some(some)) = (&mut averages, taken.average) {
                all.extend(some);
            }
        }
        let tensor = |values: Vec<f32>| Tensor::from_vec(values, (rows, width), table.device());
        Ok((tensor(values)?, averages.map(tensor).transpose()?))
    }

    /// Everything that [`RowMoments::import`] needs, each under its name.
    ///
    /// # Errors
    /// Too little memory.
    pub fn export(&self) -> Result<[(&'static str, Tensor); 3]> {
        let at = Tensor::from_slice(&self.at, self.at.len(), &Device::Cpu)?;
        let moments = [&self.moments.first, &self.moments.second].map(|m| m.as_tensor().clone());
        let [first, second] = moments;
        Ok([("first", first), ("second", second), ("at", at)])
    }

    /// Takes what [`RowMoments::export`] gave, by its name; the name of what is missing or of another shape or type otherwise.
    ///
    /// # Errors
    /// Too little memory.
    pub fn import(
        &mut self,
        mut take: impl FnMut(&str) -> Option<Tensor>,
    ) -> Result<std::result::Result<(), &'static str>> {
        for (name, var) in [("first", &self.moments.first), ("second", &self.moments.second)] {
            match take(name).filter(|t| t.dims() == var.dims() && t.dtype() == DType::F32) {
                Some(t) => var.set(&t)?,
                None => return Ok(Err(name)),
            }
        }
        match take("at").filter(|t| t.dims() == [self.at.len()] && t.dtype() == DType::U32) {
            Some(t) => self.at = t.to_vec1()?,
            None => return Ok(Err("at")),
        }
        Ok(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{CPU, SHAPE, draw, values};
    use super::*;
    use crate::ops::adam::{AdamParams, moving_average};
    use std::collections::BTreeMap;

    fn adam(weight_decay: f64) -> AdamParams {
        AdamParams { learning_rate: 1e-2, beta1: 0.5, beta2: 0.999, eps: 1e-8, weight_decay }
    }

    /// Gradients of the rows of step `t`: those of a few steps again soon, row 8 after 200 steps, row 7 never.
    fn gradient(t: u64) -> RowGradient {
        let mut ids: Vec<u32> = (0..7).filter(|i| (t + i * i).is_multiple_of(3 + i)).map(|i| i as u32).collect();
        ids.extend((t % 200 == 5).then_some(8));
        RowGradient { values: values(&draw((ids.len(), SHAPE.1), 100 + t)), ids }
    }

    /// Table and average, moved by rows and as a whole, after `steps` steps.
    fn both(steps: u64, weight_decay: f64, mut each: impl FnMut(u64, [&Tensor; 4])) {
        let start = draw(SHAPE, 0);
        let var = || Var::from_tensor(&start).unwrap();
        let (table, dense, dense_average, adam) = (var(), var(), var(), adam(weight_decay));
        let mut rows = RowMoments::new(&table, Some(var())).unwrap();
        let moments = Moments::zeros_like(&dense).unwrap();
        let early: Vec<f64> = (1..=40).map(|t| 1.0 - 1.0 / f64::from(t)).collect();
        let course = Course { adam, average: (&early, 0.98) };
        for t in 1..=steps {
            let gradient = gradient(t);
            rows.catch_up(&table, &gradient.ids, t - 1, &course).unwrap();
            rows.step(&table, &gradient, t, &course).unwrap();
            let mut all = vec![0.0; SHAPE.0 * SHAPE.1];
            for (id, row) in gradient.ids.iter().zip(gradient.values.chunks_exact(SHAPE.1)) {
                all[*id as usize * SHAPE.1..][..SHAPE.1].copy_from_slice(row);
            }
            moments.step(&dense, &Tensor::from_vec(all, SHAPE, &CPU).unwrap(), t, &adam).unwrap();
            moving_average(&dense_average, &dense, course.decay(t)).unwrap();
            let (whole, average) = rows.whole(&table, t, &course).unwrap();
            each(t, [&whole, dense.as_tensor(), &average.unwrap(), dense_average.as_tensor()]);
        }
    }

    #[test]
    fn rows_move_as_in_a_table_that_is_moved_whole() {
        for weight_decay in [0.0, 0.1] {
            both(700, weight_decay, |t, [rows, dense, average, dense_average]| {
                let near = |what: &str, ours: &Tensor, theirs: &Tensor| {
                    for (i, (a, b)) in values(ours).into_iter().zip(values(theirs)).enumerate() {
                        // Rows 0 to 6 are used again before they rest: nothing of theirs is rounded otherwise, but for the average of
                        // row 7, which is never used.
                        let bound = if i / SHAPE.1 < 7 { 0.0 } else { 2e-6 };
                        assert!((a - b).abs() <= bound, "{what}, step {t}, row {}: {a}, dense {b}", i / SHAPE.1);
                    }
                };
                near("table", rows, dense);
                near("average", average, dense_average);
            });
        }
    }

    #[test]
    fn a_long_rest_is_one_step() {
        // As many steps one by one, for a row that rests for 5,000 of them.
        let (table, adam) = (Var::from_tensor(&draw((1, 8), 0)).unwrap(), adam(0.01));
        let dense = Var::from_tensor(&draw((1, 8), 0)).unwrap();
        let (mut rows, moments) = (RowMoments::new(&table, None).unwrap(), Moments::zeros_like(&dense).unwrap());
        let course = Course { adam, average: (&[], 0.98) };
        for (t, next) in [(1, 5001), (5001, 5002)] {
            let gradient = draw((1, 8), t);
            rows.catch_up(&table, &[0], t - 1, &course).unwrap();
            rows.step(&table, &RowGradient { ids: vec![0], values: values(&gradient) }, t, &course).unwrap();
            moments.step(&dense, &gradient, t, &adam).unwrap();
            for t in t + 1..next {
                moments.step(&dense, &gradient.zeros_like().unwrap(), t, &adam).unwrap();
            }
        }
        for (a, b) in values(&table).into_iter().zip(values(&dense)) {
            assert!((a - b).abs() < 2e-5 * b.abs(), "{a}, dense {b}");
        }
    }

    #[test]
    fn reading_changes_nothing_and_moments_can_be_kept() {
        let run = |read: bool| {
            let (table, average) =
                (Var::from_tensor(&draw(SHAPE, 0)).unwrap(), Var::from_tensor(&draw(SHAPE, 0)).unwrap());
            let mut rows = RowMoments::new(&table, Some(average)).unwrap();
            let course = Course { adam: adam(0.1), average: (&[0.1, 0.2], 0.9) };
            for t in 1..=300 {
                let gradient = gradient(t);
                rows.step(&table, &gradient, t, &course).unwrap();
                if read && t % 7 == 0 {
                    rows.whole(&table, t, &course).unwrap();
                    // As from a checkpoint.
                    let kept: BTreeMap<&str, Tensor> = rows.export().unwrap().into();
                    let mut again = RowMoments::new(&table, rows.average.clone()).unwrap();
                    assert_eq!(again.import(|name| kept.get(name).map(|t| t.copy().unwrap())).unwrap(), Ok(()));
                    assert_eq!(again.import(|_| None).unwrap(), Err("first"));
                    rows = again;
                    assert_eq!(rows.import(|name| kept.get(name).cloned()).unwrap(), Ok(()));
                }
            }
            let (whole, average) = rows.whole(&table, 300, &course).unwrap();
            [values(&whole), values(&average.unwrap())]
        };
        assert_eq!(run(true), run(false));
    }
}
