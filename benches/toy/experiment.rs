//! The paper's experiment in two dimensions (after the paper: its details are not known to us): points on a ring, or of a mixture of normal
//! distributions, and four ways to train a generator of them. Nets have three layers. The losses and the moving averages are the crate's.

use augment::model::loss;
use augment::seeds::{Seeds, normal};
use augment::train::centres::Centres;
use candle_core::{Device, Result, Tensor, Var};
use candle_nn::{AdamW, Optimizer, ParamsAdamW};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use std::f64::consts::TAU;

pub const MODES: usize = 8;
const BATCH: usize = 64;
const Z: usize = 8;
const HIDDEN: usize = 64;
/// Spread of a mode, and of the ring.
const SPREAD: f64 = 0.05;
/// Arcs of the ring that count as its modes.
const ARCS: usize = 36;
/// Weights of a critic, at most.
const CLIP: f64 = 0.03;
/// Steps of a critic for one of its generator.
const CRITIC: usize = 3;
const DECAY: f64 = 0.9;

/// What is learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Data {
    Ring,
    Mixture,
}

/// How it is learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Cross entropies of both.
    Gan,
    /// A critic with bounded weights.
    Wgan,
    /// D by cross entropy, G by the means of its features over a batch: asymmetric.
    Means,
    /// The same with moving averages of the means.
    Averages,
}

impl Way {
    pub const ALL: [Self; 4] = [Self::Gan, Self::Wgan, Self::Means, Self::Averages];
}

/// Points `[n, 2]`.
pub fn real(data: Data, n: usize, rng: &mut ChaCha8Rng) -> Result<Tensor> {
    let noise = normal(rng, &[n, 2], &Device::Cpu).map_err(|e| candle_core::Error::Msg(e.to_string()))?;
    let noise = noise.to_vec2::<f32>()?;
    let point = |noise: &Vec<f32>| {
        let angle = match data {
            Data::Ring => TAU * rng.random::<f64>(),
            Data::Mixture => TAU * rng.random_range(0..MODES) as f64 / MODES as f64,
        };
        [angle.cos() + SPREAD * f64::from(noise[0]), angle.sin() + SPREAD * f64::from(noise[1])].map(|v| v as f32)
    };
    let values: Vec<f32> = noise.iter().flat_map(point).collect();
    Tensor::from_vec(values, (n, 2), &Device::Cpu)
}

/// Three layers with leaky rectifiers.
struct Net(Vec<(Var, Var)>);

impl Net {
    fn new(widths: [usize; 4], rng: &mut ChaCha8Rng) -> Result<Self> {
        let layer = |w: &[usize]| {
            let weights =
                normal(rng, &[w[0], w[1]], &Device::Cpu).map_err(|e| candle_core::Error::Msg(e.to_string()))?;
            let scaled = (weights * (2.0 / w[0] as f64).sqrt())?;
            Ok((Var::from_tensor(&scaled)?, Var::zeros(w[1], candle_core::DType::F32, &Device::Cpu)?))
        };
        Ok(Self(widths.windows(2).map(layer).collect::<Result<_>>()?))
    }

    fn vars(&self) -> Vec<Var> {
        self.0.iter().flat_map(|(w, b)| [w.clone(), b.clone()]).collect()
    }

    /// The input of the last layer, and the output.
    fn forward(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let mut x = x.clone();
        for (w, b) in &self.0[..2] {
            let y = x.matmul(w)?.broadcast_add(b)?;
            x = ((y.relu()? * 0.8)? + (y * 0.2)?)?;
        }
        let (w, b) = &self.0[2];
        let y = x.matmul(w)?.broadcast_add(b)?;
        Ok((x, y))
    }
}

/// How near what was learned is to what was to be learned.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// Share of the modes, or of the arcs of the ring, that at least a fifth of their share of the points lie near.
    pub covered: f64,
    /// Share of the points that lie near any.
    pub near: f64,
    /// Energy distance to real points.
    pub distance: f64,
}

fn seen(data: Data, made: &Tensor, rng: &mut ChaCha8Rng) -> Result<Seen> {
    let modes = if data == Data::Ring { ARCS } else { MODES };
    let (points, n) = (made.to_vec2::<f32>()?, made.dim(0)?);
    let mut counts = vec![0usize; modes];
    for p in &points {
        let (x, y) = (f64::from(p[0]), f64::from(p[1]));
        let turn = y.atan2(x).rem_euclid(TAU) / TAU * modes as f64;
        let mode = (turn.round() as usize) % modes;
        let angle = if data == Data::Ring { y.atan2(x) } else { TAU * mode as f64 / modes as f64 };
        if (x - angle.cos()).hypot(y - angle.sin()) < 4.0 * SPREAD {
            counts[mode] += 1;
        }
    }
    let enough = n as f64 / modes as f64 / 5.0;
    let theirs = real(data, n, rng)?.to_vec2::<f32>()?;
    let mean = |a: &[Vec<f32>], b: &[Vec<f32>]| {
        let between = |p: &Vec<f32>, q: &Vec<f32>| f64::from((p[0] - q[0]).hypot(p[1] - q[1]));
        a.iter().flat_map(|p| b.iter().map(move |q| between(p, q))).sum::<f64>() / (a.len() * b.len()) as f64
    };
    Ok(Seen {
        covered: counts.iter().filter(|c| **c as f64 >= enough).count() as f64 / modes as f64,
        near: counts.iter().sum::<usize>() as f64 / n as f64,
        distance: 2.0 * mean(&points, &theirs) - mean(&points, &points) - mean(&theirs, &theirs),
    })
}

/// A generator on its way.
pub struct Toy {
    data: Data,
    way: Way,
    seeds: Seeds,
    g: Net,
    d: Net,
    of_g: AdamW,
    of_d: AdamW,
    centres: Centres,
    step: u64,
}

impl Toy {
    pub fn new(data: Data, way: Way, seed: u64) -> Result<Self> {
        let seeds = Seeds::new(seed);
        let g = Net::new([Z, HIDDEN, HIDDEN, 2], &mut seeds.stream("g", &[]))?;
        let d = Net::new([2, HIDDEN, HIDDEN, 1], &mut seeds.stream("d", &[]))?;
        let adam = |net: &Net| {
            let params = ParamsAdamW { lr: 1e-3, beta1: 0.5, beta2: 0.999, eps: 1e-8, weight_decay: 0.0 };
            AdamW::new(net.vars(), params)
        };
        let decay = if way == Way::Averages { DECAY } else { 0.0 };
        let (of_g, of_d) = (adam(&g)?, adam(&d)?);
        Ok(Self { data, way, seeds, g, d, of_g, of_d, centres: Centres::new(1, decay), step: 0 })
    }

    fn noise(&self, what: &str, n: usize) -> Result<Tensor> {
        let mut rng = self.seeds.stream(what, &[self.step]);
        normal(&mut rng, &[n, Z], &Device::Cpu).map_err(|e| candle_core::Error::Msg(e.to_string()))
    }

    /// Trains up to `steps` of the generator in all.
    pub fn train(&mut self, steps: u64) -> Result<()> {
        while self.step < steps {
            let rounds = if self.way == Way::Wgan { CRITIC } else { 1 };
            for round in 0..rounds {
                let x = real(self.data, BATCH, &mut self.seeds.stream("real", &[self.step, round as u64]))?;
                let fake = self.g.forward(&self.noise(&format!("z {round}"), BATCH)?)?.1.detach();
                let (at_real, at_fake) = (self.d.forward(&x)?.1.squeeze(1)?, self.d.forward(&fake)?.1.squeeze(1)?);
                let loss = match self.way {
                    Way::Wgan => (at_fake.mean_all()? - at_real.mean_all()?)?,
                    Way::Gan | Way::Means | Way::Averages => loss::discriminator(&at_real, &[at_fake])?,
                };
                self.of_d.backward_step(&loss)?;
                if self.way == Way::Wgan {
                    for var in self.d.vars() {
                        var.set(&var.clamp(-CLIP, CLIP)?)?;
                    }
                }
            }
            let fake = self.g.forward(&self.noise("z", BATCH)?)?.1;
            let (features, verdict) = self.d.forward(&fake)?;
            let verdict = verdict.squeeze(1)?;
            let loss = match self.way {
                Way::Gan => loss::adversarial(&[verdict])?,
                Way::Wgan => verdict.mean_all()?.neg()?,
                Way::Means | Way::Averages => {
                    let x = real(self.data, BATCH, &mut self.seeds.stream("matched", &[self.step]))?;
                    let matched = self.d.forward(&x)?.0;
                    let labels = [0; BATCH];
                    let means = self.centres.update((&matched, &matched, &labels), (&features, &features, &labels))?;
                    means.overall
                }
            };
            self.of_g.backward_step(&loss)?;
            self.step += 1;
        }
        Ok(())
    }

    /// Points that it makes now, `[n, 2]`.
    pub fn made(&self, n: usize) -> Result<Tensor> {
        Ok(self.g.forward(&self.noise("seen", n)?)?.1.detach())
    }

    pub fn seen(&self, n: usize) -> Result<Seen> {
        seen(self.data, &self.made(n)?, &mut self.seeds.stream("judged", &[]))
    }
}
