//! What a trained model does with images that are there: holes are filled, small images made large, faces morphed.

use crate::common::{small_config, small_dataset};
use augment::apply::inpaint::{Inpaint, Seam, inpaint};
use augment::apply::mask::Hole;
use augment::apply::morph::{Path, morph};
use augment::apply::upscale::{Upscale, bicubic, reduced, upscale};
use augment::apply::{Networks, bytes, values};
use augment::config::Method;
use augment::dataset::IdentityDataset;
use augment::progress::Silent;
use augment::train::{TrainedModel, fit};
use candle_core::Device;
use std::sync::OnceLock;

/// A model of three persons that differ in brightness, and what it was trained on; shared by all tests.
fn trained() -> &'static (TrainedModel, IdentityDataset) {
    static MODEL: OnceLock<(TrainedModel, IdentityDataset)> = OnceLock::new();
    MODEL.get_or_init(|| {
        let (mut config, dataset) = (small_config(), small_dataset(3, 8));
        config.train.duration_kimg = 2.4;
        let dir = tempfile::tempdir().unwrap();
        (fit(&dataset, &config, dir.path(), &Device::Cpu, None, &mut Silent).unwrap(), dataset)
    })
}

/// The first image of each person, and labels.
fn images(dataset: &IdentityDataset) -> (Vec<Vec<f32>>, Vec<u32>) {
    let labels: Vec<u32> = (0..3).collect();
    (labels.iter().map(|l| values(dataset.image(dataset.images_of(*l)[0]))).collect(), labels)
}

fn mean(values: impl Iterator<Item = f32>) -> f32 {
    let all: Vec<f32> = values.collect();
    all.iter().sum::<f32>() / all.len() as f32
}

#[test]
fn a_hole_is_filled_with_what_the_person_looks_like_and_nothing_else_changes() {
    let (model, dataset) = trained();
    let networks = Networks::of(model).unwrap();
    let (images, labels) = images(dataset);
    let size = networks.image_size();
    let hole = Hole::rectangle(size, [4, 4, 8, 8]).unwrap();
    let mut holed = images.clone();
    for image in &mut holed {
        hole.within().iter().enumerate().filter(|(_, w)| **w).for_each(|(i, _)| image[3 * i..3 * i + 3].fill(0.9));
    }
    let noise = vec![0.0; 3 * networks.latent_dim()];
    let options = |refine, seam| Inpaint { refine, seam, ..Inpaint::default() };
    for options in [options(0, Seam::Hard), options(10, Seam::Hard), options(10, Seam::Poisson)] {
        let filled = inpaint(&networks, &holed, &labels, &[&hole; 3], &noise, &options).unwrap();
        for (image, filled) in images.iter().zip(&filled) {
            let of = |image: &[f32], inside: bool| {
                let pixels = hole.within().iter().enumerate().filter(move |(_, w)| **w == inside);
                pixels.flat_map(|(i, _)| image[3 * i..3 * i + 3].to_vec()).collect::<Vec<f32>>()
            };
            assert_eq!(of(image, false), of(filled, false), "what was known has changed");
            let (before, after) = (mean(of(image, true).into_iter()), mean(of(filled, true).into_iter()));
            assert!((before - after).abs() < 0.25, "{before} {after} {options:?}");
        }
        // Alone, an image comes out the same.
        let alone = inpaint(&networks, &holed[1..2], &labels[1..2], &[&hole], &noise[..4], &options).unwrap();
        assert_eq!(bytes(&alone[0]), bytes(&filled[1]));
        // Other noise, another filling.
        let others = vec![1.5; 3 * networks.latent_dim()];
        let others =
            inpaint(&networks, &holed, &labels, &[&hole; 3], &others, &Inpaint { rounds: 1, ..options }).unwrap();
        assert!(options.refine > 0 || others != filled);
    }
}

/// The value that the model file keeps is the largest of all training images (there are fewer than are looked at): none is further
/// from what is made of it, and an image in other colours is. Where a hole is, nothing counts.
#[test]
fn an_image_unlike_the_training_s_comes_back_as_another() {
    let (model, dataset) = trained();
    let networks = Networks::of(model).unwrap();
    let largest = model.header.reconstruction.unwrap();
    let images: Vec<Vec<f32>> = (0..dataset.len()).map(|i| values(dataset.image(i))).collect();
    let own = networks.differences(&images, dataset.labels(), |_| true).unwrap();
    assert!(own.iter().all(|d| *d <= largest) && own.contains(&largest), "{own:?} {largest}");
    let odd: Vec<f32> = images[0].iter().enumerate().map(|(i, v)| if i % 2 == 0 { 1.0 } else { *v }).collect();
    let of = |counts: fn(usize) -> bool| networks.differences(std::slice::from_ref(&odd), &[0], counts).unwrap()[0];
    assert!(of(|_| true) > 2.0 * largest && of(|i| i % 2 == 1) < 0.5 * of(|_| true), "{}", of(|_| true));
}

#[test]
fn what_is_made_large_is_the_small_image_when_made_small_again() {
    let (model, dataset) = trained();
    let networks = Networks::of(model).unwrap();
    let (images, labels) = images(dataset);
    let size = networks.image_size();
    for factor in [2, 4] {
        let small: Vec<Vec<u8>> = images.iter().map(|image| bytes(&reduced(image, size, factor))).collect();
        for refine in [0, 10] {
            let options = Upscale { refine, ..Upscale::new(factor) };
            let large = upscale(&networks, &small, &labels, &options).unwrap();
            for (small, large) in small.iter().zip(&large) {
                let again = reduced(&values(large), size, factor);
                let apart = again.iter().zip(values(small)).map(|(a, b)| (a - b).abs() * 127.5).fold(0f32, f32::max);
                assert!(apart < 0.01, "{apart} steps apart");
            }
            let alone = upscale(&networks, &small[2..], &labels[2..], &options).unwrap();
            assert_eq!(alone[0], large[2]);
        }
        assert_eq!(bicubic(&small[0], size / factor, size).unwrap().len(), images[0].len());
        assert!(bicubic(&small[0][1..], size / factor, size).is_err());
    }
}

#[test]
fn refining_brings_what_is_made_nearer_to_what_is_known() {
    let (model, dataset) = trained();
    let networks = Networks::of(model).unwrap();
    let (images, labels) = images(dataset);
    let target = candle_core::Tensor::from_vec(images.concat(), (3, 16, 16, 3), &Device::Cpu).unwrap();
    let loss = |made: &candle_core::Tensor| (made - &target)?.sqr()?.sum_all()? * 0.5;
    let start = candle_core::Tensor::zeros((3, 4), candle_core::DType::F32, &Device::Cpu).unwrap();
    let of = |z: &candle_core::Tensor| {
        let made = networks.decode(z, &augment::nn::Labels::plain(&labels, &Device::Cpu).unwrap()).unwrap();
        let made = candle_core::Tensor::from_vec(made.concat(), (3, 16, 16, 3), &Device::Cpu).unwrap();
        loss(&made).unwrap().to_scalar::<f32>().unwrap()
    };
    let refined = networks.refine(&start, &labels, 30, loss).unwrap();
    assert!(of(&refined) < of(&start), "{} {}", of(&refined), of(&start));
}

#[test]
fn a_morph_goes_from_one_person_to_the_other() {
    let (model, dataset) = trained();
    let networks = Networks::of(model).unwrap();
    let (images, labels) = images(dataset);
    let (mu, _) = networks.encode(&images, &labels).unwrap();
    let mu = mu.to_vec2::<f32>().unwrap();
    for path in [Path::Straight, Path::GreatCircle] {
        let frames = morph(&networks, [&mu[0], &mu[2]], [0, 2], 7, path).unwrap();
        let brightness: Vec<f32> = frames.iter().map(|f| mean(f.iter().copied())).collect();
        assert_eq!(frames.len(), 7);
        assert!(brightness[6] - brightness[0] > 0.5, "{brightness:?}");
        assert!(brightness.windows(2).all(|w| w[1] > w[0] - 0.05), "{brightness:?}");
    }
    // Between an image and itself nothing moves.
    let still = morph(&networks, [&mu[1], &mu[1]], [1, 1], 3, Path::Straight).unwrap();
    assert!(still[0] == still[1] && still[1] == still[2]);
}

#[test]
fn a_model_without_an_encoder_reads_nothing_out_of_images() {
    let (mut config, dataset) = (small_config(), small_dataset(3, 5));
    config.train.duration_kimg = 0.012;
    config.train.method = Method::Cgan;
    config.synthesis = augment::config::SynthesisConfig::of(config.preset, Method::Cgan);
    let dir = tempfile::tempdir().unwrap();
    let model = fit(&dataset, &config, dir.path(), &Device::Cpu, None, &mut Silent).unwrap();
    let e = Networks::of(&model).err().unwrap().to_string();
    assert!(e.contains("cgan") && e.contains("no encoder"), "{e}");
}
