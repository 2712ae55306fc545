//! The matrix product c `[M,N]` = a `[M,K]` * b `[K,N]`, an operation of this bench, with its kernels and cases.

use glassnet::kernels::case::{CaseBuilder, Tolerance};
use glassnet::kernels::{
    Args, Case, Element::F32, Launch, Op, Operand, Operation, Reference, Scalar, Texture, Variant, whole,
};

#[repr(C)]
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    m: u32,
    n: u32,
    k: u32,
    reserved: u32,
}

const A: Operand = whole("a", F32);
const B: Operand = whole("b", F32);
const C: Operand = whole("c", F32);

/// The product c = a*b.
pub static PRODUCT: Operation = Operation {
    name: "matmul.product",
    inputs: &[A, B],
    outputs: &[C],
    params: size_of::<Params>(),
    reference: Reference::new(matmul_reference, matmul_reference),
    cpu: None,
    gpu: &[
        &REGISTERS.textured(
            "matmul.registers_textures",
            concat!(
                include_str!("../../shaders/prelude/texel.wgsl"),
                include_str!("textures.wgsl"),
                include_str!("registers.wgsl")
            ),
            &[Texture::vectors(A), Texture::vectors(B)],
        ),
        &REGISTERS,
        &TILES64,
        &TILES128,
    ],
};

/// Blocks of 16 x 8 per invocation, only in registers.
const REGISTERS: Variant = Variant {
    condition: |op, _| divides(op, REGISTER_BLOCK),
    ..Variant::new(
        "matmul.registers",
        concat!(include_str!("buffers.wgsl"), include_str!("registers.wgsl")),
        "registers",
        |op| {
            let [across, down] = blocks(op, REGISTER_BLOCK);
            Launch::of([(across * down).div_ceil(64), 1, 1])
        },
    )
};

/// Tiles of 64 x 64 per workgroup, in workgroup memory.
const TILES64: Variant = Variant {
    condition: |op, _| divides(op, TILE64),
    ..Variant::new("matmul.tiles64", include_str!("tiles.wgsl"), "tiles64", |op| {
        let [across, down] = blocks(op, TILE64);
        Launch::of([across, down, 1])
    })
    .in_workgroups_of(256)
};

/// Tiles of 128 x 128 per workgroup, in workgroup memory.
const TILES128: Variant = Variant {
    condition: |op, _| divides(op, TILE128),
    ..Variant::new("matmul.tiles128", include_str!("tiles.wgsl"), "tiles128", |op| {
        let [across, down] = blocks(op, TILE128);
        Launch::of([across, down, 1])
    })
    .in_workgroups_of(256)
};

/// The numbers that M, N and K must be multiples of.
const REGISTER_BLOCK: [u32; 3] = [16, 8, 4];
const TILE64: [u32; 3] = [64, 64, 32];
const TILE128: [u32; 3] = [128, 128, 16];

fn divides(op: &Op, block: [u32; 3]) -> bool {
    let p: Params = op.params();
    [p.m, p.n, p.k].into_iter().zip(block).all(|(size, by)| size.is_multiple_of(by))
}

/// The number of blocks of c in each row, and in each column.
fn blocks(op: &Op, [by_m, by_n, _]: [u32; 3]) -> [u32; 2] {
    let p: Params = op.params();
    [p.n / by_n, p.m / by_m]
}

/// A product of random matrices with sizes M, N and K, for checks and timing.
pub fn case([m, n, k]: [usize; 3]) -> Case {
    assert!(m * n * k > 0, "matmul: {:?}", [m, n, k]);
    let mut builder = CaseBuilder::default();
    let (a, b, c) = (builder.real(m * k), builder.real(k * n), builder.out(m * n));
    let [m32, n32, k32] = [m, n, k].map(|size| size as u32);
    let params = Params { m: m32, n: n32, k: k32, reserved: 0 };
    let op = Op::new(&PRODUCT, params, &[(A, a), (B, b)], &[(C, c)], 2 * m as u64 * n as u64 * k as u64);
    builder.case(format_args!("[{m}, {k}] * [{k}, {n}]"), op, Tolerance::sum(k, 1.0))
}

/// For every kernel: one block; a different number of several blocks in each direction; several tiles along K, and an
/// odd number of them.
pub fn cases() -> Vec<Case> {
    let shapes =
        |[m, n, k]: [usize; 3]| [[m, n, k], [2 * m, 3 * n, 5 * k], [3 * m, n, 2 * k], [m, 2 * n, 3 * k]].map(case);
    let blocks = [REGISTER_BLOCK, TILE64, TILE128].map(|block| block.map(|size| size as usize));
    let mut cases: Vec<Case> = blocks.into_iter().flat_map(shapes).collect();
    // More than one row of a texture.
    cases.push(case([16, 8, 2052]));
    cases
}

fn matmul_reference<S: Scalar>(args: &mut Args<'_, S>) {
    let p: Params = args.params();
    let [n, k] = [p.n, p.k].map(|size| size as usize);
    let (a, b) = (args.real(A), args.real(B));
    for (i, c) in args.out(C).iter_mut().enumerate() {
        let (row, column) = (i / n, i % n);
        *c = S::of((0..k).map(|j| a[row * k + j].get() * b[j * n + column].get()).sum());
    }
}
