//! Layers and shapes: the output shape of each layer for its input shape, and the sizes that are allowed.
//!
//! A broken rule is returned as a sentence; the network adds the layer that broke it. Sizes are bounded here so that
//! nothing downstream (u32 indices in shaders, buffer sizes) can overflow.

use super::{Activation, Factors};
use std::fmt;

/// The largest height, width, channel count, kernel, stride or padding. It keeps index arithmetic well inside u32.
pub const MAX_DIMENSION: usize = 1 << 20;

/// The most parameters a network may have, and the most activations of one example over all its layers (1 GiB of f32).
pub const MAX_ELEMENTS: usize = 1 << 28;

/// The most layers a network may have, including activations.
pub const MAX_LAYERS: usize = 1024;

/// One layer as described by the user. Pairs are `[height, width]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Layer {
    /// The images.
    Input { height: usize, width: usize, channels: usize },
    /// Convolution with zero padding; weights `[KH, KW, I/groups, O]`. Taps are `dilation` pixels apart. Input channels
    /// and filters are divided into `groups`, and a filter reads the channels of its own group; with as many groups as
    /// channels the convolution is depthwise.
    Conv {
        filters: usize,
        kernel: [usize; 2],
        stride: [usize; 2],
        pad: [usize; 2],
        dilation: [usize; 2],
        groups: usize,
    },
    /// A function of each value.
    Activation(Activation),
    /// The maximum of each window; padding is skipped, as if it were minus infinity.
    MaxPool { size: [usize; 2], stride: [usize; 2], pad: [usize; 2] },
    /// The mean of each window; padding is not counted.
    AvgPool { size: [usize; 2], stride: [usize; 2], pad: [usize; 2] },
    /// The mean of each channel.
    GlobalAvgPool,
    /// The maximum of every `group` adjacent channels.
    Maxout { group: usize },
    /// Local response normalisation across `size` channels: x * (k + alpha/size * sum of x²)^-beta.
    Lrn { size: usize, k: f32, alpha: f32, beta: f32 },
    /// Batch normalisation, channel by channel: values are normalised by the batch's mean and variance, then scaled by
    /// weights `[C]` and shifted by biases `[C]`. `momentum` is the share of each batch in the running statistics,
    /// which evaluation uses.
    BatchNorm { epsilon: f32, momentum: f32 },
    /// Closes a residual block (He et al. 2015): adds what `body` layers and `shortcut` layers each make of the output
    /// of the layer before the block. The body comes first in the list, then the shortcut, then this layer. Without a
    /// shortcut the block's input itself is added. Blocks may be nested.
    Residual { body: usize, shortcut: usize },
    /// Fully connected; weights `[I, O]`, where I runs over the input's H, W, C with C fastest.
    Fc { outputs: usize },
    /// In training, sets each value to 0 with probability `rate` and divides the others by 1 - rate.
    Dropout { rate: f32 },
    /// Softmax with the cross-entropy loss. It has no weights: the layer before it computes the logits. In training,
    /// the share `label_smoothing` of every target is spread evenly over all classes.
    Softmax { label_smoothing: f64 },
    /// Multi-class hinge loss of the scores: the sum of max(0, s_j - s_label + 1) over the other classes j.
    Hinge,
    /// Half the squared distance of the scores from the targets.
    Mse { targets: Targets },
}

/// The targets of a squared distance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Targets {
    /// 1 for the label and 0 for the other classes.
    #[default]
    OneHot,
    /// The label's number, predicted by one output.
    Number,
}

impl Layer {
    /// The layer's word for `type` in a description.
    pub fn kind(&self) -> &'static str {
        match self {
            Layer::Input { .. } => "input",
            Layer::Conv { .. } => "conv",
            Layer::Activation(activation) => activation.word(),
            Layer::MaxPool { .. } => "max-pool",
            Layer::AvgPool { .. } => "avg-pool",
            Layer::GlobalAvgPool => "global-avg-pool",
            Layer::Fc { .. } => "fc",
            Layer::Maxout { .. } => "maxout",
            Layer::Lrn { .. } => "lrn",
            Layer::BatchNorm { .. } => "batch-norm",
            Layer::Residual { .. } => "residual",
            Layer::Dropout { .. } => "dropout",
            Layer::Softmax { .. } => "softmax",
            Layer::Hinge => "hinge",
            Layer::Mse { .. } => "mse",
        }
    }

    /// The beginning of a layer's name: `pool` in `pool1`.
    pub(super) fn stem(&self) -> &'static str {
        match self {
            Layer::MaxPool { .. } | Layer::AvgPool { .. } | Layer::GlobalAvgPool => "pool",
            Layer::Activation(Activation::LeakyRelu { .. }) => "leaky",
            Layer::BatchNorm { .. } => "norm",
            _ => self.kind(),
        }
    }

    /// Whether the layer ends a network with a loss of the scores before it.
    pub fn is_loss(&self) -> bool {
        use Layer::*;
        match self {
            Softmax { .. } | Hinge | Mse { .. } => true,
            Input { .. } | Conv { .. } | Activation(_) | MaxPool { .. } | AvgPool { .. } | GlobalAvgPool => false,
            Maxout { .. } | Lrn { .. } | BatchNorm { .. } | Residual { .. } | Fc { .. } | Dropout { .. } => false,
        }
    }

    /// Whether a network has exactly one such layer, so that its name needs no number.
    pub(super) fn is_single(&self) -> bool {
        self.is_loss() || matches!(self, Layer::Input { .. })
    }

    /// The output shape for an input of shape `input`, or the broken rule.
    ///
    /// Windows slide as in every framework: `floor((in + 2*pad - kernel) / stride) + 1` positions.
    pub(super) fn output(&self, input: Shape) -> Result<Shape, String> {
        match *self {
            Layer::Input { height, width, channels } => {
                for (what, value) in [("height", height), ("width", width), ("channels", channels)] {
                    at_least_one(what, value)?;
                }
                Ok(Shape { height, width, channels })
            }
            Layer::Conv { filters, kernel, stride, pad, dilation, groups } => {
                at_least_one("filters", filters)?;
                at_least_one("groups", groups)?;
                if !input.channels.is_multiple_of(groups) || !filters.is_multiple_of(groups) {
                    return Err(format!(
                        "groups is {groups}; rule: groups divides the {} channels of its input and the {filters} filters",
                        input.channels
                    ));
                }
                let window = if dilation == [1, 1] { "kernel" } else { "the dilated kernel" };
                let [height, width] = slide(window, input, dilated(kernel, dilation)?, stride, pad)?;
                Ok(Shape { height, width, channels: filters })
            }
            Layer::MaxPool { size, stride, pad } | Layer::AvgPool { size, stride, pad } => {
                let [height, width] = slide("size", input, size, stride, pad)?;
                if pad[0] >= size[0] || pad[1] >= size[1] {
                    let (pad, size) = (pair(pad), pair(size));
                    return Err(format!(
                        "pad {pad} with size {size} allows windows that hold only padding; rule: pad < size in height and width"
                    ));
                }
                Ok(Shape { height, width, ..input })
            }
            Layer::GlobalAvgPool => Ok(Shape::vector(input.channels)),
            Layer::Maxout { group } => {
                at_least_one("group", group)?;
                if !input.channels.is_multiple_of(group) {
                    return Err(format!("group is {group}; rule: group divides the {} channels", input.channels));
                }
                Ok(Shape { channels: input.channels / group, ..input })
            }
            Layer::Lrn { size, k, alpha, beta } => {
                at_least_one("size", size)?;
                for (what, value) in [("alpha", alpha), ("beta", beta)] {
                    if !(value >= 0.0 && value.is_finite()) {
                        return Err(format!("{what} is {value}; rule: a finite number >= 0"));
                    }
                }
                // Some devices treat a denormal number as 0.
                let legal = k > 0.0 && k.is_normal();
                if legal { Ok(input) } else { Err(format!("k is {k}; rule: a finite number >= 1.2e-38")) }
            }
            Layer::BatchNorm { epsilon, momentum } => {
                if !(epsilon.is_normal() && epsilon > 0.0) {
                    return Err(format!("epsilon is {epsilon}; rule: a finite number >= 1.2e-38"));
                }
                if !(0.0..=1.0).contains(&momentum) {
                    return Err(format!("momentum is {momentum}; rule: 0 <= momentum <= 1"));
                }
                Ok(input)
            }
            Layer::Fc { outputs } => {
                at_least_one("outputs", outputs)?;
                Ok(Shape::vector(outputs))
            }
            Layer::Dropout { rate } => {
                below_one("rate", rate.into())?;
                Ok(input)
            }
            Layer::Softmax { label_smoothing } => {
                below_one("label_smoothing", label_smoothing)?;
                self.scores(input)
            }
            Layer::Hinge | Layer::Mse { targets: Targets::OneHot } => self.scores(input),
            Layer::Mse { targets: Targets::Number } => self.number(input),
            Layer::Activation(activation) => activation.check().map(|()| input),
            Layer::Residual { .. } => Ok(input),
        }
    }

    /// The output shape of a loss: its input's shape, one value per class.
    fn scores(&self, input: Shape) -> Result<Shape, String> {
        if input.height != 1 || input.width != 1 || input.channels < 2 {
            let number = matches!(self, Layer::Mse { .. }) && input.len() == 1;
            return Err(format!(
                "rule: {} needs one value per class, for at least 2 classes (1x1xC); \
                 put an `fc` layer with that many outputs, or `global-avg-pool`, before it{}",
                self.kind(),
                if number { ", or give it targets = \"number\"" } else { "" }
            ));
        }
        Ok(input)
    }

    /// The output shape of a loss of a number: its input's shape, one value.
    fn number(&self, input: Shape) -> Result<Shape, String> {
        if input.len() != 1 {
            return Err(format!(
                "rule: {} with targets = \"number\" needs one value (1x1x1); put an `fc` layer with one output before it, \
                 or leave `targets` out to predict classes",
                self.kind()
            ));
        }
        Ok(input)
    }

    /// The layer's factors on learning rate and weight decay if a description gives none. Batch normalisation's weights
    /// do not decay: the next layer could compensate for any scale.
    pub(super) fn default_factors(&self) -> Factors {
        match self {
            Layer::BatchNorm { .. } => Factors { decay: 0.0, ..Factors::default() },
            _ => Factors::default(),
        }
    }

    /// The weights' shape in this program's order and the number of outputs, for a layer with weights.
    pub(crate) fn weight_shape(&self, input: Shape) -> Option<Vec<usize>> {
        match *self {
            Layer::Conv { filters, kernel: [kh, kw], groups, .. } => {
                Some(vec![kh, kw, input.channels / groups, filters])
            }
            Layer::Fc { outputs } => Some(vec![input.len(), outputs]),
            Layer::BatchNorm { .. } => Some(vec![input.channels]),
            Layer::Input { .. }
            | Layer::Activation(_)
            | Layer::MaxPool { .. }
            | Layer::AvgPool { .. }
            | Layer::GlobalAvgPool
            | Layer::Maxout { .. }
            | Layer::Lrn { .. }
            | Layer::Residual { .. }
            | Layer::Dropout { .. }
            | Layer::Softmax { .. }
            | Layer::Hinge
            | Layer::Mse { .. } => None,
        }
    }
}

/// The extent of a kernel with its taps `dilation` apart: (kernel - 1) * dilation + 1.
fn dilated(kernel: [usize; 2], dilation: [usize; 2]) -> Result<[usize; 2], String> {
    let mut covered = [0; 2];
    for axis in 0..2 {
        at_least_one("kernel", kernel[axis])?;
        at_least_one("dilation", dilation[axis])?;
        covered[axis] = (kernel[axis] - 1) * dilation[axis] + 1;
    }
    Ok(covered)
}

/// The number of window positions along height and width.
fn slide(
    window_name: &str,
    input: Shape,
    window: [usize; 2],
    stride: [usize; 2],
    pad: [usize; 2],
) -> Result<[usize; 2], String> {
    let mut positions = [0; 2];
    for (axis, size) in [input.height, input.width].into_iter().enumerate() {
        at_least_one(window_name, window[axis])?;
        at_least_one("stride", stride[axis])?;
        at_most("pad", pad[axis])?;
        let padded = size + 2 * pad[axis];
        if window[axis] > padded {
            let direction = ["high", "wide"][axis];
            return Err(format!(
                "{window_name} {} is larger than its input, which with pad {} is {padded} {direction}; \
                 rule: {window_name} <= input + 2*pad",
                pair(window),
                pair(pad)
            ));
        }
        positions[axis] = (padded - window[axis]) / stride[axis] + 1;
    }
    Ok(positions)
}

fn at_least_one(what: &str, value: usize) -> Result<(), String> {
    if value == 0 {
        return Err(format!("{what} is 0; rule: {what} >= 1"));
    }
    at_most(what, value)
}

fn at_most(what: &str, value: usize) -> Result<(), String> {
    if value > MAX_DIMENSION {
        return Err(format!("{what} is {value}; rule: {what} <= {MAX_DIMENSION}"));
    }
    Ok(())
}

/// Checks a share that must be below 1.
fn below_one(what: &str, value: f64) -> Result<(), String> {
    if (0.0..1.0).contains(&value) { Ok(()) } else { Err(format!("{what} is {value}; rule: 0 <= {what} < 1")) }
}

fn pair([height, width]: [usize; 2]) -> String {
    format!("{height}x{width}")
}

/// The product of dimensions if it is within [`MAX_ELEMENTS`].
pub(super) fn elements(dimensions: &[usize]) -> Option<usize> {
    let product = dimensions.iter().try_fold(1usize, |product, &dimension| product.checked_mul(dimension))?;
    (product <= MAX_ELEMENTS).then_some(product)
}

/// The shape of one example's feature map; a vector is 1x1xC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub height: usize,
    pub width: usize,
    pub channels: usize,
}

impl Shape {
    /// A shape of height, width and channels.
    pub fn new(height: usize, width: usize, channels: usize) -> Shape {
        Shape { height, width, channels }
    }

    /// The shape 1x1xC, as an `fc` or a loss outputs it.
    pub fn vector(channels: usize) -> Shape {
        Shape { height: 1, width: 1, channels }
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.height * self.width * self.channels
    }

    /// Whether the shape has no elements, which no layer of a [`Network`](super::Network) has.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}x{}", self.height, self.width, self.channels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conv(kernel: [usize; 2], stride: [usize; 2], pad: [usize; 2]) -> Layer {
        Layer::Conv { filters: 3, kernel, stride, pad, dilation: [1, 1], groups: 1 }
    }

    #[test]
    fn a_convolution_counts_its_window_positions() {
        let image = Shape::new(28, 20, 1);
        assert_eq!(conv([5, 5], [1, 1], [2, 2]).output(image), Ok(Shape::new(28, 20, 3)));
        assert_eq!(conv([5, 3], [2, 3], [0, 1]).output(image), Ok(Shape::new(12, 7, 3)));
        assert_eq!(conv([28, 20], [9, 9], [0, 0]).output(image), Ok(Shape::new(1, 1, 3)));
    }

    #[test]
    fn a_dilated_kernel_covers_what_lies_between_its_taps() {
        let layer = |dilation, groups| {
            let layer = Layer::Conv { filters: 6, kernel: [3, 2], stride: [1, 1], pad: [0, 0], dilation, groups };
            layer.output(Shape::new(9, 8, 4))
        };
        assert_eq!(layer([4, 5], 2), Ok(Shape::new(1, 3, 6)));
        let error = layer([5, 1], 1).expect_err("11 rows of 9");
        assert!(error.contains("the dilated kernel 11x2 is larger than its input"), "{error}");
        let error = layer([1, 1], 3).expect_err("4 channels in 3 groups");
        assert!(
            error.contains("groups is 3; rule: groups divides the 4 channels of its input and the 6 filters"),
            "{error}"
        );
        assert!(layer([1, 1], 4).is_err() && layer([0, 1], 1).is_err() && layer([1, 1], 0).is_err());
    }

    #[test]
    fn a_window_that_does_not_divide_the_input_drops_the_rest() {
        let pool = Layer::MaxPool { size: [2, 2], stride: [2, 2], pad: [0, 0] };
        assert_eq!(pool.output(Shape::new(5, 7, 4)), Ok(Shape::new(2, 3, 4)));
    }

    #[test]
    fn no_window_of_a_legal_pooling_is_padding_only() {
        for size in 1..6 {
            for pad in 0..8 {
                for stride in 1..5 {
                    for input in 1..10 {
                        let pool = Layer::MaxPool { size: [size; 2], stride: [stride; 2], pad: [pad; 2] };
                        let Ok(output) = pool.output(Shape::new(input, input, 1)) else { continue };
                        for position in 0..output.height {
                            let start = position * stride;
                            assert!(start < input + pad && start + size > pad, "{size} {pad} {stride} {input}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn element_counts_do_not_overflow() {
        assert_eq!(elements(&[usize::MAX, 2]), None);
        assert_eq!(elements(&[MAX_DIMENSION; 4]), None);
        assert_eq!(elements(&[1 << 14, 1 << 14]), Some(MAX_ELEMENTS));
    }
}
