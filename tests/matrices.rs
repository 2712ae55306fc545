//! Kernels that multiply by cooperative matrices: on the test adapter with matrices that are emulated, and on their own
//! where the adapter has such matrices.

mod common;

use common::emulated::{USUAL, emulated};
use glassnet::exec::gpu::{Choice, Gpu, RuntimeChecks};
use glassnet::exec::{Device, check::run_case};
use glassnet::kernels::{self, Adapter, Case, Factor, Matrices, Op, Precision, Variant};

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
