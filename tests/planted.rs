//! The cases themselves under test: faults planted in the shaders, each of which some case of its kernel must find.
//!
//! A fault is one small change to the source of a kernel's entry point or of a function that it calls. Operators make them
//! (another comparison, a sign, rows for columns, a write left out ...); [`NAMED`] has those that no operator makes. What
//! changes nothing that a kernel promises stands in [`EQUIVALENT`], with the reason. A missing `workgroupBarrier` cannot be
//! tried here: lavapipe runs the invocations of a workgroup in step.

mod common;
#[path = "planted/equivalent.rs"]
mod equivalent;
#[path = "planted/operators.rs"]
mod operators;

use equivalent::{EQUIVALENT, NAMED};
use glassnet::exec::gpu::Gpu;
use glassnet::exec::{Device, check::run_case};
use glassnet::kernels::{self, Case, Kernel};
use naga::valid::{Capabilities, ValidationFlags, Validator};
use operators::{Fault, faults};
use std::collections::HashSet;
use std::sync::Mutex;

/// The cases of a kernel, the cheapest first.
fn cases_of(kernel: &Kernel) -> Vec<Case> {
    let mut cases = kernels::cases();
    cases.retain(|case| case.op.kernel.name == kernel.name);
    cases.sort_by_key(|case| case.op.work.flops + case.op.work.bytes);
    cases
}

fn is_valid(source: &str) -> bool {
    naga::front::wgsl::parse_str(source)
        .is_ok_and(|module| Validator::new(ValidationFlags::all(), Capabilities::empty()).validate(&module).is_ok())
}

/// Whether a case of `kernel` fails where its shader has the fault.
fn is_found(device: &Device, kernel: &'static Kernel, fault: &Fault, cases: &[Case]) -> bool {
    // Pipelines are kept by name, so that each fault needs one of its own.
    let name: &str = Box::leak(format!("{} with {fault}", kernel.name).into_boxed_str());
    let source: &str = Box::leak(fault.source.clone().into_boxed_str());
    let faulty: &Kernel = Box::leak(Box::new(Kernel { name, source, ..*kernel }));
    cases.iter().any(|case| {
        let mut case = case.clone();
        case.op.kernel = faulty;
        pollster::block_on(run_case(device, &case)).is_ok_and(|outcome| !outcome.passed)
    })
}

fn is_equivalent(kernel: &Kernel, fault: &Fault) -> bool {
    EQUIVALENT.iter().any(|known| {
        let family = known.kernel.ends_with('.') && kernel.name.starts_with(known.kernel);
        let same = fault.old.contains(known.old) && fault.new.contains(known.new);
        (family || known.kernel == kernel.name) && known.function == fault.function && same
    })
}

/// Plants faults in every kernel, as many threads as processors, each with a device; returns how many, and the survivors.
fn plant(choose: impl Fn(&'static Kernel) -> Vec<Fault> + Sync) -> (usize, Vec<String>) {
    let only = std::env::var("GLASSNET_FAULTS").unwrap_or_default();
    let work: Vec<&'static Kernel> = kernels::ALL.iter().copied().filter(|k| k.name.contains(&only)).collect();
    let (next, result) = (Mutex::new(work.into_iter()), Mutex::new((0, Vec::new())));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, |n| n.get()) {
            scope.spawn(|| {
                let Some(gpu): Option<Gpu> = common::gpu() else { return };
                let device = Device::Gpu(gpu);
                loop {
                    let Some(kernel) = next.lock().expect("no thread panics here").next() else { break };
                    let (cases, mut seen) = (cases_of(kernel), HashSet::new());
                    let mut faults = choose(kernel);
                    faults
                        .retain(|f| f.source != kernel.source && seen.insert(f.source.clone()) && is_valid(&f.source));
                    faults.retain(|f| !is_equivalent(kernel, f));
                    let survives = |f: &&Fault| !is_found(&device, kernel, f, &cases);
                    let survivors: Vec<String> =
                        faults.iter().filter(survives).map(|f| format!("{}: {f}", kernel.name)).collect();
                    for survivor in &survivors {
                        println!("SURVIVES {survivor}");
                    }
                    println!("{}: {} faults, {} survive", kernel.name, faults.len(), survivors.len());
                    let mut result = result.lock().expect("no thread panics here");
                    result.0 += faults.len();
                    result.1.extend(survivors);
                }
            });
        }
    });
    result.into_inner().expect("no thread panicked")
}

/// Of each operator one fault a kernel, another one for another kernel.
fn a_few(kernel: &'static Kernel) -> Vec<Fault> {
    let all = faults(kernel);
    let mut operators: Vec<&str> = all.iter().map(|fault| fault.operator).collect();
    operators.dedup();
    let seed = kernel.name.bytes().fold(0usize, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into()));
    let one = |operator: &&str| {
        let mut own: Vec<&Fault> = all.iter().filter(|fault| fault.operator == *operator).collect();
        own.retain(|fault| !is_equivalent(kernel, fault) && is_valid(&fault.source));
        (!own.is_empty()).then(|| own[seed % own.len()].clone())
    };
    operators.iter().filter_map(one).collect()
}

fn assert_found((count, survivors): (usize, Vec<String>)) {
    assert!(survivors.is_empty(), "{} of {count} faults survive:\n{}", survivors.len(), survivors.join("\n"));
}

/// Minutes of work; by hand, as the next one. A survivor wants a case, or a line in [`EQUIVALENT`].
#[test]
#[ignore = "minutes"]
fn a_fault_of_each_kind_in_each_kernel_is_found() {
    assert_found(plant(a_few));
}

#[test]
fn faults_that_once_survived_are_found() {
    for named in NAMED {
        let places =
            kernels::ALL.iter().filter(|kernel| kernel.name == named.kernel && kernel.source.contains(named.old));
        assert_eq!(places.count(), 1, "{} has no {:?}", named.kernel, named.old);
    }
    assert_found(plant(|kernel| {
        let own = NAMED.iter().filter(|named| named.kernel == kernel.name);
        own.map(|named| operators::replaced(kernel, named.old, named.new)).collect()
    }));
}

/// Minutes of work; by hand, after a change to the cases or the shaders.
#[test]
#[ignore = "minutes"]
fn every_fault_is_found() {
    assert_found(plant(faults));
}
