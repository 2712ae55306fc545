//! Compares every case of every operation with the reference: on the CPU executor, and with every variant of a GPU in
//! every way of compiling it.

mod common;

use glassnet::exec::{Device, check::run_case};
use glassnet::kernels::{self, Adapter, Variant};

fn check_all(device: &Device) {
    let mut failures = Vec::new();
    for case in kernels::cases() {
        for outcome in pollster::block_on(run_case(device, &case)).expect("the device runs") {
            if let Some(failure) = outcome.failure {
                failures.push(format!("{} of {}: {failure}", outcome.kernel, outcome.case));
            }
        }
    }
    assert!(failures.is_empty(), "{} cases fail:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn the_cpu_computes_what_the_reference_computes() {
    check_all(&Device::Cpu);
}

#[test]
fn the_gpu_computes_what_the_reference_computes() {
    if let Some(gpu) = common::gpu() {
        check_all(&Device::Gpu(gpu));
    }
}

#[test]
fn every_variant_has_cases_and_case_names_are_unique() {
    let cases = kernels::cases();
    for (_, variant) in kernels::variants() {
        let fits = |case: &kernels::Case, adapter| case.op.variants(adapter).any(|other| std::ptr::eq(other, variant));
        let takes = |case: &kernels::Case| Adapter::all().any(|adapter| fits(case, adapter));
        assert!(cases.iter().any(takes), "{} has no case", variant.name);
    }
    for case in &cases {
        let listed = kernels::operations().any(|operation| std::ptr::eq(operation, case.op.operation));
        assert!(listed, "{} is in no family that src/kernels/mod.rs lists", case.op.operation.name);
    }
    let mut names: Vec<&str> = cases.iter().map(|c| c.name.as_str()).collect();
    names.sort();
    let count = names.len();
    names.dedup();
    assert_eq!(names.len(), count, "two cases share a name");
}

#[test]
fn a_shader_that_the_device_refuses_is_named_and_nobody_advises_a_smaller_batch() {
    let Some(gpu) = common::gpu() else { return };
    let mut case = kernels::cases().into_iter().find(|c| c.op.operation.name == "relu.forward").expect("a case");
    let source = "@compute @workgroup_size(64) fn forward() { nonsense(); }";
    let broken = Variant { name: "relu.broken", source, ..*case.op.chosen(Adapter::HARDWARE) };
    case.op.variant = Some(Box::leak(Box::new(broken)));
    let device = Device::Gpu(gpu);
    // The second time, the pipeline is already cached.
    for _ in 0..2 {
        let error = pollster::block_on(run_case(&device, &case)).expect_err("it is no shader").to_string();
        assert!(["kernel relu.broken on ", "report it"].iter().all(|part| error.contains(part)), "{error}");
        assert!(!error.contains("batch") && error.len() < 1000, "{error}");
    }
    case.op.variant = None;
    let outcomes = pollster::block_on(run_case(&device, &case)).expect("the device still runs");
    assert!(!outcomes.is_empty() && outcomes.iter().all(|outcome| outcome.passed));
}
