//! Makes a batch: gathers examples out of the packed bytes of the data set, crops, normalises to x/255 - 0.5.
//! images `[SH,SW,C]` bytes, four to a word, in up to four chunks; x `[N,H,W,C]`. `shaders/batch.wgsl`.
//! [`GATHER_AUGMENTED`] also varies training examples (`augmentation.rs`).

use super::augmentation::{self, Limits, MAX_ANGLE};
use super::case::{CaseBuilder, Tolerance};
use super::op::{linear, word};
use super::{
    Args, Case,
    Element::{F32, U32},
    Kernel, Op, Reference, Scalar, Tensor,
};
use multiversion::multiversion;
use rayon::prelude::*;

/// What changes from step to step; the first words of a step's inputs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Header {
    /// Step of this run, from 0; with the seed it decides every draw of the device.
    pub step: u32,
    /// Examples in this batch; rows at and beyond it are masked.
    pub valid: u32,
    pub seed: u32,
    /// Random crops where true, centred ones where false.
    pub training: bool,
    pub learning_rate: f32,
    /// Adam's 1 - beta1^t, t counting updates from 1.
    pub correction1: f32,
    /// Adam's 1 - beta2^t.
    pub correction2: f32,
}

impl Header {
    /// Words of a header in a buffer.
    pub const LEN: usize = 8;

    /// As the shaders read it.
    pub fn words(&self) -> [u32; Header::LEN] {
        [
            self.step,
            self.valid,
            self.seed,
            u32::from(self.training),
            self.learning_rate.to_bits(),
            self.correction1.to_bits(),
            self.correction2.to_bits(),
            0,
        ]
    }

    /// A header for evaluating `valid` examples.
    pub fn evaluation(valid: u32) -> Header {
        Header { step: 0, valid, seed: 0, training: false, learning_rate: 0.0, correction1: 1.0, correction2: 1.0 }
    }
}

/// Chunks that one operation can bind.
pub const CHUNKS: usize = 4;

#[repr(C)]
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Params {
    pub n: u32,
    pub h: u32,
    pub w: u32,
    pub c: u32,
    pub source_h: u32,
    pub source_w: u32,
    pub examples_per_chunk: u32,
    /// For [`GATHER_AUGMENTED`].
    pub limits: Limits,
}

/// Inputs: header, indices, four chunks. Outputs: x.
pub static GATHER: Kernel = Kernel {
    name: "batch.gather",
    source: include_str!("../../shaders/batch.wgsl"),
    entry: "gather",
    inputs: &[U32, U32, U32, U32, U32, U32],
    outputs: &[F32],
    textures: &[],
    params: size_of::<Params>(),
    workgroup: 64,
    reference: Reference { single: gather_reference, double: gather_reference },
    cpu: Some(gather_cpu),
};

/// The same, but what is learned from goes through a random field and map; evaluation gets the same bits as from [`GATHER`].
pub static GATHER_AUGMENTED: Kernel = Kernel {
    name: "batch.gather_augmented",
    entry: "gather_augmented",
    reference: Reference { single: augmentation::reference, double: augmentation::reference },
    cpu: Some(augmentation::cpu),
    ..GATHER
};

/// `batch` is `[N,H,W,C]`, `source` `[SH,SW]` with SH >= H and SW >= W. Every index must lie within the chunks. Examples
/// are augmented where `limits` leave room for it.
#[allow(clippy::too_many_arguments)]
pub fn gather(
    batch: [usize; 4],
    source: [usize; 2],
    examples_per_chunk: usize,
    header: Tensor,
    indices: Tensor,
    chunks: [Tensor; CHUNKS],
    x: Tensor,
    limits: Limits,
) -> Op {
    let [n, h, w, c] = batch.map(word);
    assert!(source[0] >= batch[1] && source[1] >= batch[2], "batch.gather: {batch:?} out of {source:?}");
    assert_eq!((x.len, indices.len), (batch.iter().product(), batch[0]), "batch.gather: x, indices");
    let [source_h, source_w] = source.map(word);
    let Limits { rotation, scale, shear, shift, elastic } = limits;
    let legal = (0.0..=MAX_ANGLE).contains(&rotation) && (0.0..=MAX_ANGLE / 2.0).contains(&shear);
    let finite = [shift, elastic].iter().all(|pixels| *pixels >= 0.0 && pixels.is_finite());
    assert!(legal && (0.0..1.0).contains(&scale) && finite, "batch.gather: {limits:?}");
    let examples_per_chunk = word(examples_per_chunk);
    let params = Params { n, h, w, c, source_h, source_w, examples_per_chunk, limits };
    let [c0, c1, c2, c3] = chunks;
    let groups = linear(batch[0] * batch[1] * (batch[2] * batch[3]).div_ceil(4), 64);
    let (kernel, flops) = if limits == Limits::default() { (&GATHER, 2) } else { (&GATHER_AUGMENTED, 16) };
    let inputs = [header, indices, c0, c1, c2, c3];
    let mut op = Op::new(kernel, params, &inputs, &[x], groups, flops * x.len).in_pieces(&[0, 1, 2, 3, 4, 5], 1);
    // Only the batch's own bytes are read, not the whole data set.
    op.work.bytes = (x.len * 5) as u64;
    op
}

/// pcg3d of Jarzynski and Olano, "Hash Functions for GPU Rendering" (2020); `shaders/batch.wgsl` has the same.
pub fn pcg3d(seed: [u32; 3]) -> [u32; 3] {
    let [mut x, mut y, mut z] = seed.map(|v| v.wrapping_mul(1_664_525).wrapping_add(1_013_904_223));
    let mix = |x: &mut u32, y: &mut u32, z: &mut u32| {
        *x = x.wrapping_add(y.wrapping_mul(*z));
        *y = y.wrapping_add(z.wrapping_mul(*x));
        *z = z.wrapping_add(x.wrapping_mul(*y));
    };
    mix(&mut x, &mut y, &mut z);
    [x, y, z] = [x ^ (x >> 16), y ^ (y >> 16), z ^ (z >> 16)];
    mix(&mut x, &mut y, &mut z);
    [x, y, z]
}

/// Upper left corner of example `n`'s crop.
pub(super) fn crop(p: &Params, header: &[u32], n: usize) -> (usize, usize) {
    let (spare_y, spare_x) = (p.source_h - p.h, p.source_w - p.w);
    if header[3] == 0 {
        return ((spare_y / 2) as usize, (spare_x / 2) as usize);
    }
    let [y, x, _] = pcg3d([header[2], header[0], n as u32]);
    ((y % (spare_y + 1)) as usize, (x % (spare_x + 1)) as usize)
}

/// The chunk that row `n`'s example is in, and its first byte there.
#[inline(always)]
pub(super) fn stored_bytes<'a>(p: &Params, args: &[&'a [u32]], n: usize) -> (&'a [u32], usize) {
    let (per, index) = (p.examples_per_chunk as usize, args[1][n] as usize);
    (args[2 + index / per], index % per * (p.source_h * p.source_w * p.c) as usize)
}

/// Hands each output value of example `n` its byte.
pub(super) fn copy_example<S: Scalar>(p: &Params, args: &[&[u32]], n: usize, x: &mut [S], value: impl Fn(u32) -> S) {
    let header = args[0];
    if n >= header[1] as usize {
        return x.fill(S::of(0.0));
    }
    let (dy, dx) = crop(p, header, n);
    let ((words, first), row) = (stored_bytes(p, args, n), (p.w * p.c) as usize);
    for (y, x) in x.chunks_exact_mut(row).enumerate() {
        let line = (y + dy) * p.source_w as usize + dx;
        for (i, x) in x.iter_mut().enumerate() {
            let byte = first + line * p.c as usize + i;
            *x = value(words[byte / 4] >> (8 * (byte % 4)) & 255);
        }
    }
}

fn gather_reference<S: Scalar>(args: &mut Args<'_, S>) {
    let p: Params = args.params();
    let inputs: Vec<&[u32]> = (0..6).map(|i| args.words(i)).collect();
    for (n, x) in args.out(0).chunks_exact_mut((p.h * p.w * p.c) as usize).enumerate() {
        copy_example(&p, &inputs, n, x, |v| S::of(f64::from(v) / 255.0 - 0.5));
    }
}

fn gather_cpu(args: &mut Args<'_, f32>) {
    let p: Params = args.params();
    let inputs: Vec<&[u32]> = (0..6).map(|i| args.words(i)).collect();
    let (first, examples) = (args.first_example(), args.out(0).par_chunks_exact_mut((p.h * p.w * p.c) as usize));
    examples.with_min_len(args.least_items()).enumerate().for_each(|(i, x)| {
        let n = first + i;
        // Words hold their first byte lowest, as these processors do.
        if cfg!(target_endian = "little") {
            copy_lines(&p, &inputs, n, x);
        } else {
            copy_example(&p, &inputs, n, x, normalised);
        }
    });
}

#[inline(always)]
fn normalised(byte: u32) -> f32 {
    byte as f32 / 255.0 - 0.5
}

/// [`copy_example`], a line of bytes at a time.
#[multiversion(targets("x86_64+avx2+fma"))]
pub(super) fn copy_lines(p: &Params, args: &[&[u32]], n: usize, x: &mut [f32]) {
    let header = args[0];
    if n >= header[1] as usize {
        return x.fill(0.0);
    }
    let (dy, dx) = crop(p, header, n);
    let (words, first) = stored_bytes(p, args, n);
    let (bytes, c) = (&bytemuck::cast_slice::<u32, u8>(words)[first..], p.c as usize);
    let row = p.w as usize * c;
    for (y, x) in x.chunks_exact_mut(row).enumerate() {
        let line = (y + dy) * p.source_w as usize + dx;
        for (x, byte) in x.iter_mut().zip(&bytes[line * c..][..row]) {
            *x = normalised(u32::from(*byte));
        }
    }
}

pub fn cases() -> Vec<Case> {
    let still = Limits::default();
    let moving = Limits { rotation: 0.3, scale: 0.2, shear: 0.2, shift: 2.5, elastic: 0.0 };
    let bending = Limits { elastic: 4.0, ..moving };
    let widest = Limits { rotation: MAX_ANGLE, scale: 0.9, shear: MAX_ANGLE / 2.0, shift: 28.0, elastic: 28.0 };
    // [N,H,W,C], [SH,SW], examples in a chunk, valid, training
    let shapes = [
        ([1, 1, 1, 1], [1, 1], 8, 1, false),
        ([20, 24, 24, 1], [28, 28], 16, 20, true),
        ([20, 24, 24, 1], [28, 28], 16, 13, true),
        ([7, 24, 24, 1], [28, 28], 16, 7, false),
        ([3, 5, 7, 3], [6, 11], 4, 2, true),
        ([4, 9, 5, 2], [9, 5], 4, 4, true),
        ([5, 3, 2, 3], [4, 5], 12, 5, false),
        ([5000, 29, 29, 1], [31, 30], 4, 4999, true),
    ];
    let case =
        |limits: Limits, (batch, source, per_chunk, valid, training): ([usize; 4], [usize; 2], usize, u32, bool)| {
            let mut b = CaseBuilder::default();
            let header = Header { step: 41, seed: 7, training, ..Header::evaluation(valid) };
            let header = b.header(header);
            let indices =
                b.words((0..batch[0] as u32).map(|i| i.wrapping_mul(2_654_435_761) % (4 * per_chunk as u32)).collect());
            let words = (per_chunk * source[0] * source[1] * batch[3]).div_ceil(4);
            let chunks = [0; 4].map(|_| b.random_words(words));
            let x = b.out(batch.iter().product());
            let op = gather(batch, source, per_chunk, header, indices, chunks, x, limits);
            let shape = format!("{batch:?} of {source:?} valid {valid}{}", if training { " random crop" } else { "" });
            if limits == still {
                // Bytes and places are exact; the division may be off by 2.5 ULP before the subtraction.
                return b.case(shape, op, Tolerance { atol: 2e-7, rtol: 0.0 });
            }
            // Rounding errors of coordinates, which noise turns into values: neighbouring pixels are up to 1 apart.
            let pixels = (source[0] + source[1]) as f64 + 2.0 * f64::from(limits.elastic);
            let farthest = pixels / f64::from(1.0 - limits.scale);
            let shape = format!("{shape} up to {} rad, bent by {}", limits.rotation, limits.elastic);
            b.case(shape, op, Tolerance { atol: 1e-6 * farthest, rtol: 0.0 })
        };
    shapes.into_iter().flat_map(|shape| [still, moving, bending, widest].map(|limits| case(limits, shape))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_crops_reach_every_corner_evenly() {
        let (source_h, source_w, limits) = (28, 28, Limits::default());
        let p = Params { n: 1, h: 24, w: 24, c: 1, source_h, source_w, examples_per_chunk: 4, limits };
        let mut counts = [[0u32; 5]; 5];
        for step in 0..2500 {
            let header = Header { step, seed: 3, training: true, ..Header::evaluation(10) }.words();
            for n in 0..10 {
                let (y, x) = crop(&p, &header, n);
                counts[y][x] += 1;
            }
        }
        // 25,000 draws over 25 corners: 1,000 each, σ about 31.
        assert!(counts.iter().flatten().all(|c| (850..1150).contains(c)), "{counts:?}");
    }
}
