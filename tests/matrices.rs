//! Kernels that multiply by cooperative matrices: on the test adapter with matrices that are emulated, and on their own
//! where the adapter has such matrices.

mod common;

use common::emulated::{USUAL, emulated};
use glassnet::exec::gpu::{Choice, Gpu, RuntimeChecks};
use glassnet::exec::{Device, check::run_case};
use glassnet::kernels::case::{CaseBuilder, Tolerance};
use glassnet::kernels::{self, Adapter, BufferId, Case, Factor, Matrices, Op, Variant, conv};
use glassnet::program::Program;

/// The kernels with cooperative matrices, and the cases of each.
fn kernels() -> Vec<(&'static Variant, Vec<Case>)> {
    let cases = kernels::cases();
    let by_matrices = kernels::variants().filter(|(_, variant)| variant.matrices.is_some());
    let with_cases = by_matrices.map(|(operation, variant)| {
        let adapter = Adapter { matrices: variant.matrices, ..Adapter::HARDWARE };
        let takes = |case: &&Case| std::ptr::eq(case.op.operation, operation) && variant.fits(&case.op, adapter);
        (variant, cases.iter().filter(takes).cloned().collect())
    });
    with_cases.collect()
}

/// Runs a case with a variant; a failure is a text.
fn failure(device: &Device, case: &Case, variant: &'static Variant) -> Option<String> {
    let case = Case { op: Op { variant: Some(variant), ..case.op.clone() }, ..case.clone() };
    let outcomes = pollster::block_on(run_case(device, &case)).expect("the device runs");
    let failed = outcomes.into_iter().find_map(|outcome| outcome.failure);
    failed.map(|problem| format!("{} of {}: {problem}", variant.name, case.name))
}

/// Runs these cases of the kernels with `matrices`, emulated for subgroups of this size.
fn check_emulated(matrices: Matrices, subgroup: u32, choose: impl Fn(usize) -> bool) {
    let Some(gpu) = common::gpu() else { return };
    let device = Device::Gpu(gpu);
    let (mut count, mut failures) = (0, Vec::new());
    for (variant, cases) in kernels().into_iter().filter(|(variant, _)| variant.matrices == Some(matrices)) {
        let variant = emulated(variant, subgroup);
        let chosen: Vec<Case> = (0..).zip(cases).filter(|(i, _)| choose(*i)).map(|(_, case)| case).collect();
        assert!(!chosen.is_empty(), "{}", variant.name);
        failures.extend(chosen.iter().filter_map(|case| failure(&device, case, variant)));
        count += chosen.len();
    }
    assert!(failures.is_empty(), "{} of {count} cases fail:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn kernels_with_matrices_of_16_agree_with_the_reference_on_every_case() {
    check_emulated(Matrices::F16_16, USUAL, |_| true);
}

#[test]
fn kernels_with_matrices_of_8_agree_with_the_reference_on_every_case() {
    check_emulated(Matrices::F16_8, USUAL, |_| true);
}

/// Their texts are those with f16 except for the first lines.
#[test]
fn kernels_with_matrices_in_f32_agree_with_the_reference() {
    check_emulated(Matrices::F32_8, USUAL, |i| i.is_multiple_of(8));
}

/// One subgroup for all strips, fewer subgroups than strips, and more.
#[test]
fn the_size_of_subgroups_does_not_matter() {
    for (subgroup, offset) in [(128, 0), (64, 3), (16, 5), (8, 7)] {
        for matrices in [Matrices::F16_16, Matrices::F16_8] {
            check_emulated(matrices, subgroup, |i| i % 9 == offset);
        }
    }
}

/// One row of y = x * identity: each of these x in one of eight channels, alone in its pixel.
fn passed(device: &Device, variant: &'static Variant, values: &[f32]) -> Vec<f32> {
    let (count, mut b) = (values.len(), CaseBuilder::default());
    let at = |pixel: usize| 8 * pixel + pixel % 8;
    let mut x = vec![0.0; 8 * count];
    values.iter().enumerate().for_each(|(pixel, value)| x[at(pixel)] = *value);
    let identity = (0..64).map(|i| if i % 9 == 0 { 1.0 } else { 0.0 }).collect();
    let p = conv::Params::new([1, 1, count, 8], 8, [1, 1], [1, 1], [0, 0]);
    let (input, weight, bias) = (b.reals(x.clone()), b.reals(identity), b.reals(vec![0.0; 8]));
    let output = b.out(8 * count);
    let mut case = b.case("identity", conv::forward(p, input, weight, bias, output), Tolerance::EXACT);
    case.op.variant = Some(variant);
    pollster::block_on(async {
        let mut executor = device.executor(Program::of_case(&case, None, None)).await.expect("it starts");
        for (i, words) in
            [x, case.contents(1).into_iter().map(f32::from_bits).collect(), vec![0.0; 8]].iter().enumerate()
        {
            executor.write(BufferId(i as u32), bytemuck::cast_slice(words)).expect("it is written");
        }
        executor.run(0..1).expect("it runs");
        let y = executor.read(BufferId(3)).await.expect("it is read");
        (0..count).map(|pixel| f32::from_bits(y[at(pixel)])).collect()
    })
}

#[test]
fn factors_are_rounded_to_f16_and_what_is_beyond_is_cut_but_what_is_not_finite_stays() {
    let Some(gpu) = common::gpu() else { return };
    let device = Device::Gpu(gpu);
    let inf = f32::INFINITY;
    let values = [1.0, 0.1, 65504.0, 70000.0, -1e30, inf, -inf, f32::NAN, 1e-3, -0.3333];
    for (variant, _) in kernels().into_iter().filter(|(variant, _)| variant.name.contains(".forward_f")) {
        let y = passed(&device, emulated(variant, USUAL), &values);
        let is_near = |(got, want): (&f32, &f32)| {
            let cut =
                if variant.factor() == Factor::F16 && want.is_finite() { want.clamp(-65504.0, 65504.0) } else { *want };
            // Up or down to the next value with 11 bits.
            let off = if variant.factor() == Factor::F16 { cut.abs() / 1024.0 } else { 0.0 };
            got.total_cmp(&cut).is_eq() || (got.is_nan() && cut.is_nan()) || (got - cut).abs() <= off
        };
        assert!(y.iter().zip(&values).all(is_near), "{}: {y:?} of {values:?}", variant.name);
    }
}

/// Not a test on a device without cooperative matrices, which is most software drivers.
#[test]
fn kernels_agree_with_the_reference_with_the_adapters_own_matrices() {
    let Some(gpu) = common::gpu() else { return };
    let own: Vec<_> = gpu.summary().precisions.iter().copied().filter(|one| one.factor().is_some()).collect();
    if own.is_empty() {
        common::skipped("the adapter has no cooperative matrices; emulated ones are tested");
    }
    for precision in own {
        let gpu = pollster::block_on(Gpu::open(&Choice::Any, RuntimeChecks::On, precision)).expect("it opens");
        let matrices = gpu.adapter().matrices;
        let device = Device::Gpu(gpu);
        let own = kernels().into_iter().filter(|(variant, _)| variant.matrices == matrices);
        let failures: Vec<String> = own
            .flat_map(|(variant, cases)| cases.into_iter().map(move |case| (variant, case)))
            .filter_map(|(variant, case)| failure(&device, &case, variant))
            .collect();
        assert!(failures.is_empty(), "{precision}: {}", failures.join("\n"));
    }
}
