//! Matrix product, c `[M,N]` = a `[M,K]` * b `[K,N]`; `shaders/matmul.wgsl`. No network uses it: `cargo bench --bench
//! matmul` measures the convolutions by it.

use super::case::{CaseBuilder, Tolerance};
use super::op::word;
use super::product::{product_tasks, row_major};
use super::{
    Args, Case, Cpu, Element::F32, Launch, Op, Operand, Operation, Reference, Scalar, Tensor, Texture, Variant, whole,
};

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

const SOURCE: &str = shader!("prelude/textures", "matmul");

const A: Operand = whole("a", F32);
const B: Operand = whole("b", F32);
const C: Operand = whole("c", F32);

/// c = a*b.
pub static PRODUCT: Operation = Operation {
    name: "matmul.product",
    inputs: &[A, B],
    outputs: &[C],
    params: size_of::<Params>(),
    reference: Reference::new(matmul_reference, matmul_reference),
    cpu: Cpu::new(matmul_cpu),
    gpu: &[&REGISTERS, &TILES64, &TILES128],
};

static REGISTERS: Variant = Variant {
    textures: &[Texture::vectors(A), Texture::vectors(B)],
    fits: |op| Blocking::Registers.fits(op),
    ..Variant::new("matmul.registers", SOURCE, "registers", |op| {
        let [across, down] = Blocking::Registers.blocks(op);
        Launch::of([(across * down).div_ceil(64), 1, 1])
    })
};

static TILES64: Variant = Variant {
    workgroup: 256,
    fits: |op| Blocking::Tiles64.fits(op),
    ..Variant::new("matmul.tiles64", SOURCE, "tiles64", |op| {
        let [across, down] = Blocking::Tiles64.blocks(op);
        Launch::of([across, down, 1])
    })
};

static TILES128: Variant = Variant {
    workgroup: 256,
    fits: |op| Blocking::Tiles128.fits(op),
    ..Variant::new("matmul.tiles128", SOURCE, "tiles128", |op| {
        let [across, down] = Blocking::Tiles128.blocks(op);
        Launch::of([across, down, 1])
    })
};

impl Blocking {
    pub const ALL: [Blocking; 3] = [Blocking::Registers, Blocking::Tiles64, Blocking::Tiles128];

    pub fn variant(self) -> &'static Variant {
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

    fn fits(self, op: &Op) -> bool {
        let p: Params = op.params();
        [p.m, p.n, p.k].into_iter().zip(self.multiples()).all(|(size, by)| (size as usize).is_multiple_of(by))
    }

    /// Blocks of c across and down.
    fn blocks(self, op: &Op) -> [u32; 2] {
        let (p, [by_m, by_n, _]): (Params, _) = (op.params(), self.multiples());
        [p.n / word(by_n), p.m / word(by_m)]
    }
}

/// A product by one way of cutting c.
pub fn matmul(blocking: Blocking, [m, n, k]: [usize; 3], a: Tensor, b: Tensor, c: Tensor) -> Op {
    assert_eq!((a.len, b.len, c.len), (m * k, k * n, m * n), "matmul: a, b, c of {:?}", [m, n, k]);
    assert!(m * n * k > 0, "matmul: {:?}", [m, n, k]);
    let p = Params { m: word(m), n: word(n), k: word(k), reserved: 0 };
    let flops = 2 * m as u64 * n as u64 * k as u64;
    let op = Op::new(&PRODUCT, p, &[(A, a), (B, b)], &[(C, c)], flops);
    assert!(blocking.fits(&op), "{:?} are no multiples of {:?}", [m, n, k], blocking.multiples());
    Op { variant: Some(blocking.variant()), ..op }
}

/// A product with random matrices: to be checked, and to be timed.
pub fn case(blocking: Blocking, sizes: [usize; 3]) -> Case {
    let [m, n, k] = sizes;
    let mut builder = CaseBuilder::default();
    let (a, b, c) = (builder.real(m * k), builder.real(k * n), builder.out(m * n));
    let shape = format!("[{m}, {k}] * [{k}, {n}] by {blocking:?}");
    builder.case(shape, matmul(blocking, sizes, a, b, c), Tolerance::sum(k, 1.0))
}

fn sizes<S: Scalar>(args: &Args<'_, S>) -> [usize; 3] {
    let p: Params = args.params();
    [p.m, p.n, p.k].map(|size| size as usize)
}

fn matmul_reference<S: Scalar>(args: &mut Args<'_, S>) {
    let [_, n, k] = sizes(args);
    let (a, b) = (args.real(A), args.real(B));
    for (i, c) in args.out(C).iter_mut().enumerate() {
        let (row, column) = (i / n, i % n);
        *c = S::of((0..k).map(|j| a[row * k + j].get() * b[j * n + column].get()).sum());
    }
}

fn matmul_cpu(args: &mut Args<'_, f32>) {
    let [m, n, k] = sizes(args);
    product_tasks([m, k, n], row_major(args.real(A), k), row_major(args.real(B), n), args.out(C), false);
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
