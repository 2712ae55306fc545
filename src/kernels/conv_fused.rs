//! Convolutions that also compute their neighbours, on hardware adapters: the ReLU or the ReLU and the max-pooling after
//! them, and, backward, the ReLU before them. Layouts are those of [`conv`] and [`pool`].
//!
//! A pooling's windows do not overlap. `winner` says which output of each window is the largest, and whether the ReLU
//! passes its gradient, so that dy of the convolution's own outputs is never in memory.

use super::conv_params::{BIAS, DPOOLED, DX, DY, PARTIAL, POOLED, Params, RECTIFIED, WEIGHT, WINNER, X, Y};
use super::{
    Args, Family, Op, Operation, Reference, Scalar, Slot, SlotMut, Tensor, conv, conv_matrix, conv_tile, pool, relu,
};

mod cases;

pub(super) static FAMILY: Family = Family {
    operations: &[
        &FORWARD_RELU,
        &FORWARD_POOL,
        &BACKWARD_INPUT_RELU,
        &BACKWARD_INPUT_POOL,
        &BACKWARD_INPUT_POOL_RELU,
        &BACKWARD_WEIGHT_POOL,
    ],
    cases: cases::cases,
};

/// y = max(0, convolution).
pub static FORWARD_RELU: Operation = Operation {
    name: "conv.forward_relu",
    inputs: &[X, WEIGHT, BIAS],
    outputs: &[Y],
    params: size_of::<Params>(),
    reference: Reference::new(forward_relu_reference, forward_relu_reference),
    cpu: None,
    gpu: &[
        &conv_matrix::FORWARD_RELU[0],
        &conv_matrix::FORWARD_RELU[1],
        &conv_matrix::FORWARD_RELU[2],
        &conv_tile::FORWARD_RELU_8,
        &conv_tile::FORWARD_RELU_4,
        &conv_tile::FORWARD_RELU_NARROW,
        &conv_tile::FORWARD_RELU_ANY,
    ],
};

/// y and winner of the pooling of max(0, convolution).
pub static FORWARD_POOL: Operation = Operation {
    name: "conv.forward_pool",
    inputs: &[X, WEIGHT, BIAS],
    outputs: &[POOLED, WINNER],
    params: size_of::<Params>(),
    reference: Reference::new(forward_pool_reference, forward_pool_reference),
    cpu: None,
    gpu: &[
        &conv_matrix::FORWARD_POOL[0],
        &conv_matrix::FORWARD_POOL[1],
        &conv_matrix::FORWARD_POOL[2],
        &conv_tile::FORWARD_POOL,
        &conv_tile::FORWARD_POOL_NARROW,
    ],
};

/// The gradient of the input of the ReLU whose output is x.
pub static BACKWARD_INPUT_RELU: Operation = Operation {
    name: "conv.backward_input_relu",
    inputs: &[DY, WEIGHT, RECTIFIED],
    outputs: &[DX],
    params: size_of::<Params>(),
    reference: Reference::new(backward_input_relu_reference, backward_input_relu_reference),
    cpu: None,
    gpu: &[
        &conv_matrix::BACKWARD_INPUT_RELU[0],
        &conv_matrix::BACKWARD_INPUT_RELU[1],
        &conv_matrix::BACKWARD_INPUT_RELU[2],
        &conv_tile::BACKWARD_INPUT_RELU[0],
        &conv_tile::BACKWARD_INPUT_RELU[1],
    ],
};

/// The gradient of x from that of the pooled outputs.
pub static BACKWARD_INPUT_POOL: Operation = Operation {
    name: "conv.backward_input_pool",
    inputs: &[DPOOLED, WINNER, WEIGHT],
    outputs: &[DX],
    params: size_of::<Params>(),
    reference: Reference::new(backward_input_pool_reference, backward_input_pool_reference),
    cpu: None,
    gpu: &[
        &conv_matrix::BACKWARD_INPUT_POOL[0],
        &conv_matrix::BACKWARD_INPUT_POOL[1],
        &conv_matrix::BACKWARD_INPUT_POOL[2],
        &conv_tile::BACKWARD_INPUT_POOL[0],
        &conv_tile::BACKWARD_INPUT_POOL[1],
    ],
};

/// The gradient of the input of the ReLU whose output is x, from that of the pooled outputs.
pub static BACKWARD_INPUT_POOL_RELU: Operation = Operation {
    name: "conv.backward_input_pool_relu",
    inputs: &[DPOOLED, WINNER, WEIGHT, RECTIFIED],
    outputs: &[DX],
    params: size_of::<Params>(),
    reference: Reference::new(backward_input_pool_relu_reference, backward_input_pool_relu_reference),
    cpu: None,
    gpu: &[
        &conv_matrix::BACKWARD_INPUT_POOL_RELU[0],
        &conv_matrix::BACKWARD_INPUT_POOL_RELU[1],
        &conv_matrix::BACKWARD_INPUT_POOL_RELU[2],
        &conv_tile::BACKWARD_INPUT_POOL_RELU[0],
        &conv_tile::BACKWARD_INPUT_POOL_RELU[1],
    ],
};

/// The partial sums of the gradients of weight and bias from the gradient of the pooled outputs.
pub static BACKWARD_WEIGHT_POOL: Operation = Operation {
    name: "conv.backward_weight_pool",
    inputs: &[X, DPOOLED, WINNER],
    outputs: &[PARTIAL],
    params: size_of::<Params>(),
    reference: Reference::new(backward_weight_pool_reference, backward_weight_pool_reference),
    cpu: None,
    gpu: &[
        &conv_matrix::BACKWARD_WEIGHT_POOL[0],
        &conv_matrix::BACKWARD_WEIGHT_POOL[1],
        &conv_matrix::BACKWARD_WEIGHT_POOL[2],
        &conv_tile::BACKWARD_WEIGHT_POOL_BAND[0],
        &conv_tile::BACKWARD_WEIGHT_POOL_BAND[1],
        &conv_tile::BACKWARD_WEIGHT_POOL,
        &conv_tile::BACKWARD_WEIGHT_POOL_NARROW,
    ],
};

pub fn forward_relu(p: Params, x: Tensor, weight: Tensor, bias: Tensor, y: Tensor) -> Op {
    assert!(p.groups == 1, "conv.forward_relu: groups of {p:?}");
    assert_eq!((x.len, y.len), (p.x_len(), p.y_len()), "conv.forward_relu: x, y of {p:?}");
    p.assert_weights("conv.forward_relu", weight, Some(bias));
    Op::new(&FORWARD_RELU, p, &[(X, x), (WEIGHT, weight), (BIAS, bias)], &[(Y, y)], p.flops())
}

/// `p` has a pooling.
pub fn forward_pool(p: Params, x: Tensor, weight: Tensor, bias: Tensor, [y, winner]: [Tensor; 2]) -> Op {
    assert_eq!(x.len, p.x_len(), "conv.forward_pool: x of {p:?}");
    p.assert_pooled("conv.forward_pool", y, winner);
    p.assert_weights("conv.forward_pool", weight, Some(bias));
    let inputs = [(X, x), (WEIGHT, weight), (BIAS, bias)];
    Op::new(&FORWARD_POOL, p, &inputs, &[(POOLED, y), (WINNER, winner)], p.flops())
}

/// The gradient of the outputs of a convolution.
#[derive(Debug, Clone, Copy)]
pub enum Gradient {
    /// `[N,OH,OW,O]`.
    Outputs(Tensor),
    /// That of the outputs after the pooling, and their winners.
    Pooled(Tensor, Tensor),
}

/// The gradient of x; or, with `rectified`, which is x, of the input of the ReLU that x comes from. C and O are multiples
/// of 4 unless it is that of an ordinary convolution.
pub fn backward_input(p: Params, dy: Gradient, weight: Tensor, rectified: Option<Tensor>, dx: Tensor) -> Op {
    let name = "conv.backward_input";
    if let (Gradient::Outputs(dy), None) = (dy, rectified) {
        return conv::backward_input(p, dy, weight, dx);
    }
    assert!(p.can_rectify(), "{name}: channels of {p:?}");
    assert_eq!((dx.len, rectified.map_or(dx.len, |x| x.len)), (p.x_len(), p.x_len()), "{name}: dx, x of {p:?}");
    p.assert_weights(name, weight, None);
    let output = [(DX, dx)];
    match (dy, rectified) {
        (Gradient::Outputs(dy), Some(x)) => {
            assert_eq!(dy.len, p.y_len(), "{name}: dy of {p:?}");
            let inputs = [(DY, dy), (WEIGHT, weight), (RECTIFIED, x)];
            Op::new(&BACKWARD_INPUT_RELU, p, &inputs, &output, p.flops())
        }
        (Gradient::Pooled(dy, winner), rectified) => {
            p.assert_pooled(name, dy, winner);
            let inputs = [(DPOOLED, dy), (WINNER, winner), (WEIGHT, weight)];
            match rectified {
                Some(x) => {
                    let inputs = [inputs[0], inputs[1], inputs[2], (RECTIFIED, x)];
                    Op::new(&BACKWARD_INPUT_POOL_RELU, p, &inputs, &output, p.flops())
                }
                None => Op::new(&BACKWARD_INPUT_POOL, p, &inputs, &output, p.flops()),
            }
        }
        (Gradient::Outputs(_), None) => unreachable!("returned above"),
    }
}

/// The partial sums of the gradients of weight and bias.
pub fn backward_weight(p: Params, x: Tensor, dy: Gradient, partial: Tensor) -> Op {
    let (dy, winner) = match dy {
        Gradient::Outputs(dy) => return conv::backward_weight(p, x, dy, partial),
        Gradient::Pooled(dy, winner) => (dy, winner),
    };
    let name = "conv.backward_weight_pool";
    assert_eq!((x.len, partial.len), (p.x_len(), p.partial_len()), "{name}: x, partial of {p:?}");
    p.assert_pooled(name, dy, winner);
    let inputs = [(X, x), (DPOOLED, dy), (WINNER, winner)];
    Op::new(&BACKWARD_WEIGHT_POOL, p, &inputs, &[(PARTIAL, partial)], p.flops())
}

impl Params {
    /// Whether the gradient of x can be that of a ReLU's input or come from a pooling.
    pub fn can_rectify(&self) -> bool {
        self.groups == 1 && self.c.is_multiple_of(4) && self.o.is_multiple_of(4)
    }

    fn assert_weights(&self, name: &str, weight: Tensor, bias: Option<Tensor>) {
        assert_eq!(weight.len, self.k() * self.o as usize, "{name}: weight of {self:?}");
        assert!(bias.is_none_or(|bias| bias.len == self.o as usize), "{name}: bias of {self:?}");
    }

    fn assert_pooled(&self, name: &str, y: Tensor, winner: Tensor) {
        assert!(self.can_pool(self.window.map(|size| size as usize)), "{name}: pooling of {self:?}");
        let len = self.pooled_pixels() * self.o as usize;
        assert_eq!((y.len, winner.len), (len, len), "{name}: pooled tensor, winner of {self:?}");
    }

    /// The pooling alone.
    pub(super) fn pooling(&self) -> pool::Params {
        let window = self.window.map(|size| size as usize);
        pool::Params::new([self.n, self.oh, self.ow, self.o].map(|size| size as usize), window, window, [0, 0])
            .with_relu()
    }
}

/// Calls the reference of one operation.
fn call<S: Scalar, P: bytemuck::NoUninit, const I: usize, const O: usize>(
    (operation, reference): (&'static Operation, fn(&mut Args<'_, S>)),
    params: P,
    inputs: [Slot<'_, S>; I],
    outputs: [SlotMut<'_, S>; O],
) {
    reference(&mut Args::new(operation, bytemuck::bytes_of(&params), inputs, outputs));
}

fn convolved<S: Scalar>(args: &Args<'_, S>, p: Params) -> Vec<S> {
    let mut y = vec![S::of(0.0); p.y_len()];
    let inputs = [X, WEIGHT, BIAS].map(|operand| Slot::Real(args.real(operand)));
    call((&conv::FORWARD, conv::forward_reference::<S>), p, inputs, [SlotMut::Real(&mut y)]);
    y
}

fn forward_relu_reference<S: Scalar>(args: &mut Args<'_, S>) {
    let p: Params = args.params();
    let y = convolved(args, p);
    let params = relu::Params { count: p.y_len() as u32, reserved: [0; 3] };
    let output = [SlotMut::Real(args.out(Y))];
    call((&relu::FORWARD, relu::forward_reference::<S>), params, [Slot::Real(&y)], output);
}

fn forward_pool_reference<S: Scalar>(args: &mut Args<'_, S>) {
    let p: Params = args.params();
    let y = convolved(args, p);
    let outputs = [SlotMut::Real(args.out(POOLED)), SlotMut::Words(args.out_words(WINNER))];
    call((&pool::FORWARD, pool::forward_reference::<S>), p.pooling(), [Slot::Real(&y)], outputs);
}

/// The gradient of the convolution's own outputs.
fn unpooled<S: Scalar>(args: &Args<'_, S>, p: Params) -> Vec<S> {
    let mut dy = vec![S::of(0.0); p.y_len()];
    let inputs = [Slot::Real(args.real(DPOOLED)), Slot::Words(args.words(WINNER))];
    call((&pool::BACKWARD, pool::backward_reference::<S>), p.pooling(), inputs, [SlotMut::Real(&mut dy)]);
    dy
}

/// dx from dy, masked by the ReLU whose output is `rectified`.
fn input_gradient<S: Scalar>(args: &mut Args<'_, S>, dy: &[S], rectified: Option<&[S]>) {
    let p: Params = args.params();
    let (weight, dx) = (args.real(WEIGHT), args.out(DX));
    let inputs = [Slot::Real(dy), Slot::Real(weight)];
    let reference = (&conv::BACKWARD_INPUT, conv::backward_input_reference::<S> as fn(&mut Args<'_, S>));
    let Some(rectified) = rectified else { return call(reference, p, inputs, [SlotMut::Real(dx)]) };
    let mut whole = vec![S::of(0.0); dx.len()];
    call(reference, p, inputs, [SlotMut::Real(&mut whole)]);
    let params = relu::Params { count: dx.len() as u32, reserved: [0; 3] };
    let inputs = [Slot::Real(rectified), Slot::Real(&whole)];
    call((&relu::BACKWARD, relu::backward_reference::<S>), params, inputs, [SlotMut::Real(dx)]);
}

fn backward_input_relu_reference<S: Scalar>(args: &mut Args<'_, S>) {
    let (dy, x) = (args.real(DY), args.real(RECTIFIED));
    input_gradient(args, dy, Some(x));
}

fn backward_input_pool_reference<S: Scalar>(args: &mut Args<'_, S>) {
    let dy = unpooled(args, args.params());
    input_gradient(args, &dy, None);
}

fn backward_input_pool_relu_reference<S: Scalar>(args: &mut Args<'_, S>) {
    let (dy, x) = (unpooled(args, args.params()), args.real(RECTIFIED));
    input_gradient(args, &dy, Some(x));
}

fn backward_weight_pool_reference<S: Scalar>(args: &mut Args<'_, S>) {
    let p: Params = args.params();
    let dy = unpooled(args, p);
    let inputs = [Slot::Real(args.real(X)), Slot::Real(&dy)];
    let output = [SlotMut::Real(args.out(PARTIAL))];
    call((&conv::BACKWARD_WEIGHT, conv::backward_weight_reference::<S>), p, inputs, output);
}
