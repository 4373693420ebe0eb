//! The six losses of the CVAE-GAN (Bao et al., ICCV 2017, section 3), each with the paper's symbol, and two terms beyond the paper.
//!
//! Squared distances are summed over the values of an image and averaged over the batch: the paper's weights lambda
//! carry over only with sums per sample.

use candle_core::{Result, Tensor};

/// softplus(x) = ln(1 + exp(x)), without overflow.
fn softplus(x: &Tensor) -> Result<Tensor> {
    x.relu()? + (x.abs()?.neg()?.exp()? + 1.0)?.log()?
}

/// L_D = -log D(x_r) - log(1 - D(x_f)) - log(1 - D(x_p)): means over their batches, one for each kind of fakes. Unit: nats.
///
/// # Shapes
/// - logits of "real": `[B]` each; returns a scalar
///
/// # Errors
/// Shapes that do not fit together, or too little memory.
pub fn discriminator(real: &Tensor, fakes: &[Tensor]) -> Result<Tensor> {
    fakes.iter().try_fold(softplus(&real.neg()?)?.mean_all()?, |sum, fake| sum + softplus(fake)?.mean_all()?)
}

/// L_C = -log P(c_r | x_r), averaged over B. Unit: nats per image.
///
/// # Shapes
/// - `logits`: `[B, K]`; `labels`: u32 `[B]`; returns a scalar
///
/// # Errors
/// Shapes that do not fit together, or too little memory.
pub fn classifier(logits: &Tensor, labels: &Tensor) -> Result<Tensor> {
    candle_nn::loss::cross_entropy(logits, labels)
}

/// L_KL = KL(q(z|x,c) || N(0, I)), summed over Z, averaged over B. Unit: nats per image.
///
/// # Shapes
/// - `mu`, `logvar`: `[B, Z]`; returns a scalar
///
/// # Errors
/// Shapes that do not fit together, or too little memory.
pub fn kl_divergence(mu: &Tensor, logvar: &Tensor) -> Result<Tensor> {
    let per_value = (((mu.sqr()? + logvar.exp()?)? - logvar)? - 1.0)?;
    (per_value.sum_all()? * 0.5)? / mu.dim(0)? as f64
}

/// One term of L_G: 1/2 |a - b|^2, summed over all values of an image, averaged over B.
///
/// L_G is the sum of this over pixels, f_D and f_C of a real image and its reconstruction.
///
/// # Shapes
/// - `a`, `b`: `[B, ..]`; returns a scalar
///
/// # Errors
/// Shapes that do not fit together, or too little memory.
pub fn pairwise(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    ((a - b)?.sqr()?.sum_all()? * 0.5)? / a.dim(0)? as f64
}

/// One of D's or C's maps as a term of L_G: 1/2 |a - b|^2, summed over channels, averaged over places and over B.
///
/// # Shapes
/// - `a`, `b`: `[B, H, W, channels]`; returns a scalar
///
/// # Errors
/// Shapes that do not fit together, or too little memory.
pub fn pairwise_map(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    pairwise(a, b)? / (a.dim(1)? * a.dim(2)?) as f64
}

/// G's cross entropy under D, -log D(x_f) - log D(x_p): means over their batches, one for each kind of fakes. Unit: nats. The paper's G
/// matches means instead.
///
/// # Shapes
/// - logits of "real": `[B]` each; returns a scalar
///
/// # Errors
/// Shapes that do not fit together, or too little memory.
pub fn adversarial(fakes: &[Tensor]) -> Result<Tensor> {
    let terms = fakes.iter().map(|fake| softplus(&fake.neg()?)?.mean_all()).collect::<Result<Vec<_>>>()?;
    Tensor::stack(&terms, 0)?.sum_all()
}

/// L_GD = 1/2 |E f_D(x_r) - E f_D(x_p)|^2, of means of f_D.
///
/// # Shapes
/// - `real`, `sampled`: `[F]`; returns a scalar
///
/// # Errors
/// Shapes that do not fit together, or too little memory.
pub fn discriminator_means(real: &Tensor, sampled: &Tensor) -> Result<Tensor> {
    (real - sampled)?.sqr()?.sum_all()? * 0.5
}

/// L_GC = 1/2 sum over classes |E f_C(x_r | c) - E f_C(x_p | c)|^2, of means of f_C, a row for each class.
///
/// # Shapes
/// - `real`, `sampled`: `[P, F]`; returns a scalar
///
/// # Errors
/// Shapes that do not fit together, or too little memory.
pub fn class_means(real: &Tensor, sampled: &Tensor) -> Result<Tensor> {
    (real - sampled)?.sqr()?.sum_all()? * 0.5
}
