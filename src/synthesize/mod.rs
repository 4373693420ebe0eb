//! Synthesis: which images to make, and making them from a trained model.
//!
//! An image is named by (seed, model, identity, index); it does not depend on what else is made with it.

pub mod gate;
pub mod plan;
pub mod select;

use crate::config::LatentSource;
use crate::dataset::encode::{Origin, encode};
use crate::dataset::{View, to_byte};
use crate::error::{Error, Result};
use crate::formats::Sample;
use crate::nn::{Labels, Mode};
use crate::progress::Progress;
use crate::seeds::{Seeds, normal_vec};
use crate::sink::Sink;
use crate::train::TrainedModel;
use plan::{Plan, Target};
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::sync::mpsc::sync_channel;

/// One image to make.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// Identity key, which names the random stream.
    pub identity: String,
    /// Number of the image within its identity.
    pub index: u64,
    /// Labels of the model and their weights.
    pub mix: Vec<(u32, f32)>,
}

/// How z is drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Root of the random streams.
    pub seed: u64,
    /// Distribution of z.
    pub latent: LatentSource,
    /// Factor on z's deviation.
    pub truncation: f64,
}

/// z of one image, `[Z]`.
fn draw_latent(model: &TrainedModel, sampling: &Sampling, item: &Item) -> Result<Vec<f32>> {
    let key = [&sampling.seed.to_le_bytes()[..], model.hash.as_bytes(), item.identity.as_bytes()];
    let mut rng = Seeds::keyed(&key).stream("z", &[item.index]);
    let mut z = normal_vec(&mut rng, model.header.config.model.latent_dim);
    z.iter_mut().for_each(|v| *v *= sampling.truncation as f32);
    if sampling.latent == LatentSource::Prior {
        return Ok(z);
    }
    let latents = model.latents()?;
    Ok(match sampling.latent {
        LatentSource::Prior => z,
        LatentSource::Fitted => latents.place(&z),
        LatentSource::Posterior => latents.borrow(&z, &item.mix, &mut rng),
        LatentSource::Morph => latents.morph(&z, &item.mix, &mut rng),
        LatentSource::Transfer => latents.transfer(&z, &item.mix, sampling.truncation as f32, &mut rng),
    })
}

/// Images that pass through G at a time. It decides how sums are cut, so it is the same for every run.
pub const BATCH: usize = 64;

/// Pixels of `items`, `[S, S, 3]` bytes each. An image is the same whatever is made with it: our kernels sum every value in one order
/// whatever the batch; on other devices the network always sees a whole batch.
///
/// # Errors
/// The generator makes values that are not finite.
pub fn render(model: &TrainedModel, sampling: &Sampling, items: &[Item]) -> Result<Vec<Vec<u8>>> {
    let mut out = Vec::with_capacity(items.len());
    for part in items.chunks(BATCH) {
        let latents = part.iter().map(|item| draw_latent(model, sampling, item)).collect::<Result<Vec<_>>>()?;
        out.extend(generate(model, latents.concat(), part.iter().map(|i| i.mix.clone()).collect())?);
    }
    Ok(out)
}

/// What G makes of the posterior means of training images with their own labels: the label of each image and its pixels.
///
/// # Errors
/// As [`render`].
pub fn reconstruct(model: &TrainedModel) -> Result<Vec<(u32, Vec<u8>)>> {
    let all: Vec<(u32, &[f32])> = model.latents()?.reconstructions().collect();
    let mut out = Vec::with_capacity(all.len());
    for part in all.chunks(BATCH) {
        let latents = part.iter().flat_map(|(_, z)| z.iter().copied()).collect();
        let images = generate(model, latents, part.iter().map(|(label, _)| vec![(*label, 1.0)]).collect())?;
        out.extend(part.iter().map(|(label, _)| *label).zip(images));
    }
    Ok(out)
}

/// Pixels of at most [`BATCH`] images from `latents`, `[B, Z]`, and the weights of their labels.
fn generate(model: &TrainedModel, mut latents: Vec<f32>, mut mixes: Vec<Vec<(u32, f32)>>) -> Result<Vec<Vec<u8>>> {
    let (config, device, count) = (&model.header.config, &model.device, mixes.len());
    let (z_dim, image) = (config.model.latent_dim, config.image_size * config.image_size * 3);
    let width = mixes.iter().map(Vec::len).max().unwrap_or(1);
    let rows = if device.is_cpu() { count } else { BATCH };
    latents.resize(rows * z_dim, 0.0);
    mixes.resize(rows, vec![(0, 1.0)]);
    mixes.iter_mut().for_each(|m| m.resize(width, (0, 0.0)));
    let z = candle_core::Tensor::from_vec(latents, (rows, z_dim), device)?;
    let images = model.generator.net.forward(&(&z).into(), &Labels::mixed(&mixes, device)?, Mode::Eval)?;
    let values = images.flatten_all()?.to_vec1::<f32>()?;
    if values.iter().any(|v| !v.is_finite()) {
        return Err(Error::Model("the generator made values that are not finite; train it again".into()));
    }
    Ok(values.chunks_exact(image).take(count).map(|i| i.iter().map(|v| to_byte(*v)).collect()).collect())
}

/// Where the images of one model go and what their rows say.
pub struct Provenance {
    /// Identity set of the model.
    pub identity_set: String,
    /// blake3 of the resolved configuration.
    pub config_hash: String,
    /// blake3 of the manifest.
    pub manifest_hash: String,
    /// `jpg` or `png`.
    pub extension: &'static str,
    /// Side of images, in pixels.
    pub size: usize,
}

/// Pixels that were made before their turn, by label (of all sets) and number, as far as memory allows.
#[derive(Default)]
pub struct Made {
    pixels: BTreeMap<(i64, u64), Vec<u8>>,
    bytes: usize,
}

/// Bytes of pixels that [`Made`] keeps.
const KEPT: usize = 512 << 20;

impl Made {
    /// Keeps the pixels of image `index` of `label`, if there is room.
    pub fn keep(&mut self, label: i64, index: u64, pixels: Vec<u8>) {
        if self.bytes + pixels.len() <= KEPT && !self.pixels.contains_key(&(label, index)) {
            self.bytes += pixels.len();
            self.pixels.insert((label, index), pixels);
        }
    }

    /// Of `label`, keeps only the images `indices`, which are sorted.
    pub fn retain(&mut self, label: i64, indices: &[u64]) {
        let own = self.pixels.range((label, 0)..=(label, u64::MAX)).map(|((_, index), _)| *index);
        let others: Vec<u64> = own.filter(|index| indices.binary_search(index).is_err()).collect();
        for index in others {
            self.bytes -= self.pixels.remove(&(label, index)).map_or(0, |p| p.len());
        }
    }

    /// Pixels of the images `wanted` of `model`: those that were kept, and the others rendered. They stay.
    ///
    /// # Errors
    /// Those of [`render`].
    pub fn pixels(&self, model: &TrainedModel, sampling: &Sampling, wanted: &[(i64, Item)]) -> Result<Vec<Vec<u8>>> {
        let kept = |(label, item): &(i64, Item)| self.pixels.get(&(*label, item.index));
        let others: Vec<Item> = wanted.iter().filter(|w| kept(w).is_none()).map(|(_, item)| item.clone()).collect();
        let mut others = render(model, sampling, &others)?.into_iter();
        Ok(wanted.iter().filter_map(|w| kept(w).cloned().or_else(|| others.next())).collect())
    }
}

/// Pixels on their way to the encoder.
type Job<'a> = Vec<(&'a Target, Item, Vec<u8>)>;

/// The picture of side `to` that shows `pixels` of side `from`, encoded as `extension`.
///
/// # Errors
/// The pixels are of another side.
pub fn picture(pixels: Vec<u8>, from: usize, to: usize, extension: &str) -> Result<Vec<u8>> {
    let pixels = View::square(to).pixels(pixels, from).map_err(Error::Model)?;
    encode(&pixels, to, to, extension, Origin::Synthetic)
}

/// Makes the images of `plan` that `sink` lacks and writes them in order; encoding and writing overlap with the network. The
/// plan's rows begin at `first_row` of the output.
///
/// # Errors
/// `Stopped`; a file cannot be written; the generator makes values that are not finite.
pub fn run(
    model: &TrainedModel,
    plan: &Plan,
    first_row: usize,
    provenance: &Provenance,
    made: &Made,
    sink: &mut Sink,
    progress: &mut dyn Progress,
) -> Result<()> {
    progress.start("synthesize", plan.images() as u64, "images");
    let missing = sink.missing();
    let size = model.header.config.image_size;
    let (send, receive) = sync_channel::<Job>(2);
    let made = std::thread::scope(|scope| -> Result<()> {
        let writer = scope.spawn(move || -> Result<()> {
            for job in receive {
                let encoded: Vec<Result<Sample>> = job
                    .into_par_iter()
                    .map(|(target, item, pixels)| {
                        let image = picture(pixels, size, provenance.size, provenance.extension)?;
                        Ok(sample(model, plan, target, &item, image, provenance))
                    })
                    .collect();
                for r in encoded {
                    sink.write(r?)?;
                }
            }
            Ok(())
        });
        let committed = (0..plan.images()).filter(|i| !missing.contains(first_row + i)).count();
        let mut done = committed;
        progress.at(done as u64);
        let mut network = || -> Result<()> {
            let wanted = plan.items().enumerate().filter(|(i, _)| missing.contains(first_row + i));
            let mut waiting = wanted.map(|(_, item)| item).peekable();
            while waiting.peek().is_some() {
                progress.go_on()?;
                let (targets, items): (Vec<&Target>, Vec<Item>) = waiting.by_ref().take(BATCH).unzip();
                let wanted: Vec<(i64, Item)> = targets.iter().map(|t| t.label).zip(items).collect();
                let pixels = made.pixels(model, &plan.sampling, &wanted)?;
                done += wanted.len();
                let job = targets.into_iter().zip(wanted).zip(pixels).map(|((t, (_, i)), p)| (t, i, p)).collect();
                if send.send(job).is_err() {
                    // The writer ended early: its error is reported below.
                    return Ok(());
                }
                progress.at(done as u64);
            }
            Ok(())
        };
        let network = network();
        drop(send);
        let written =
            writer.join().unwrap_or_else(|_| Err(Error::Model("the writing thread ended unexpectedly".into())));
        written.and(network)
    });
    made?;
    progress.finish();
    Ok(())
}

/// A row of the output.
fn sample(
    model: &TrainedModel,
    plan: &Plan,
    target: &Target,
    item: &Item,
    image: Vec<u8>,
    provenance: &Provenance,
) -> Sample {
    let names = &model.header.identities;
    let mix: Vec<(&str, f32)> = item.mix.iter().map(|(l, w)| (names[*l as usize].as_str(), *w)).collect();
    let sampling = &plan.sampling;
    Sample {
        image,
        extension: provenance.extension,
        label: target.label,
        identity: target.identity.clone(),
        identity_set: provenance.identity_set.clone(),
        sample_id: sample_id(&[
            &provenance.identity_set,
            &model.hash,
            &format!("{sampling:?}"),
            &item.identity,
            &item.index.to_string(),
        ]),
        synthetic: true,
        seed: sampling.seed,
        index: item.index as i64,
        label_mix: serde_json::json!(mix).to_string(),
        latent: sampling.latent.name().into(),
        truncation: sampling.truncation,
        model_hash: model.hash.clone(),
        config_hash: provenance.config_hash.clone(),
        manifest_hash: provenance.manifest_hash.clone(),
    }
}

/// A name that is unique to `parts`: 24 hexadecimal digits.
pub fn sample_id(parts: &[&str]) -> String {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.finalize().to_hex()[..24].to_owned()
}

/// The item and the sampling that a stored row names.
///
/// # Errors
/// The row was made by another model, or by another program.
pub fn item_of(model: &TrainedModel, sample: &Sample) -> Result<(Item, Sampling)> {
    let wrong = |m: String| Error::Manifest(format!("sample {}: {m}", sample.sample_id));
    if sample.model_hash != model.hash {
        return Err(wrong(format!("made by model {}, this is {}", sample.model_hash, model.hash)));
    }
    let mix: Vec<(String, f32)> =
        serde_json::from_str(&sample.label_mix).map_err(|e| wrong(format!("label_mix: {e}")))?;
    let label = |name: &str| {
        let at = model.header.identities.iter().position(|n| n == name);
        at.map(|l| l as u32).ok_or_else(|| wrong(format!("the model has no identity `{name}`")))
    };
    let mix = mix.iter().map(|(name, w)| Ok((label(name)?, *w))).collect::<Result<Vec<_>>>()?;
    let latent = LatentSource::ALL.into_iter().find(|l| l.name() == sample.latent);
    let latent = latent.ok_or_else(|| {
        wrong(format!(
            "it was not drawn but made of images that were there, by `{}`: the same command in another folder makes it again",
            sample.latent
        ))
    })?;
    let sampling = Sampling { seed: sample.seed, latent, truncation: sample.truncation };
    Ok((Item { identity: sample.identity.clone(), index: sample.index as u64, mix }, sampling))
}
