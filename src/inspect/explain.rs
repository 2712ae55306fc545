//! Explains which pixels and which feature maps decide the network's answer.
//!
//! Saliency (Simonyan, Vedaldi and Zisserman 2014) and Grad-CAM (Selvaraju et al. 2017) need the gradient of the
//! winning logit instead of the loss: the same backward pass with another seed ([`TrainingStep::seed`]). Occlusion
//! (Zeiler and Fergus 2014) needs only forward passes over images in which a part is hidden.

use super::{Inspector, NamedTensor};
use crate::data::Examples;
use crate::error::{Error, Result};
use crate::evaluate::scores;
use crate::exec::{read_reals, write_reals};
use crate::kernels::batch::Header;
use crate::net::{Layer, Network, Shape};
use crate::program::Stage;

/// An explanation of a network's answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// The winning class, the first of those with the largest logit; 0 if the network predicts a number.
    pub class: usize,
    /// The class's value before the loss layer.
    pub logit: f32,
    /// For softmax the class's probability, otherwise its logit.
    pub score: f32,
    /// The gradient of `logit` with respect to the input, `[H,W,C]`.
    pub saliency: NamedTensor,
    /// `None` if no layer convolves more than one pixel.
    pub grad_cam: Option<GradCam>,
    pub occlusion: Occlusion,
}

/// The locations at which the last feature maps support the class.
#[derive(Debug, Clone, PartialEq)]
pub struct GradCam {
    /// The layer whose maps are used: the last convolution or residual block, after the activation and normalisation
    /// that follow it, before any pooling.
    pub layer: String,
    /// `[h,w]`: the sum of the maps, each multiplied by the mean of the logit's gradient over it; negative sums become
    /// 0.
    pub map: NamedTensor,
    /// `map` scaled bilinearly to the input's size, `[H,W]`.
    pub enlarged: NamedTensor,
}

/// The change of the answer when a square of the image's mean colour hides a part.
#[derive(Debug, Clone, PartialEq)]
pub struct Occlusion {
    /// The square's side in pixels; the square is clipped at the image's border.
    pub size: usize,
    /// The distance between squares in pixels.
    pub stride: usize,
    /// `[rows,columns]`: the [`Explanation::score`] with a hidden square minus that of the whole image. The cell in row
    /// r and column c stands for the pixels from r·stride and c·stride on; the square is centred over them.
    pub map: NamedTensor,
    /// `[H,W]`: each pixel has the value of its cell.
    pub enlarged: NamedTensor,
}

impl Explanation {
    /// All tensors of the explanation.
    pub fn tensors(&self) -> impl Iterator<Item = &NamedTensor> {
        let grad_cam = self.grad_cam.iter().flat_map(|grad_cam| [&grad_cam.map, &grad_cam.enlarged]);
        [&self.saliency].into_iter().chain(grad_cam).chain([&self.occlusion.map])
    }
}

/// Occluded images per pass.
const BATCH: usize = 64;
/// The most cells of an occlusion map in a row or a column.
const CELLS: usize = 32;

/// The allowed sides of an occluding square for inputs of this shape, in pixels.
pub fn occlusion_sizes(input: Shape) -> std::ops::RangeInclusive<usize> {
    let shorter = input.height.min(input.width);
    input.height.max(input.width).div_ceil(CELLS).min(shorter)..=shorter
}

impl Inspector {
    /// Explains the network's answer to one image of `H*W*C` bytes. Squares with sides of `occlusion_size` pixels hide
    /// parts of it, by default a quarter of its shorter side; their distance is a third of that.
    ///
    /// # Errors
    /// [`Error::Data`] if the image has another size, [`Error::Setting`] if the square's side is not one of
    /// [`occlusion_sizes`], [`Error::Model`] if the network's answer is not finite, [`Error::Device`] if the device
    /// fails.
    pub async fn explain(&mut self, image: &[u8], occlusion_size: Option<usize>) -> Result<Explanation> {
        let input = self.network.input_shape();
        let sizes = occlusion_sizes(input);
        let size = occlusion_size.unwrap_or((*sizes.end() / 4).max(*sizes.start()));
        if !sizes.contains(&size) {
            let (least, most) = sizes.into_inner();
            let rule = format!("from {least} to {most} pixels for inputs of {input}");
            return Err(Error::Setting { name: "occlusion_size", value: size.to_string(), rule });
        }
        let (class, logit) = self.win(image).await?;
        let (saliency, grad_cam) = self.attribute(class).await?;
        let (score, occlusion) = self.occlude(class, size).await?;
        Ok(Explanation { class, logit, score, saliency, grad_cam, occlusion })
    }

    /// Saliency and Grad-CAM: the part of [`Inspector::explain`] that goes backward once and hides nothing.
    ///
    /// # Errors
    /// Those of [`Inspector::explain`].
    pub async fn attribution(&mut self, image: &[u8]) -> Result<(NamedTensor, Option<GradCam>)> {
        let (class, _) = self.win(image).await?;
        self.attribute(class).await
    }

    /// Runs the image forward; returns the class with the largest logit, and the logit.
    async fn win(&mut self, image: &[u8]) -> Result<(usize, f32)> {
        self.take(image, &[0])?;
        let Inspector { step, executor, .. } = self;
        let executor = executor.as_mut();
        let (words, stages) =
            (step.input_words(Header::evaluation(1), &[0], &[0]), step.stages(Stage::Batch, Stage::Forward));
        executor.begin_step(&words)?;
        executor.run(stages)?;
        let logits = read_reals(executor, step.logits().id).await?;
        let logits = &logits[..self.network.classes()];
        if logits.iter().any(|logit| !logit.is_finite()) {
            return Err(Error::Model(
                "the network's answer is not finite and cannot be explained; use an older checkpoint".into(),
            ));
        }
        let largest = (0..logits.len()).rev().max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap_or(0);
        Ok((largest, logits[largest]))
    }

    /// Goes backward from the class's logit; runs after [`Inspector::win`].
    async fn attribute(&mut self, class: usize) -> Result<(NamedTensor, Option<GradCam>)> {
        let executor = &mut *self.executor;
        let (seed, stages) = (self.step.seed(), self.step.stages(Stage::Backward, Stage::Unfused));
        let mut one_hot = vec![0.0; seed.len];
        one_hot[class] = 1.0;
        write_reals(executor, seed.id, &one_hot)?;
        executor.run(stages)?;
        executor.end_step(false).await?;
        let input = self.network.input_shape();
        let saliency = self.row(0, true).await?;
        let grad_cam = match feature_maps(&self.network) {
            None => None,
            Some(node) => {
                let (maps, gradient) = (self.row(node, false).await?, self.row(node, true).await?);
                let (layer, shape) = (self.network.nodes[node].name.clone(), self.network.nodes[node].output);
                let map = grad_cam(shape, &maps, &gradient);
                let size = [shape.height, shape.width];
                let enlarged = enlarge(&map, size, [input.height, input.width]);
                Some(GradCam {
                    layer,
                    map: named("grad_cam", &size, map),
                    enlarged: named("grad_cam_enlarged", &[input.height, input.width], enlarged),
                })
            }
        };
        Ok((named("saliency", &[input.height, input.width, input.channels], saliency), grad_cam))
    }

    /// The first example's activation at a node, or its gradient.
    async fn row(&mut self, node: usize, gradient: bool) -> Result<Vec<f32>> {
        let tensors = self.step.nodes[node];
        let tensor = if gradient { tensors.activation_gradient } else { Some(tensors.activation) };
        let tensor = tensor.expect("inspection plans every gradient");
        let mut values = read_reals(&mut *self.executor, tensor.id).await?;
        values.truncate(self.network.nodes[node].output.len());
        Ok(values)
    }

    /// Hides each part of the last image in turn; also returns the class's score for the whole image.
    async fn occlude(&self, class: usize, size: usize) -> Result<(f32, Occlusion)> {
        let input = self.network.input_shape();
        let stride = (size / 3).max(*occlusion_sizes(input).start());
        let [rows, columns] = [input.height, input.width].map(|side| side.div_ceil(stride));
        let whole = self.examples.image(0);
        let mut pixels = whole.to_vec();
        let hidden = Hidden::new(self.examples.shape, input, whole);
        for (row, column) in (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column))) {
            let start = pixels.len();
            pixels.extend(whole);
            hidden.hide(&mut pixels[start..], [row, column].map(|cell| side(cell, size, stride)));
        }
        let labels = vec![0; 1 + rows * columns];
        let images = Examples { pixels, labels, numbers: self.examples.numbers.clone(), ..self.examples };
        let scores = scores(&self.device, &self.network, &self.parameters, &images, BATCH, 1).await?;
        let score = scores[0][class];
        let map: Vec<f32> = scores[1..].iter().map(|scores| scores[class] - score).collect();
        let cell = |y: usize, x: usize| map[y / stride * columns + x / stride];
        let places = (0..input.height).flat_map(|y| (0..input.width).map(move |x| (y, x)));
        let enlarged = places.map(|(y, x)| cell(y, x)).collect();
        let enlarged = named("occlusion_enlarged", &[input.height, input.width], enlarged);
        Ok((score, Occlusion { size, stride, map: named("occlusion", &[rows, columns], map), enlarged }))
    }
}

fn named(what: &str, shape: &[usize], values: Vec<f32>) -> NamedTensor {
    NamedTensor { name: format!("explanation.{what}"), shape: shape.to_vec(), values }
}

/// The node whose maps Grad-CAM weights.
fn feature_maps(network: &Network) -> Option<usize> {
    let mut last =
        network.nodes.iter().rposition(|node| convolves(&node.layer) && node.output.height * node.output.width > 1)?;
    while let [next] = network.readers(last)[..]
        && each_pixel_by_itself(&network.nodes[next].layer)
    {
        last = next;
    }
    Some(last)
}

/// Whether a layer makes feature maps by convolution.
fn convolves(layer: &Layer) -> bool {
    use Layer::*;
    match layer {
        Conv { .. } | Residual { .. } => true,
        Activation(_) | Maxout { .. } | Lrn { .. } | BatchNorm { .. } | Dropout { .. } => false,
        Input { .. } | MaxPool { .. } | AvgPool { .. } | GlobalAvgPool | Fc { .. } => false,
        Softmax { .. } | Hinge | Mse { .. } => false,
    }
}

fn each_pixel_by_itself(layer: &Layer) -> bool {
    use Layer::*;
    // Lists every layer by name, so that the compiler asks about a new one.
    match layer {
        Activation(_) | Maxout { .. } | Lrn { .. } | BatchNorm { .. } => true,
        Input { .. } | Conv { .. } | MaxPool { .. } | AvgPool { .. } | GlobalAvgPool | Fc { .. } => false,
        Residual { .. } | Dropout { .. } | Softmax { .. } | Hinge | Mse { .. } => false,
    }
}

/// The Grad-CAM map of `maps` and `gradient`, both `[h,w,c]`.
fn grad_cam(shape: Shape, maps: &[f32], gradient: &[f32]) -> Vec<f32> {
    let Shape { height, width, channels } = shape;
    let mut weights = vec![0.0; channels];
    for pixel in gradient.chunks_exact(channels) {
        weights.iter_mut().zip(pixel).for_each(|(weight, gradient)| *weight += f64::from(*gradient));
    }
    let area = (height * width) as f64;
    let sum = |pixel: &[f32]| pixel.iter().zip(&weights).map(|(value, weight)| f64::from(*value) * weight).sum::<f64>();
    maps.chunks_exact(channels).map(|pixel| (sum(pixel) / area).max(0.0) as f32).collect()
}

/// Bilinear interpolation between pixel centres; values beyond the outermost centres are constant.
fn enlarge(map: &[f32], [height, width]: [usize; 2], to: [usize; 2]) -> Vec<f32> {
    let between = |at: usize, from: usize, to: usize| {
        let place = ((at as f64 + 0.5) * from as f64 / to as f64 - 0.5).clamp(0.0, (from - 1) as f64);
        (place as usize, (place as usize + 1).min(from - 1), place.fract())
    };
    let mixed = |a: f64, b: f64, share: f64| a * (1.0 - share) + b * share;
    let places = (0..to[0]).flat_map(|y| (0..to[1]).map(move |x| (y, x)));
    let value = |(y, x): (usize, usize)| {
        let ((top, bottom, down), (left, right, across)) = (between(y, height, to[0]), between(x, width, to[1]));
        let row = |y: usize| mixed(f64::from(map[y * width + left]), f64::from(map[y * width + right]), across);
        mixed(row(top), row(bottom), down) as f32
    };
    places.map(value).collect()
}

/// The start and end of a cell's square in pixels, before clipping.
fn side(cell: usize, size: usize, stride: usize) -> [isize; 2] {
    let start = (cell * stride + stride / 2) as isize - (size / 2) as isize;
    [start, start + size as isize]
}

/// How parts of an image are hidden.
struct Hidden {
    shape: [usize; 3],
    /// The upper left corner of the part of the image that the network reads.
    corner: [usize; 2],
    input: [usize; 2],
    /// The mean colour of that part, by channel.
    colour: Vec<u8>,
}

impl Hidden {
    fn new(shape: [usize; 3], input: Shape, image: &[u8]) -> Hidden {
        let [height, width, channels] = shape;
        let corner = [(height - input.height) / 2, (width - input.width) / 2];
        let input = [input.height, input.width];
        let mut hidden = Hidden { shape, corner, input, colour: Vec::new() };
        let area = input[0] * input[1];
        let mean = |channel: usize| {
            let values = hidden.places([[0, input[0]], [0, input[1]]]).map(|place| usize::from(image[place + channel]));
            ((2 * values.sum::<usize>() + area) / (2 * area)) as u8
        };
        hidden.colour = (0..channels).map(mean).collect();
        hidden
    }

    /// The first bytes of the pixels in these rows and columns of the part that the network reads.
    fn places(&self, [[top, bottom], [left, right]]: [[usize; 2]; 2]) -> impl Iterator<Item = usize> {
        let ([_, width, channels], corner) = (self.shape, self.corner);
        let pixels = (top..bottom).flat_map(move |y| (left..right).map(move |x| (y, x)));
        pixels.map(move |(y, x)| ((corner[0] + y) * width + corner[1] + x) * channels)
    }

    fn hide(&self, image: &mut [u8], square: [[isize; 2]; 2]) {
        let cut = |i: usize| square[i].map(|at| at.clamp(0, self.input[i] as isize) as usize);
        for place in self.places([cut(0), cut(1)]) {
            image[place..place + self.colour.len()].copy_from_slice(&self.colour);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::Device;
    use pollster::block_on;

    fn maps(layers: &str) -> Option<String> {
        let toml = format!(
            r#"layers = [{{ type = "input", height = 8, width = 8, channels = 2 }}, {layers} {{ type = "fc", outputs = 3 }},
            {{ type = "softmax" }}]"#
        );
        let network = Network::from_toml(&toml, "test").expect("a network");
        feature_maps(&network).map(|node| network.nodes[node].name.clone())
    }

    #[test]
    fn the_last_maps_are_those_behind_the_last_convolution_before_what_pools_them() {
        let conv = r#"{ type = "conv", filters = 2, kernel = 3, pad = 1, activation = "relu" },"#;
        let pool = r#"{ type = "max-pool", size = 2 },"#;
        let block = format!(r#"{{ type = "residual", layers = [{conv}], activation = "relu" }},"#);
        let small = r#"{ type = "global-avg-pool" }, { type = "conv", filters = 2, kernel = 1 },"#;
        let named = |layers: &str| maps(layers).unwrap_or_default();
        assert_eq!(named(conv), "relu1");
        assert_eq!(named(&format!("{conv}{pool}{conv}{{ type = \"batch-norm\" }},{pool}")), "norm1");
        assert_eq!(named(&format!("{conv}{pool}{block}")), "relu3", "behind the sum, not inside");
        assert_eq!(named(&format!("{conv}{small}")), "relu1", "a single pixel shows no place");
        assert_eq!([maps(""), maps(pool)], [None, None]);
    }

    #[test]
    fn maps_grow_between_the_middles_of_their_pixels() {
        let grown = enlarge(&[0.0, 4.0], [1, 2], [1, 4]);
        assert_eq!(grown, [0.0, 1.0, 3.0, 4.0]);
        assert_eq!(enlarge(&[1.0, 2.0, 3.0, 4.0], [2, 2], [2, 2]), [1.0, 2.0, 3.0, 4.0]);
        assert_eq!(enlarge(&[5.0], [1, 1], [2, 1]), [5.0, 5.0]);
    }

    #[test]
    fn grad_cam_is_nothing_where_the_maps_speak_against_the_class() {
        let shape = Shape::new(1, 2, 2);
        // The mean gradients are 1 and -2.
        let map = grad_cam(shape, &[3.0, 1.0, 1.0, 1.0], &[0.5, -2.0, 1.5, -2.0]);
        assert_eq!(map, [1.0, 0.0]);
    }

    /// The network reads the middle 4x6 of 6x9 pixels; one pixel with a weight of 1 determines its first logit.
    fn looking_at_one_pixel() -> (Inspector, Vec<u8>) {
        let toml = r#"layers = [{ type = "input", height = 4, width = 6, channels = 1, crop = true },
            { type = "fc", outputs = 2 }, { type = "hinge" }]"#;
        let network = Network::from_toml(toml, "test").expect("a network");
        let mut parameters = network.initial_parameters(1);
        parameters[0].weight.fill(0.0);
        // Weights are [inputs][outputs].
        parameters[0].weight[2 * (2 * 6 + 5)] = 1.0;
        parameters[0].bias = vec![2.0, 0.0];
        let mut inspector = block_on(Inspector::new(&Device::Cpu, &network, [6, 9, 1], 2)).expect("it fits");
        inspector.load(&parameters).expect("the weights are written");
        let mut image = vec![0; 54];
        // The crop starts at row 1 and column 1 of the image.
        image[3 * 9 + 6] = 240;
        (inspector, image)
    }

    #[test]
    fn hiding_the_pixel_that_decides_takes_it_away_and_nothing_else_does() {
        let (mut inspector, image) = looking_at_one_pixel();
        let explanation = block_on(inspector.explain(&image, None)).expect("it explains");
        assert_eq!((explanation.class, explanation.grad_cam.is_none()), (0, true));
        let pixel = |shape: &[usize], row: usize, column: usize| row * shape[1] + column;
        let gradient: Vec<usize> = (0..24).filter(|i| explanation.saliency.values[*i] != 0.0).collect();
        assert_eq!(gradient, [pixel(&[4, 6], 2, 5)]);
        let Occlusion { size, stride, map, .. } = &explanation.occlusion;
        assert_eq!((*size, *stride, &map.shape[..]), (1, 1, &[4, 6][..]));
        let changed: Vec<usize> = (0..24).filter(|i| map.values[*i] != 0.0).collect();
        assert_eq!(changed, gradient);
        // The mean colour is 240 / 24.
        let change = (10.0 - 240.0) / 255.0;
        assert!((map.values[changed[0]] - change).abs() < 1e-6, "{} instead of {change}", map.values[changed[0]]);

        let wider = block_on(inspector.explain(&image, Some(3))).expect("it explains").occlusion;
        let changed: Vec<usize> = (0..24).filter(|i| wider.map.values[*i] != 0.0).collect();
        let around = [1, 2, 3].map(|row| [4, 5].map(|column| pixel(&[4, 6], row, column)));
        assert_eq!(changed, around.concat(), "squares of 3 around each pixel");
    }

    #[test]
    fn squares_that_are_none_and_answers_that_are_not_finite_are_refused() {
        let (mut inspector, image) = looking_at_one_pixel();
        for size in [0, 5] {
            let error = block_on(inspector.explain(&image, Some(size))).expect_err("refused");
            assert!(error.to_string().contains("must be from 1 to 4 pixels"), "{error}");
        }
        assert_eq!(occlusion_sizes(Shape::new(224, 200, 3)), 7..=200);
        assert_eq!(occlusion_sizes(Shape::new(2, 200, 3)), 2..=2);
        let mut parameters = inspector.parameters.clone();
        parameters[0].bias[1] = f32::NAN;
        inspector.load(&parameters).expect("the weights are written");
        let error = block_on(inspector.explain(&image, None)).expect_err("refused");
        assert!(matches!(error, Error::Model(_)), "{error}");
    }
}
