//! The convolutional parts of E, D and C: stacks that reduce an image to a feature vector.

use crate::config::Trunk as TrunkConfig;
use crate::error::Result;
use crate::nn::layers::{Bias, ConvNorm, Mode, conv_weight};
use crate::nn::params::Params;
use crate::ops::{self, Activation, Value};
use candle_core::Var;

/// Four parallel branches over the same image, concatenated along channels (Szegedy et al. 2015).
struct Inception {
    one: ConvNorm,
    three: [ConvNorm; 2],
    five: [ConvNorm; 2],
    pool: ConvNorm,
}

impl Inception {
    /// `widths`: outputs of the 1x1, 3x3 (reduce, out), 5x5 (reduce, out) and pooling branches.
    fn new(p: &mut Params, name: &str, inputs: usize, widths: [usize; 6]) -> Result<Self> {
        let [one, r3, three, r5, five, pool] = widths;
        let mut conv = |branch: &str, i: usize, o: usize, k: usize| {
            ConvNorm::new(p, &format!("{name}.{branch}"), (i, o), (k, 1, k / 2), Activation::Relu)
        };
        Ok(Self {
            one: conv("one", inputs, one, 1)?,
            three: [conv("three_reduce", inputs, r3, 1)?, conv("three", r3, three, 3)?],
            five: [conv("five_reduce", inputs, r5, 1)?, conv("five", r5, five, 5)?],
            pool: conv("pool", inputs, pool, 1)?,
        })
    }

    fn forward(&self, x: &Value, mode: Mode) -> Result<Value> {
        let three = self.three[1].forward(&self.three[0].forward(x, mode)?, mode)?;
        let five = self.five[1].forward(&self.five[0].forward(x, mode)?, mode)?;
        let pooled = self.pool.forward(&ops::max_pool2d(x, 3, 1, 1)?, mode)?;
        Ok(Value::concatenate(&[&self.one.forward(x, mode)?, &three, &five, &pooled])?)
    }
}

/// What D or C makes of images.
pub struct Seen {
    /// `[B, H, W, channels]`: the maps on the way, the finest first.
    pub maps: Vec<Value>,
    /// `[B, F]`: f_D or f_C, the input of the last fully connected layer.
    pub features: Value,
    /// D: `[B]`, the logit of "real"; C: `[B, K]`, the logits of the labels.
    pub output: Value,
}

enum Layer {
    /// Convolution with bias instead of normalisation: DCGAN's first.
    Plain(Var, Bias),
    Conv(ConvNorm),
    /// Kernel, stride, padding.
    Pool(usize, usize, usize),
    Inception(Box<Inception>),
    /// Mean over height and width.
    GlobalMean,
}

/// See [`TrunkConfig`].
pub struct Trunk {
    layers: Vec<Layer>,
    features: usize,
}

impl Trunk {
    /// Declares the parameters of `config` for RGB images of side `image_size`.
    ///
    /// # Errors
    /// Shapes that do not fit together, or too little memory.
    pub fn new(p: &mut Params, config: &TrunkConfig, image_size: usize) -> Result<Self> {
        match config {
            TrunkConfig::Strided { channels } => Self::strided(p, channels, image_size),
            TrunkConfig::Alexnet => Self::alexnet(p),
            TrunkConfig::Googlenet => Self::googlenet(p),
        }
    }

    fn strided(p: &mut Params, channels: &[usize], image_size: usize) -> Result<Self> {
        let mut layers = Vec::new();
        let mut inputs = 3;
        for (i, &outputs) in channels.iter().enumerate() {
            let name = format!("conv{i}");
            layers.push(if i == 0 {
                let weight = conv_weight(p, &name, 4, inputs, outputs)?;
                Layer::Plain(weight, Bias::new(p, &name, outputs, Activation::LeakyRelu)?)
            } else {
                Layer::Conv(ConvNorm::new(p, &name, (inputs, outputs), (4, 2, 1), Activation::LeakyRelu)?)
            });
            inputs = outputs;
        }
        let side = image_size >> channels.len();
        Ok(Self { layers, features: inputs * side * side })
    }

    fn alexnet(p: &mut Params) -> Result<Self> {
        let mut conv = |i: usize, io: (usize, usize), shape: (usize, usize, usize)| {
            Ok::<_, crate::error::Error>(Layer::Conv(ConvNorm::new(
                p,
                &format!("conv{i}"),
                io,
                shape,
                Activation::Relu,
            )?))
        };
        let layers = vec![
            conv(0, (3, 64), (11, 4, 2))?,
            Layer::Pool(3, 2, 0),
            conv(1, (64, 192), (5, 1, 2))?,
            Layer::Pool(3, 2, 0),
            conv(2, (192, 384), (3, 1, 1))?,
            conv(3, (384, 256), (3, 1, 1))?,
            conv(4, (256, 256), (3, 1, 1))?,
            Layer::Pool(3, 2, 0),
        ];
        // 128 -> 31 -> 15 -> 15 -> 7 -> 7 -> 3
        Ok(Self { layers, features: 256 * 3 * 3 })
    }

    fn googlenet(p: &mut Params) -> Result<Self> {
        let mut layers = vec![
            Layer::Conv(ConvNorm::new(p, "stem0", (3, 64), (7, 2, 3), Activation::Relu)?),
            Layer::Pool(3, 2, 1),
            Layer::Conv(ConvNorm::new(p, "stem1", (64, 64), (1, 1, 0), Activation::Relu)?),
            Layer::Conv(ConvNorm::new(p, "stem2", (64, 192), (3, 1, 1), Activation::Relu)?),
            Layer::Pool(3, 2, 1),
        ];
        // Widths of Table 1 of the GoogLeNet paper; an empty name is a pooling layer.
        let table: [(&str, [usize; 6]); 11] = [
            ("3a", [64, 96, 128, 16, 32, 32]),
            ("3b", [128, 128, 192, 32, 96, 64]),
            ("", [0; 6]),
            ("4a", [192, 96, 208, 16, 48, 64]),
            ("4b", [160, 112, 224, 24, 64, 64]),
            ("4c", [128, 128, 256, 24, 64, 64]),
            ("4d", [112, 144, 288, 32, 64, 64]),
            ("4e", [256, 160, 320, 32, 128, 128]),
            ("", [0; 6]),
            ("5a", [256, 160, 320, 32, 128, 128]),
            ("5b", [384, 192, 384, 48, 128, 128]),
        ];
        let mut inputs = 192;
        for (name, widths) in table {
            if name.is_empty() {
                layers.push(Layer::Pool(3, 2, 1));
                continue;
            }
            layers.push(Layer::Inception(Box::new(Inception::new(p, &format!("inception{name}"), inputs, widths)?)));
            inputs = widths[0] + widths[2] + widths[4] + widths[5];
        }
        layers.push(Layer::GlobalMean);
        Ok(Self { layers, features: inputs })
    }

    /// Length of the feature vector.
    pub fn features(&self) -> usize {
        self.features
    }

    /// `[B, S, S, 3]` to `[B, features]`.
    ///
    /// # Errors
    /// Shapes that do not fit together, or too little memory.
    pub fn forward(&self, x: &Value, mode: Mode) -> Result<Value> {
        Ok(self.forward_maps(x, mode)?.0)
    }

    /// The same, and the map that each layer but the last makes.
    ///
    /// # Errors
    /// Shapes that do not fit together, or too little memory.
    pub fn forward_maps(&self, x: &Value, mode: Mode) -> Result<(Value, Vec<Value>)> {
        let (mut x, mut maps) = (x.clone(), Vec::with_capacity(self.layers.len()));
        for layer in &self.layers {
            x = match layer {
                Layer::Plain(weight, bias) => bias.forward(&ops::conv2d(&x, &x.leaf(weight), 2, 1)?)?,
                Layer::Conv(conv) => conv.forward(&x, mode)?,
                Layer::Pool(kernel, stride, pad) => ops::max_pool2d(&x, *kernel, *stride, *pad)?,
                Layer::Inception(inception) => inception.forward(&x, mode)?,
                Layer::GlobalMean => ops::global_mean_pool(&x)?,
            };
            maps.push(x.clone());
        }
        maps.pop();
        Ok((x.reshape((x.dim(0)?, self.features))?, maps))
    }
}
