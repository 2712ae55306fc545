//! Layers and shapes: what each layer makes of its input's shape, and which sizes are allowed.
//!
//! A rule that is broken comes back as a sentence; the network adds which layer broke it. Sizes are bounded here, so
//! that nothing downstream (u32 indices in shaders, buffer sizes) can overflow.

use super::{Activation, Factors};
use std::fmt;

/// The largest height, width, channel count, kernel, stride or padding: index arithmetic on it stays well inside u32.
pub const MAX_DIMENSION: usize = 1 << 20;

/// The most parameters a network may have, and the most activations of one example over all its layers (1 GiB of f32).
pub const MAX_ELEMENTS: usize = 1 << 28;

/// The most layers a network may have, activations counted.
pub const MAX_LAYERS: usize = 1024;

/// One layer as the user describes it. Pairs are `[height, width]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Layer {
    /// Where the images enter.
    Input { height: usize, width: usize, channels: usize },
    /// Convolution with zero padding; weights `[KH, KW, I/groups, O]`. Taps are `dilation` pixels apart; input channels and
    /// filters are cut into `groups`, and a filter sees the channels of its group. With as many groups as channels it is
    /// depthwise.
    Conv {
        filters: usize,
        kernel: [usize; 2],
        stride: [usize; 2],
        pad: [usize; 2],
        dilation: [usize; 2],
        groups: usize,
    },
    /// A function of each value by itself.
    Activation(Activation),
    /// The largest element of each window; padding is skipped, as if it were minus infinity.
    MaxPool { size: [usize; 2], stride: [usize; 2], pad: [usize; 2] },
    /// The mean of each window's elements; padding does not count.
    AvgPool { size: [usize; 2], stride: [usize; 2], pad: [usize; 2] },
    /// The mean of each whole channel.
    GlobalAvgPool,
    /// The largest of every `group` channels that lie side by side.
    Maxout { group: usize },
    /// Local response normalisation across `size` channels: x * (k + alpha/size * sum of x²)^-beta.
    Lrn { size: usize, k: f32, alpha: f32, beta: f32 },
    /// Batch normalisation, channel by channel: weights `[C]` and biases `[C]` scale and shift what the batch's mean and
    /// variance make. `momentum` is the share of each batch in the running statistics that evaluation takes.
    BatchNorm { epsilon: f32, momentum: f32 },
    /// Closes a residual block (He et al. 2015): the sum of what `body` layers and `shortcut` layers make of the output of
    /// the layer before them. The body stands first, then the shortcut, then this; without a shortcut the block's input is
    /// added as it is. Blocks may hold blocks.
    Residual { body: usize, shortcut: usize },
    /// Fully connected; weights `[I, O]`, I running over the input's H, W, C with C fastest.
    Fc { outputs: usize },
    /// While training, each value becomes 0 with probability `rate`, and what stays is divided by 1 - rate.
    Dropout { rate: f32 },
    /// Softmax with the cross-entropy loss. It has no weights of its own: the layer before it makes the logits. While
    /// training, the share `label_smoothing` of every target is spread evenly over all classes.
    Softmax { label_smoothing: f64 },
    /// Multi-class hinge loss of the scores: the sum of max(0, s_j - s_label + 1) over the other classes.
    Hinge,
    /// Half the squared distance of the scores from the targets.
    Mse { targets: Targets },
}

/// What a squared distance is taken from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Targets {
    /// 1 for the label and 0 for the other classes.
    #[default]
    OneHot,
    /// The label's number, by one output.
    Number,
}

impl Layer {
    /// The word that a description uses for `type`.
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

    /// What a layer's name begins with: `pool` in `pool1`.
    pub(super) fn stem(&self) -> &'static str {
        match self {
            Layer::MaxPool { .. } | Layer::AvgPool { .. } | Layer::GlobalAvgPool => "pool",
            Layer::Activation(Activation::LeakyRelu { .. }) => "leaky",
            Layer::BatchNorm { .. } => "norm",
            _ => self.kind(),
        }
    }

    /// Whether it ends a network: it makes a loss of the scores before it.
    pub fn is_loss(&self) -> bool {
        matches!(self, Layer::Softmax { .. } | Layer::Hinge | Layer::Mse { .. })
    }

    /// Whether a network has exactly one of it, so that its name needs no number.
    pub(super) fn is_single(&self) -> bool {
        self.is_loss() || matches!(self, Layer::Input { .. })
    }

    /// The shape that leaves the layer when `input` enters it, or the rule that forbids it.
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
                        "groups is {groups}; rule: it divides the {} channels of its input and the {filters} filters",
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
                        "pad {pad} with size {size} makes windows of padding only; rule: pad < size, both ways"
                    ));
                }
                Ok(Shape { height, width, ..input })
            }
            Layer::GlobalAvgPool => Ok(Shape::vector(input.channels)),
            Layer::Maxout { group } => {
                at_least_one("group", group)?;
                if !input.channels.is_multiple_of(group) {
                    return Err(format!("group is {group}; rule: it divides the {} channels", input.channels));
                }
                Ok(Shape { channels: input.channels / group, ..input })
            }
            Layer::Lrn { size, k, alpha, beta } => {
                at_least_one("size", size)?;
                for (what, value) in [("alpha", alpha), ("beta", beta)] {
                    if !(value >= 0.0 && value.is_finite()) {
                        return Err(format!("{what} is {value}; rule: a finite number of at least 0"));
                    }
                }
                // A denormal one is 0 to some devices.
                let legal = k > 0.0 && k.is_normal();
                if legal { Ok(input) } else { Err(format!("k is {k}; rule: a finite number of at least 1.2e-38")) }
            }
            Layer::BatchNorm { epsilon, momentum } => {
                if !(epsilon.is_normal() && epsilon > 0.0) {
                    return Err(format!("epsilon is {epsilon}; rule: a finite number of at least 1.2e-38"));
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

    /// What a loss makes of its input: the same shape, one value for each class.
    fn scores(&self, input: Shape) -> Result<Shape, String> {
        if input.height != 1 || input.width != 1 || input.channels < 2 {
            let number = matches!(self, Layer::Mse { .. }) && input.len() == 1;
            return Err(format!(
                "rule: {} needs one value for each of at least 2 classes (1x1xC); \
                 put an `fc` layer with that many outputs, or `global-avg-pool`, before it{}",
                self.kind(),
                if number { ", or give it targets = \"number\"" } else { "" }
            ));
        }
        Ok(input)
    }

    /// What a loss of a number makes of its input: the same value.
    fn number(&self, input: Shape) -> Result<Shape, String> {
        if input.len() != 1 {
            return Err(format!(
                "rule: {} with targets = \"number\" needs one value (1x1x1); put an `fc` layer with one output before it, \
                 or leave `targets` out to tell classes apart",
                self.kind()
            ));
        }
        Ok(input)
    }

    /// By what its parameters learn and decay unless a description says otherwise. What batch normalisation scales by does
    /// not decay: the layer behind it could make up for any scale.
    pub(super) fn default_factors(&self) -> Factors {
        match self {
            Layer::BatchNorm { .. } => Factors { decay: 0.0, ..Factors::default() },
            _ => Factors::default(),
        }
    }

    /// Shape of the weights in our order and the number of outputs they serve, for a layer that has weights.
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

/// What a kernel covers with its taps apart: (kernel - 1) * dilation + 1.
fn dilated(kernel: [usize; 2], dilation: [usize; 2]) -> Result<[usize; 2], String> {
    let mut covered = [0; 2];
    for axis in 0..2 {
        at_least_one("kernel", kernel[axis])?;
        at_least_one("dilation", dilation[axis])?;
        covered[axis] = (kernel[axis] - 1) * dilation[axis] + 1;
    }
    Ok(covered)
}

/// Positions of a window along height and width.
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

/// A share of something that must not take all of it.
fn below_one(what: &str, value: f64) -> Result<(), String> {
    if (0.0..1.0).contains(&value) { Ok(()) } else { Err(format!("{what} is {value}; rule: 0 <= {what} < 1")) }
}

fn pair([height, width]: [usize; 2]) -> String {
    format!("{height}x{width}")
}

/// Product of dimensions, as long as it stays within [`MAX_ELEMENTS`].
pub(super) fn elements(dimensions: &[usize]) -> Option<usize> {
    let product = dimensions.iter().try_fold(1usize, |product, &dimension| product.checked_mul(dimension))?;
    (product <= MAX_ELEMENTS).then_some(product)
}

/// Shape of one example's feature map; a vector is 1x1xC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub height: usize,
    pub width: usize,
    pub channels: usize,
}

impl Shape {
    /// Height, width, channels.
    pub fn new(height: usize, width: usize, channels: usize) -> Shape {
        Shape { height, width, channels }
    }

    /// 1x1xC: the shape of what an `fc` or a loss puts out.
    pub fn vector(channels: usize) -> Shape {
        Shape { height: 1, width: 1, channels }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.height * self.width * self.channels
    }

    /// Whether there is no element, which no layer of a [`Network`](super::Network) has.
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
            error.contains("groups is 3; rule: it divides the 4 channels of its input and the 6 filters"),
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
