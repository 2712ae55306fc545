//! Matrix product, c `[M,N]` = a `[M,K]` * b `[K,N]`; `shaders/matmul.wgsl`. No network uses it: `cargo bench --bench
//! matmul` measures the convolutions by it.

use super::case::{CaseBuilder, Tolerance};
use super::op::word;
use super::product::{product_tasks, row_major};
use super::{Args, Case, Element::F32, Kernel, Op, Reference, Scalar, Tensor, Texture};

#[repr(C)]
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Params {
    pub m: u32,
    pub n: u32,
    pub k: u32,
    pub reserved: u32,
}

/// How c is cut into blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blocking {
    /// 16 x 8 an invocation, in registers alone: for software adapters.
    Registers,
    /// 64 x 64 a workgroup, through workgroup memory.
    Tiles64,
    /// 128 x 128 a workgroup, through workgroup memory.
    Tiles128,
}

const SOURCE: &str = include_str!("../../shaders/matmul.wgsl");

/// Inputs: a, b. Outputs: c.
pub static REGISTERS: Kernel = Kernel {
    name: "matmul.registers",
    entry: "registers",
    textures: &[Texture::vectors(0), Texture::vectors(1)],
    workgroup: 64,
    ..SIGNATURE
};

/// Inputs: a, b. Outputs: c.
pub static TILES64: Kernel = Kernel { name: "matmul.tiles64", entry: "tiles64", ..SIGNATURE };

/// Inputs: a, b. Outputs: c.
pub static TILES128: Kernel = SIGNATURE;

const SIGNATURE: Kernel = Kernel {
    name: "matmul.tiles128",
    source: SOURCE,
    entry: "tiles128",
    inputs: &[F32, F32],
    outputs: &[F32],
    textures: &[],
    params: size_of::<Params>(),
    workgroup: 256,
    reference: Reference { single: matmul_reference, double: matmul_reference },
    cpu: Some(matmul_cpu),
};

impl Blocking {
    pub const ALL: [Blocking; 3] = [Blocking::Registers, Blocking::Tiles64, Blocking::Tiles128];

    pub fn kernel(self) -> &'static Kernel {
        match self {
            Blocking::Registers => &REGISTERS,
            Blocking::Tiles64 => &TILES64,
            Blocking::Tiles128 => &TILES128,
        }
    }

    /// What M, N and K must be multiples of.
    pub fn multiples(self) -> [usize; 3] {
        match self {
            Blocking::Registers => [16, 8, 4],
            Blocking::Tiles64 => [64, 64, 32],
            Blocking::Tiles128 => [128, 128, 16],
        }
    }
}

pub fn matmul(blocking: Blocking, [m, n, k]: [usize; 3], a: Tensor, b: Tensor, c: Tensor) -> Op {
    let kernel = blocking.kernel();
    assert_eq!((a.len, b.len, c.len), (m * k, k * n, m * n), "{}: a, b, c of {:?}", kernel.name, [m, n, k]);
    let [by_m, by_n, by_k] = blocking.multiples();
    let fits = m.is_multiple_of(by_m) && n.is_multiple_of(by_n) && k.is_multiple_of(by_k) && m * n * k > 0;
    assert!(fits, "{}: M, N, K of {:?} are no multiples of {:?}", kernel.name, [m, n, k], blocking.multiples());
    let (across, down) = (word(n / by_n), word(m / by_m));
    let groups = match blocking {
        Blocking::Registers => [(across * down).div_ceil(kernel.workgroup), 1, 1],
        Blocking::Tiles64 | Blocking::Tiles128 => [across, down, 1],
    };
    let p = Params { m: word(m), n: word(n), k: word(k), reserved: 0 };
    Op::new(kernel, p, &[a, b], &[c], groups, 2 * m as u64 * n as u64 * k as u64)
}

/// A product with random matrices: to be checked, and to be timed.
pub fn case(blocking: Blocking, sizes: [usize; 3]) -> Case {
    let [m, n, k] = sizes;
    let mut builder = CaseBuilder::default();
    let (a, b, c) = (builder.real(m * k), builder.real(k * n), builder.out(m * n));
    let shape = format!("[{m}, {k}] * [{k}, {n}]");
    builder.case(shape, matmul(blocking, sizes, a, b, c), Tolerance::sum(k, 1.0))
}

fn sizes<S: Scalar>(args: &Args<'_, S>) -> [usize; 3] {
    let p: Params = args.params();
    [p.m, p.n, p.k].map(|size| size as usize)
}

fn matmul_reference<S: Scalar>(args: &mut Args<'_, S>) {
    let [_, n, k] = sizes(args);
    let (a, b) = (args.real(0), args.real(1));
    for (i, c) in args.out(0).iter_mut().enumerate() {
        let (row, column) = (i / n, i % n);
        *c = S::of((0..k).map(|j| a[row * k + j].get() * b[j * n + column].get()).sum());
    }
}

fn matmul_cpu(args: &mut Args<'_, f32>) {
    let [m, n, k] = sizes(args);
    product_tasks([m, k, n], row_major(args.real(0), k), row_major(args.real(1), n), args.out(0), false);
}

pub fn cases() -> Vec<Case> {
    // One block; several in each direction, and all different; several tiles along K, and an odd number of them.
    let shapes = |blocking: Blocking| {
        let [m, n, k] = blocking.multiples();
        [[m, n, k], [2 * m, 3 * n, 5 * k], [3 * m, n, 2 * k], [m, 2 * n, 3 * k]].map(|sizes| case(blocking, sizes))
    };
    let mut cases: Vec<Case> = Blocking::ALL.into_iter().flat_map(shapes).collect();
    // More than one row of a texture.
    cases.push(case(Blocking::Registers, [16, 8, 2052]));
    cases
}
