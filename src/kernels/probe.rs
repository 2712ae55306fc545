//! A device's peak rates: chains of multiply-adds that stay in registers, and a copy; `shaders/probe.wgsl`.
//!
//! Every element of `multiply_add` is the sum of its chains. Chain c of element e starts at (e mod 256)/256 + c, and
//! each of its steps replaces v by scale*v + shift, which is bounded, and which a compiler cannot omit.

use super::case::{CaseBuilder, Tolerance};
use super::op::{MAX_WORKGROUPS, word};
use super::{
    Args, Case, Cpu, Element::F32, Family, Launch, Op, Operand, Operation, Reference, Scalar, Tensor, Texture, Variant,
    whole,
};
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

#[repr(C)]
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Params {
    /// vec4 of the output.
    pub count: u32,
    pub rounds: u32,
    pub chains: u32,
    pub scale: f32,
    pub shift: f32,
    /// Whether the shader writes a step as `fma` (1) or as a product and a sum (0): a constant of the pipeline.
    pub fused: u32,
    pub reserved: [u32; 2],
}

const SOURCE: &str = shader!("buffers/probe", "probe");
const WORKGROUP: u32 = 256;

const X: Operand = whole("x", F32);
const Y: Operand = whole("y", F32);

pub(super) static FAMILY: Family = Family { operations: &[&MULTIPLY_ADD, &COPY], cases };

/// Sums of chains of multiply-adds.
pub static MULTIPLY_ADD: Operation = Operation {
    name: "probe.multiply_add",
    inputs: &[],
    outputs: &[Y],
    params: size_of::<Params>(),
    reference: Reference::new(multiply_add_reference, multiply_add_reference),
    cpu: Cpu::new(multiply_add_cpu),
    gpu: &[&Variant {
        ..Variant::new("probe.multiply_add", SOURCE, "multiply_add", |op| {
            let p: Params = op.params();
            launch(op).with(vec![("CHAINS", p.chains), ("FUSED", p.fused)])
        })
        .in_workgroups_of(WORKGROUP)
    }],
};

/// y = x.
pub static COPY: Operation = Operation {
    name: "probe.copy",
    inputs: &[X],
    outputs: &[Y],
    params: size_of::<Params>(),
    reference: Reference::new(copy_reference, copy_reference),
    cpu: Cpu::new(copy_cpu),
    gpu: &[
        &COPY_VARIANT.textured(
            "probe.copy_textures",
            shader!("prelude/texel", "textures/probe", "probe"),
            &[Texture::vectors(X)],
        ),
        &COPY_VARIANT,
    ],
};

const COPY_VARIANT: Variant =
    Variant { ..Variant::new("probe.copy", SOURCE, "copy", launch).in_workgroups_of(WORKGROUP) };

fn launch(op: &Op) -> Launch {
    Launch::of([op.params::<Params>().count.div_ceil(WORKGROUP), 1, 1])
}

/// Steps that the shader writes out by hand.
pub const UNROLLED: usize = 4;
/// Chains that the CPU runs: with scale and shift they fill AVX2's sixteen registers but two, and eight would just do.
pub const CPU_CHAINS: usize = 12;

/// `chains` (4, 8 or 12) for every element of `y`, `rounds` steps in each; `fused` says how the shader writes a step.
pub fn multiply_add(chains: usize, rounds: usize, fused: bool, y: Tensor) -> Op {
    assert!([4, 8, CPU_CHAINS].contains(&chains), "probe.multiply_add: {chains} chains");
    assert!(rounds.is_multiple_of(UNROLLED), "probe.multiply_add: {rounds} rounds");
    assert!(y.len.is_multiple_of(4), "probe.multiply_add: y of {}", y.len);
    // scale < 1 draws every chain towards 2: no infinity, no denormal.
    let (count, rounds32, chains32) = (word(y.len / 4), word(rounds), word(chains));
    let p = Params {
        count,
        rounds: rounds32,
        chains: chains32,
        scale: 0.75,
        shift: 0.5,
        fused: u32::from(fused),
        reserved: [0; 2],
    };
    assert_len(y.len);
    Op::new(&MULTIPLY_ADD, p, &[], &[(Y, y)], 2 * y.len as u64 * chains as u64 * rounds as u64)
}

/// The most elements: a workgroup for every 256 vec4, all in one dimension.
pub const MAX_LEN: usize = 4 * (WORKGROUP * MAX_WORKGROUPS) as usize;

fn assert_len(len: usize) {
    assert!(len <= MAX_LEN, "a probe of {len} elements");
}

pub fn copy(x: Tensor, y: Tensor) -> Op {
    assert!(x.len == y.len && x.len.is_multiple_of(4), "probe.copy: {} to {}", x.len, y.len);
    let p = Params { count: word(x.len / 4), rounds: 0, chains: 0, scale: 0.0, shift: 0.0, fused: 0, reserved: [0; 2] };
    assert_len(x.len);
    Op::new(&COPY, p, &[(X, x)], &[(Y, y)], 0)
}

fn start(element: usize, chain: usize) -> f64 {
    (element % 256) as f64 / 256.0 + chain as f64
}

fn multiply_add_reference<S: Scalar>(args: &mut Args<'_, S>) {
    let p: Params = args.params();
    let (scale, shift) = (f64::from(p.scale), f64::from(p.shift));
    let end = |v: f64| (0..p.rounds).fold(v, |v, _| v * scale + shift);
    for (element, y) in args.out(Y).iter_mut().enumerate() {
        *y = S::of((0..p.chains as usize).map(|chain| end(start(element, chain))).sum());
    }
}

/// Elements of one task: a multiple of 256, so that every task begins as the first one does.
const TASK: usize = 1024;

fn multiply_add_cpu(args: &mut Args<'_, f32>) {
    let p: Params = args.params();
    if p.chains as usize != CPU_CHAINS {
        return multiply_add_reference(args);
    }
    args.out(Y).par_chunks_mut(TASK).for_each(|y| pulp::Arch::new().dispatch(Chains { p, y }));
}

struct Chains<'a> {
    p: Params,
    y: &'a mut [f32],
}

impl WithSimd for Chains<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (scale, shift) = (simd.splat_f32s(self.p.scale), simd.splat_f32s(self.p.shift));
        for (element, y) in self.y.iter_mut().enumerate() {
            *y = start(element, 0) as f32;
        }
        for y in self.y.chunks_mut(S::F32_LANES) {
            let first = simd.partial_load_f32s(y);
            let mut chains: [S::f32s; CPU_CHAINS] =
                std::array::from_fn(|c| simd.add_f32s(first, simd.splat_f32s(c as f32)));
            for _ in 0..self.p.rounds {
                for chain in &mut chains {
                    *chain = simd.mul_add_e_f32s(*chain, scale, shift);
                }
            }
            let sum = chains.into_iter().reduce(|a, b| simd.add_f32s(a, b)).unwrap_or(first);
            simd.partial_store_f32s(y, sum);
        }
    }
}

fn copy_reference<S: Scalar>(args: &mut Args<'_, S>) {
    args.out(Y).copy_from_slice(args.real(X));
}

/// A piece for each thread: long ones, which the C library copies past the caches. The cut changes nothing in the
/// result.
fn copy_cpu(args: &mut Args<'_, f32>) {
    let x = args.real(X);
    let piece = x.len().div_ceil(rayon::current_num_threads()).max(1);
    args.out(Y).par_chunks_mut(piece).zip(x.par_chunks(piece)).for_each(|(y, x)| y.copy_from_slice(x));
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (len, chains, rounds) in [(4, 4, 4), (252, 4, 8), (1028, 8, 4), (2052, 12, 12), (4, 12, 0)] {
        for fused in [true, false] {
            let mut b = CaseBuilder::default();
            let y = b.out(len);
            let shape = format!("len={len} chains={chains} rounds={rounds} fused={fused}");
            // Twelve chains of up to eleven each: a few rounded sums.
            cases.push(b.case(shape, multiply_add(chains, rounds, fused, y), Tolerance::ELEMENTWISE));
        }
    }
    for len in [4, 1020, 1028, 32_772] {
        let mut b = CaseBuilder::default();
        let (x, y) = (b.real(len), b.out(len));
        cases.push(b.case(format_args!("len={len}"), copy(x, y), Tolerance::EXACT));
    }
    cases
}
