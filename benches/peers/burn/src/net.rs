//! The two presets, as `data/presets/` describes them.

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{Linear, LinearConfig, PaddingConfig2d};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor};
use clap::ValueEnum;

#[derive(Clone, Copy, PartialEq, ValueEnum)]
pub enum Preset {
    ConvnetjsMnist,
    VggMnist,
}

impl Preset {
    /// Height and width of an image.
    pub fn image_size(self) -> usize {
        match self {
            Preset::ConvnetjsMnist => 24,
            Preset::VggMnist => 28,
        }
    }
}

/// Stages of convolutions, each followed by a ReLU, and a pooling; then fully connected layers with a ReLU after each
/// except the last.
#[derive(Module, Debug)]
pub struct Net {
    convolutions: Vec<Vec<Conv2d>>,
    poolings: Vec<MaxPool2d>,
    connected: Vec<Linear>,
}

impl Net {
    pub fn new(preset: Preset, device: &Device) -> Net {
        // Stages of channels, the kernel, the poolings, the connected layers.
        let (stages, kernel, poolings, connected): (&[&[[usize; 2]]], usize, &[usize], &[[usize; 2]]) = match preset {
            Preset::ConvnetjsMnist => (&[&[[1, 8]], &[[8, 16]]], 5, &[2, 3], &[[256, 10]]),
            Preset::VggMnist => (&[&[[1, 32], [32, 32]], &[[32, 64], [64, 64]]], 3, &[2, 2], &[[3136, 128], [128, 10]]),
        };
        let pad = kernel / 2;
        let convolution = |channels: &[usize; 2]| {
            let padding = PaddingConfig2d::Explicit(pad, pad, pad, pad);
            Conv2dConfig::new(*channels, [kernel, kernel]).with_padding(padding).init(device)
        };
        Net {
            convolutions: stages.iter().map(|stage| stage.iter().map(convolution).collect()).collect(),
            poolings: poolings.iter().map(|&size| MaxPool2dConfig::new([size, size]).init()).collect(),
            connected: connected
                .iter()
                .map(|[inputs, outputs]| LinearConfig::new(*inputs, *outputs).init(device))
                .collect(),
        }
    }

    /// Logits `[N, 10]` of images `[N, 1, H, W]`.
    pub fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let mut x = images;
        for (stage, pooling) in self.convolutions.iter().zip(&self.poolings) {
            for convolution in stage {
                x = relu(convolution.forward(x));
            }
            x = pooling.forward(x);
        }
        let mut x = x.flatten(1, 3);
        for (i, layer) in self.connected.iter().enumerate() {
            x = layer.forward(x);
            if i + 1 < self.connected.len() {
                x = relu(x);
            }
        }
        x
    }
}
