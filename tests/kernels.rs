//! Every case of every kernel, on the CPU executor and on the GPU in every way it compiles them, against the reference.

mod common;

use glassnet::exec::{Device, check::run_case};
use glassnet::kernels::{self, Kernel};

fn check_all(device: &Device) {
    let mut failures = Vec::new();
    for case in kernels::cases() {
        let outcome = pollster::block_on(run_case(device, &case)).expect("the device runs");
        if let Some(failure) = outcome.failure {
            failures.push(format!("{}: {failure}", outcome.case));
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
fn every_kernel_has_cases_and_case_names_are_unique() {
    let cases = kernels::cases();
    for kernel in kernels::ALL {
        assert!(cases.iter().any(|c| c.op.kernel.name == kernel.name), "{} has no case", kernel.name);
    }
    let mut names: Vec<&str> = cases.iter().map(|c| c.name.as_str()).collect();
    names.sort();
    let count = names.len();
    names.dedup();
    assert_eq!(names.len(), count, "two cases share a name");
}

#[test]
fn a_shader_that_the_device_refuses_is_named_and_nobody_advises_a_smaller_batch() {
    static BROKEN: Kernel = Kernel {
        name: "relu.broken",
        source: "@compute @workgroup_size(64) fn forward() { nonsense(); }",
        ..kernels::relu::FORWARD
    };
    let Some(gpu) = common::gpu() else { return };
    let mut case = kernels::cases().into_iter().find(|c| c.op.kernel.name == "relu.forward").expect("a case");
    let sound = case.op.kernel;
    case.op.kernel = &BROKEN;
    let device = Device::Gpu(gpu);
    // The second time it is not taken for compiled.
    for _ in 0..2 {
        let error = pollster::block_on(run_case(&device, &case)).expect_err("it is no shader").to_string();
        assert!(["kernel relu.broken on ", "report it"].iter().all(|part| error.contains(part)), "{error}");
        assert!(!error.contains("batch") && error.len() < 1000, "{error}");
    }
    case.op.kernel = sound;
    assert!(pollster::block_on(run_case(&device, &case)).expect("the device still runs").passed);
}
