//! Makes a batch: gathers examples from the packed bytes of the data set, crops them, and normalises to x/255 - 0.5.
//! Images are `[SH,SW,C]` bytes, four per word, in up to four chunks; x is `[N,H,W,C]`. `shaders/batch.wgsl`.
//! [`GATHER_AUGMENTED`] also pads the images and varies training examples (`augmentation.rs`).

use super::augmentation::{self, Limits, MAX_ANGLE};
use super::case::{CaseBuilder, Tolerance, also_split};
use super::erasing;
use super::op::word;
use super::{
    Args, Case, Cpu,
    Element::{F32, U32},
    Family, Launch, Op, Operand, Operation, Reference, Scalar, Tensor, Variant, per_example, whole,
};
use multiversion::multiversion;
use rayon::prelude::*;

/// The values that change from step to step; the first words of a step's inputs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Header {
    /// The step of this run, from 0; together with the seed it determines every draw of the device.
    pub step: u32,
    /// The number of examples in this batch; rows from there on are masked.
    pub valid: u32,
    pub seed: u32,
    /// Random crops if true, those of `place` if false.
    pub training: bool,
    /// The crop of evaluation; the centre if there is none.
    pub place: Option<Place>,
    pub learning_rate: f32,
    /// Adam's 1 - beta1^t, where t counts updates from 1.
    pub correction1: f32,
    /// Adam's 1 - beta2^t.
    pub correction2: f32,
    /// The place of these rows in a larger batch whose other rows are computed elsewhere; `None` for a whole batch.
    pub part: Option<Part>,
}

/// The part of a batch that an executor computes. Mean losses are over the whole batch, and random draws use the rows'
/// numbers in it, so the gradients of all parts add up to those of the batch. Batch normalisation uses the statistics
/// of its own part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// The number of this part's first row in the whole batch.
    pub first_row: u32,
    /// The number of examples in the whole batch.
    pub global_valid: u32,
}

/// A crop of evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The upper left corner, relative to that of the padded image; each at most [`Place::MOST`].
    pub row: u16,
    pub column: u16,
    /// Whether it is mirrored left to right. Only [`GATHER_AUGMENTED`] does that.
    pub mirrored: bool,
}

impl Place {
    /// The largest value of fifteen bits.
    pub const MOST: u16 = (1 << 15) - 1;

    fn word(self) -> u32 {
        assert!(self.row.max(self.column) <= Place::MOST, "{self:?}");
        let mirrored = if self.mirrored { MIRRORED } else { 0 };
        PLACED | mirrored | u32::from(self.row) << 15 | u32::from(self.column)
    }

    fn read(word: u32) -> Option<Place> {
        let [row, column] = [word >> 15, word].map(|bits| bits as u16 & Place::MOST);
        (word & PLACED != 0).then_some(Place { row, column, mirrored: word & MIRRORED != 0 })
    }
}

/// Bits of a place's word above row and column; a word of 0 means the centre.
const MIRRORED: u32 = 1 << 30;
const PLACED: u32 = 1 << 31;

impl Header {
    /// The number of words of a header in a buffer.
    pub const LEN: usize = 10;

    /// The words that the shaders read.
    pub fn words(&self) -> [u32; Header::LEN] {
        [
            self.step,
            self.valid,
            self.seed,
            u32::from(self.training),
            self.learning_rate.to_bits(),
            self.correction1.to_bits(),
            self.correction2.to_bits(),
            self.place.map_or(0, Place::word),
            self.global_valid(),
            self.row(0),
        ]
    }

    /// The number of examples in the whole batch, of which this may be a part; the mean loss is over all of them.
    pub fn global_valid(&self) -> u32 {
        self.part.map_or(self.valid, |part| part.global_valid)
    }

    /// The number of row `n` in the whole batch, which its random draws use.
    pub fn row(&self, n: usize) -> u32 {
        self.part.map_or(0, |part| part.first_row).wrapping_add(n as u32)
    }

    /// Reads a header from words.
    pub fn read(words: &[u32]) -> Header {
        let [step, valid, seed, training, learning_rate, correction1, correction2, place, global_valid, first_row] =
            *words.first_chunk().expect("a buffer that holds a header");
        let [learning_rate, correction1, correction2] = [learning_rate, correction1, correction2].map(f32::from_bits);
        let (training, place) = (training != 0, Place::read(place));
        let part = ((global_valid, first_row) != (valid, 0)).then_some(Part { first_row, global_valid });
        Header { step, valid, seed, training, place, learning_rate, correction1, correction2, part }
    }

    /// A header for evaluating `valid` examples.
    pub fn evaluation(valid: u32) -> Header {
        let (step, seed, learning_rate, correction1, correction2) = (0, 0, 0.0, 1.0, 1.0);
        let (training, place, part) = (false, None, None);
        Header { step, valid, seed, training, place, learning_rate, correction1, correction2, part }
    }
}

/// The most chunks that one operation can bind.
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
    /// The area of the rectangle that [`GATHER_AUGMENTED`] erases in an example.
    pub least: u32,
    pub most: u32,
    /// For [`GATHER_AUGMENTED`].
    pub limits: Limits,
}

impl Params {
    pub(super) fn new([n, h, w, c]: [u32; 4], source: [u32; 2], examples_per_chunk: u32, limits: Limits) -> Params {
        let [source_h, source_w] = source;
        let [least, most] = erasing::areas(h as usize * w as usize);
        Params { n, h, w, c, source_h, source_w, examples_per_chunk, least, most, limits }
    }

    /// Height and width of an image including the pixels around it.
    pub(super) fn padded(&self) -> [u32; 2] {
        [self.source_h, self.source_w].map(|side| side + 2 * self.limits.pad)
    }
}

const HEADER: Operand = whole("header", U32);
const INDICES: Operand = whole("indices", U32);
const IMAGES: [Operand; CHUNKS] =
    [whole("chunk0", U32), whole("chunk1", U32), whole("chunk2", U32), whole("chunk3", U32)];
pub(super) const LABELS: Operand = whole("labels", U32);
pub(super) const X: Operand = per_example("x", F32);

const SOURCE: &str = shader!("prelude/header", "prelude/random", "prelude/index", "batch");

pub(super) static FAMILY: Family = Family { operations: &[&GATHER, &GATHER_AUGMENTED], cases };

/// Gathers and crops.
pub static GATHER: Operation = Operation {
    name: "batch.gather",
    inputs: &[HEADER, INDICES, IMAGES[0], IMAGES[1], IMAGES[2], IMAGES[3]],
    outputs: &[X],
    params: size_of::<Params>(),
    reference: Reference::new(gather_reference, gather_reference),
    cpu: Cpu::new(gather_cpu),
    gpu: &[&Variant::new("batch.gather", SOURCE, "gather", launch)],
};

/// Gathers and augments training examples; evaluation at the centre gets the same bits as from [`GATHER`].
pub static GATHER_AUGMENTED: Operation = Operation {
    name: "batch.gather_augmented",
    inputs: &[HEADER, INDICES, IMAGES[0], IMAGES[1], IMAGES[2], IMAGES[3], LABELS],
    outputs: &[X],
    params: size_of::<Params>(),
    reference: Reference::new(augmentation::reference, augmentation::reference),
    cpu: Cpu::new(augmentation::cpu),
    gpu: &[&Variant::new("batch.gather_augmented", SOURCE, "gather_augmented", |op| {
        let limits = op.params::<Params>().limits;
        // Excluded cases cost nothing; some drivers run both sides of a branch.
        let happens = [("MOVES", limits.moves()), ("BENDS", limits.elastic > 0.0), ("ERASES", limits.erase > 0)];
        launch(op).with(happens.map(|(name, happens)| (name, u32::from(happens))).to_vec())
    })],
};

fn launch(op: &Op) -> Launch {
    let p: Params = op.params();
    Launch::linear(p.n as usize * p.h as usize * (p.w as usize * p.c as usize).div_ceil(4), 64)
}

/// Gathers examples. `batch` is `[N,H,W,C]`, `source` `[SH,SW]` with SH >= H and SW >= W. Every index must be within
/// the chunks. Examples are augmented if `limits` allow any change; only then are the labels read.
#[allow(clippy::too_many_arguments)]
pub fn gather(
    batch: [usize; 4],
    source: [usize; 2],
    examples_per_chunk: usize,
    header: Tensor,
    indices: Tensor,
    labels: Tensor,
    chunks: [Tensor; CHUNKS],
    x: Tensor,
    limits: Limits,
) -> Op {
    assert!(source[0] >= batch[1] && source[1] >= batch[2], "batch.gather: {batch:?} out of {source:?}");
    assert_eq!((x.len, indices.len), (batch.iter().product(), batch[0]), "batch.gather: x, indices");
    assert_eq!(labels.len, batch[0], "batch.gather: labels");
    assert_legal(&limits, batch);
    let params = Params::new(batch.map(word), source.map(word), word(examples_per_chunk), limits);
    let mut inputs = vec![(HEADER, header), (INDICES, indices)];
    inputs.extend(IMAGES.into_iter().zip(chunks));
    let mut op = if limits == Limits::default() {
        Op::new(&GATHER, params, &inputs, &[(X, x)], 2 * x.len)
    } else {
        inputs.push((LABELS, labels));
        Op::new(&GATHER_AUGMENTED, params, &inputs, &[(X, x)], 16 * x.len)
    };
    // Only the batch's own bytes are read, not the whole data set.
    op.work.bytes = 5 * x.len as u64;
    op.in_pieces(1)
}

fn assert_legal(limits: &Limits, batch: [usize; 4]) {
    let Limits { rotation, scale, shear, shift, elastic, pad, erase, .. } = *limits;
    let angles = (0.0..=MAX_ANGLE).contains(&rotation) && (0.0..=MAX_ANGLE / 2.0).contains(&shear);
    let finite = [shift, elastic].iter().all(|pixels| *pixels >= 0.0 && pixels.is_finite());
    let erasable = erase == 0 || erase <= Limits::ALL && batch[1] * batch[2] <= erasing::MAX_PIXELS;
    // A padded side fits the shader's signed integers with a margin.
    let legal = angles && finite && (0.0..1.0).contains(&scale) && erasable && pad < 1 << 24;
    assert!(legal, "batch.gather: {limits:?}");
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

/// The upper left corner of example `n`'s crop, relative to that of the padded image.
pub(super) fn crop(p: &Params, header: &Header, n: usize) -> (usize, usize) {
    let [height, width] = p.padded();
    let (spare_y, spare_x) = (height - p.h, width - p.w);
    if header.training {
        let [y, x, _] = pcg3d([header.seed, header.step, header.row(n)]);
        return ((y % (spare_y + 1)) as usize, (x % (spare_x + 1)) as usize);
    }
    let centre = ((spare_y / 2) as usize, (spare_x / 2) as usize);
    header.place.map_or(centre, |place| (place.row.into(), place.column.into()))
}

/// The source of a batch.
#[derive(Debug)]
pub(super) struct Source<'a> {
    pub header: Header,
    pub indices: &'a [u32],
    /// Images, four bytes to a word.
    pub chunks: [&'a [u32]; CHUNKS],
}

impl<'a> Source<'a> {
    pub fn of<S: Scalar>(args: &Args<'a, S>) -> Source<'a> {
        let chunks = IMAGES.map(|chunk| args.words(chunk));
        Source { header: args.header(HEADER), indices: args.words(INDICES), chunks }
    }

    /// Whether row `n` of the batch has an example.
    pub fn has(&self, n: usize) -> bool {
        n < self.header.valid as usize
    }

    /// The chunk of row `n`'s example, and the example's first byte in it.
    #[inline(always)]
    pub fn bytes(&self, p: &Params, n: usize) -> (&'a [u32], usize) {
        let (per, index) = (p.examples_per_chunk as usize, self.indices[n] as usize);
        (self.chunks[index / per], index % per * (p.source_h * p.source_w * p.c) as usize)
    }
}

/// Passes each value of example `n`, which must be valid, and its byte, which is 0 outside the image.
pub(super) fn copy_example<S: Scalar>(
    p: &Params,
    source: &Source<'_>,
    n: usize,
    mirrored: bool,
    x: &mut [S],
    value: impl Fn(u32) -> S,
) {
    let (dy, dx) = crop(p, &source.header, n);
    let (words, first) = source.bytes(p, n);
    let (w, c, pad) = (p.w as usize, p.c as usize, p.limits.pad as usize);
    for (i, x) in x.iter_mut().enumerate() {
        let (y, column, channel) = (i / (w * c), i / c % w, i % c);
        let column = if mirrored { w - 1 - column } else { column };
        // Before the first row or column this wraps around, to a value far beyond the last.
        let (row, column) = ((y + dy).wrapping_sub(pad), (column + dx).wrapping_sub(pad));
        let inside = row < p.source_h as usize && column < p.source_w as usize;
        *x = value(if inside {
            let byte = first + (row * p.source_w as usize + column) * c + channel;
            words[byte / 4] >> (8 * (byte % 4)) & 255
        } else {
            0
        });
    }
}

fn gather_reference<S: Scalar>(args: &mut Args<'_, S>) {
    let p: Params = args.params();
    let source = Source::of(args);
    for (n, x) in args.out(X).chunks_exact_mut((p.h * p.w * p.c) as usize).enumerate() {
        if source.has(n) {
            copy_example(&p, &source, n, false, x, |v| S::of(f64::from(v) / 255.0 - 0.5));
        } else {
            x.fill(S::of(0.0));
        }
    }
}

fn gather_cpu(args: &mut Args<'_, f32>) {
    let p: Params = args.params();
    let source = Source::of(args);
    let (first, examples) = (args.first_example(), args.out(X).par_chunks_exact_mut((p.h * p.w * p.c) as usize));
    examples.with_min_len(args.least_items()).enumerate().for_each(|(i, x)| {
        let n = first + i;
        if !source.has(n) {
            x.fill(0.0);
        } else if cfg!(target_endian = "little") {
            // The lowest byte of a word comes first, as on these processors.
            copy_lines(&p, &source, n, x);
        } else {
            copy_example(&p, &source, n, false, x, normalised);
        }
    });
}

#[inline(always)]
fn normalised(byte: u32) -> f32 {
    byte as f32 / 255.0 - 0.5
}

/// Does the same as [`copy_example`], a line of bytes at a time, without mirroring and without pixels around the image.
#[multiversion(targets("x86_64+avx2+fma"))]
pub(super) fn copy_lines(p: &Params, source: &Source<'_>, n: usize, x: &mut [f32]) {
    let (dy, dx) = crop(p, &source.header, n);
    let (words, first) = source.bytes(p, n);
    let (bytes, c) = (&bytemuck::cast_slice::<u32, u8>(words)[first..], p.c as usize);
    let row = p.w as usize * c;
    for (y, x) in x.chunks_exact_mut(row).enumerate() {
        let line = (y + dy) * p.source_w as usize + dx;
        for (x, byte) in x.iter_mut().zip(&bytes[line * c..][..row]) {
            *x = normalised(u32::from(*byte));
        }
    }
}

/// Does the same with pixels around the image.
#[multiversion(targets("x86_64+avx2+fma"))]
pub(super) fn copy_padded(p: &Params, source: &Source<'_>, n: usize, x: &mut [f32]) {
    let (dy, dx) = crop(p, &source.header, n);
    let (words, first) = source.bytes(p, n);
    let (bytes, c) = (&bytemuck::cast_slice::<u32, u8>(words)[first..], p.c as usize);
    let [h, w, source_h, source_w, pad] = [p.h, p.w, p.source_h, p.source_w, p.limits.pad].map(|v| v as usize);
    // Rows and columns of x that are inside the image.
    let inside = |at: usize, side: usize, source: usize| {
        let start = pad.saturating_sub(at).min(side);
        start..(source + pad).saturating_sub(at).clamp(start, side)
    };
    let (rows, columns) = (inside(dy, h, source_h), inside(dx, w, source_w));
    x.fill(normalised(0));
    if columns.is_empty() {
        return;
    }
    for (y, x) in x.chunks_exact_mut(w * c).enumerate().take(rows.end).skip(rows.start) {
        let line = (y + dy - pad) * source_w + columns.start + dx - pad;
        let x = &mut x[columns.start * c..columns.end * c];
        for (x, byte) in x.iter_mut().zip(&bytes[line * c..]) {
            *x = normalised(u32::from(*byte));
        }
    }
}

/// The shape `[N,H,W,C]`, the size of the images, the examples in a chunk, and the valid ones.
type Shape = ([usize; 4], [usize; 2], usize, u32);

/// A batch for training, or for evaluating the crop at this place.
fn case(shape: Shape, limits: Limits, training: bool, place: Option<Place>) -> Case {
    let header = Header { step: 41, seed: 7, training, place, ..Header::evaluation(shape.3) };
    case_of(shape, limits, header)
}

fn case_of((batch, source, per_chunk, valid): Shape, limits: Limits, header: Header) -> Case {
    let mut b = CaseBuilder::default();
    let (training, place, part) = (header.training, header.place, header.part);
    let header = b.header(header);
    let indices = (0..batch[0] as u32).map(|i| i.wrapping_mul(2_654_435_761) % (4 * per_chunk as u32));
    let indices = b.words(indices.collect());
    let labels = b.words((0..batch[0] as u32).map(|i| i * 7 % 256).collect());
    let words = (per_chunk * source[0] * source[1] * batch[3]).div_ceil(4);
    let chunks = [0; 4].map(|_| b.random_words(words));
    let x = b.out(batch.iter().product());
    let op = gather(batch, source, per_chunk, header, indices, labels, chunks, x, limits);
    let crop = match place {
        None => if training { " random crop" } else { "" }.to_string(),
        Some(Place { row, column, mirrored }) => {
            format!(" at {row}, {column}{}", if mirrored { " mirrored" } else { "" })
        }
    };
    let Limits { rotation, scale, elastic, pad, erase, flip, .. } = limits;
    let mut shape = format!("{batch:?} of {source:?} valid {valid}{crop}");
    // Bytes and places are exact; the division may be off by 2.5 ULP before the subtraction.
    let mut tolerance = Tolerance { atol: 2e-7, rtol: 0.0 };
    if limits.moves() {
        // Rounding errors of coordinates multiplied by noise: neighbouring pixels differ by up to 1.
        let pixels = (source[0] + source[1] + 4 * pad as usize) as f64 + 2.0 * f64::from(elastic);
        tolerance.atol = 1e-6 * pixels / f64::from(1.0 - scale);
        shape += &format!(" up to {rotation} rad, bent by {elastic}");
    }
    if pad > 0 || erase > 0 || flip != [0; 8] {
        shape += &format!(" pad {pad} erase {erase:#x} flip {:#x}", flip[0]);
    }
    if let Some(Part { first_row, global_valid }) = part {
        shape += &format!(" from row {first_row} of {global_valid}");
    }
    b.case(shape, op, tolerance)
}

fn cases() -> Vec<Case> {
    let still = Limits::default();
    let moving = Limits { rotation: 0.3, scale: 0.2, shear: 0.2, shift: 2.5, ..still };
    let bending = Limits { elastic: 4.0, ..moving };
    let widest =
        Limits { rotation: MAX_ANGLE, scale: 0.9, shear: MAX_ANGLE / 2.0, shift: 28.0, elastic: 28.0, ..still };
    // Some classes of every word of the mask may be mirrored.
    let flip = [0x5555_5555, 0xffff_0000, 1, 0x8000_0000, 0xf0f0_f0f0, 0, 0xffff_ffff, 0x0000_ff0f];
    let (padded, mirrored) = (Limits { pad: 3, ..still }, Limits { flip, ..still });
    let erased = Limits { erase: Limits::ALL / 2, ..still };
    let all = Limits { pad: 2, flip, erase: Limits::ALL, ..bending };
    let variations = [still, moving, bending, widest, padded, mirrored, erased, all];
    let shapes: [(Shape, bool); 8] = [
        (([1, 1, 1, 1], [1, 1], 8, 1), false),
        (([20, 24, 24, 1], [28, 28], 16, 20), true),
        (([20, 24, 24, 1], [28, 28], 16, 13), true),
        (([7, 24, 24, 1], [28, 28], 16, 7), false),
        (([3, 5, 7, 3], [6, 11], 4, 2), true),
        (([4, 9, 5, 2], [9, 5], 4, 4), true),
        (([5, 3, 2, 3], [4, 5], 12, 5), false),
        (([70, 29, 29, 1], [31, 30], 4, 69), true),
    ];
    let mut cases: Vec<Case> = Vec::new();
    for (shape, training) in shapes {
        cases.extend(variations.map(|limits| case(shape, limits, training, None)));
    }
    // Long and narrow ones, in which a rectangle must be reduced; and a single pixel, which is erased as a whole.
    for batch in [[300, 2, 40, 1], [300, 17, 3, 2], [9, 1, 1, 1]] {
        let shape = (batch, [batch[1], batch[2]], 80, batch[0] as u32);
        cases.push(case(shape, Limits { erase: Limits::ALL, ..still }, true, None));
    }
    // More padding than image.
    cases.push(case(([40, 4, 3, 2], [4, 3], 12, 40), Limits { pad: 9, ..mirrored }, true, None));
    for (row, column, turned) in [(0, 0, false), (5, 9, true), (7, 0, true), (3, 4, false)] {
        let place = Some(Place { row, column, mirrored: turned });
        cases.push(case(([5, 5, 8, 3], [6, 11], 4, 4), all, false, place));
    }
    for (row, column) in [(0, 0), (1, 3), (0, 2)] {
        let place = Some(Place { row, column, mirrored: false });
        cases.push(case(([5, 5, 8, 3], [6, 11], 4, 4), still, false, place));
    }
    // A part of a batch.
    let shape = ([20, 24, 24, 1], [28, 28], 16, 13);
    let part = Some(Part { first_row: 27, global_valid: 41 });
    let header = Header { step: 41, seed: 7, training: true, part, ..Header::evaluation(shape.3) };
    cases.extend([still, moving, bending, mirrored, erased, all].map(|limits| case_of(shape, limits, header)));
    // Rows and columns of fifteen bits, with every other bit set.
    for (source, row, column) in [([21_850, 3], 0x5555, 1), ([3, 21_850], 1, 0x5555)] {
        for limits in [still, mirrored] {
            let place = Some(Place { row, column, mirrored: limits != still });
            cases.push(case(([2, 2, 2, 1], source, 2, 2), limits, false, place));
        }
    }
    also_split(cases, &["[20, 24, 24, 1] of [28, 28] valid 13"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_comes_back_from_its_words() {
        let whole = Header { step: 3, seed: 4, training: true, learning_rate: 0.5, ..Header::evaluation(7) };
        let place = Some(Place { row: 2, column: 1, mirrored: true });
        let parts = [(0, 9), (2, 9), (2, 7)].map(|(first_row, global_valid)| Part { first_row, global_valid });
        let parts = parts.map(|part| Header { part: Some(part), ..whole });
        for header in [whole, Header { place, ..whole }].into_iter().chain(parts) {
            assert_eq!(Header::read(&header.words()), header);
        }
        // A part with the whole batch has the same words as no part.
        let all = Part { first_row: 0, global_valid: 7 };
        assert_eq!(Header { part: Some(all), ..whole }.words(), whole.words());
    }

    /// The number of crops at each corner from 0 to 4, in 25,000 draws: 1,000 each, σ about 31.
    fn assert_even(p: &Params) {
        let mut counts = [[0u32; 5]; 5];
        for step in 0..2500 {
            let header = Header { step, seed: 3, training: true, ..Header::evaluation(10) };
            for n in 0..10 {
                let (y, x) = crop(p, &header, n);
                counts[y][x] += 1;
            }
        }
        assert!(counts.iter().flatten().all(|c| (850..1150).contains(c)), "{counts:?}");
    }

    #[test]
    fn random_crops_reach_every_corner_evenly() {
        assert_even(&Params::new([1, 24, 24, 1], [28, 28], 4, Limits::default()));
    }

    #[test]
    fn crops_reach_every_corner_of_the_pixels_around_the_image_evenly() {
        assert_even(&Params::new([1, 28, 28, 1], [28, 28], 4, Limits { pad: 2, ..Limits::default() }));
        assert_even(&Params::new([1, 26, 24, 1], [28, 26], 4, Limits { pad: 1, ..Limits::default() }));
    }

    #[test]
    fn evaluation_crops_in_the_centre_or_where_it_is_told() {
        let p = Params::new([1, 20, 24, 1], [28, 29], 4, Limits { pad: 3, ..Limits::default() });
        let at = |place: Option<Place>| crop(&p, &Header { place, ..Header::evaluation(1) }, 0);
        assert_eq!(at(None), (7, 5));
        for (row, column) in [(0, 0), (14, 11), (0, 11), (Place::MOST, 0)] {
            let places = [false, true].map(|mirrored| Some(Place { row, column, mirrored }));
            assert_eq!(places.map(at), [(usize::from(row), usize::from(column)); 2]);
        }
    }
}
