//! Tests the cases themselves: faults are planted in the shaders, and some case of the kernel must find each.
//!
//! A fault is one small change to the source of a kernel's entry point or of a function that it calls. Operators make
//! them (another comparison, a sign, rows for columns, a write left out ...); every test run plants those in [`NAMED`].
//! Changes that break no promise of a kernel are listed in [`EQUIVALENT`], line by line, with reasons. A missing
//! `workgroupBarrier` cannot be tested here, because lavapipe runs the invocations of a workgroup in step.

mod common;
#[path = "planted/equivalent.rs"]
mod equivalent;
#[path = "planted/operators.rs"]
mod operators;

use common::emulated::{USUAL, emulated};
use equivalent::{EQUIVALENT, Equivalent, NAMED};
use glassnet::exec::gpu::Gpu;
use glassnet::exec::{Device, check::run_case};
use glassnet::kernels::{self, Adapter, Case, TEXTURE_WIDTH, Variant};
use naga::valid::{Capabilities, ValidationFlags, Validator};
use operators::{Fault, faults};
use std::collections::HashSet;
use std::io::Write;
use std::sync::{LazyLock, Mutex};

/// Every kernel: the variants of all operations, with emulated matrices.
static ALL: LazyLock<Vec<&'static Variant>> =
    LazyLock::new(|| kernels::variants().map(|(_, variant)| emulated(variant, USUAL)).collect());

fn all() -> impl Iterator<Item = &'static Variant> {
    ALL.iter().copied()
}

/// The cases that a kernel fits, the cheapest first.
fn cases_of(kernel: &Variant) -> Vec<Case> {
    let mut cases = kernels::cases();
    let is_of = |case: &Case| case.op.operation.gpu.iter().any(|variant| variant.name == kernel.name);
    cases.retain(|case| is_of(case) && Adapter::all().any(|adapter| kernel.fits(&case.op, adapter)));
    cases.sort_by_key(|case| case.op.work.flops + case.op.work.bytes);
    cases
}

fn is_valid(source: &str) -> bool {
    // Emulated matrices round to f16, which is in f32 too.
    let mut validator = Validator::new(ValidationFlags::all(), Capabilities::SHADER_FLOAT16_IN_FLOAT32);
    naga::front::wgsl::parse_str(source).is_ok_and(|module| validator.validate(&module).is_ok())
}

/// Those of [`named_faults`] that concern the dispatch; only cases with a second dimension can find them.
const DIMENSION: &str = "second dimension forgotten";
/// The fault of a variant that reads textures; only cases that fill more than one row of a texture can find it.
const SECOND_ROW: &str = "texture's second row forgotten";
/// The others.
const NAMED_FAULT: &str = "named";

/// The kernels with the same entry point of the same shader, which differ in their constants.
fn siblings(kernel: &Variant) -> impl Iterator<Item = &'static Variant> {
    all().filter(move |other| other.source == kernel.source && other.first.entry == kernel.first.entry)
}

/// Whether a case of `kernel` fails if its shader has the fault. For a fault that an operator made, a sibling's case
/// also counts, because the fault may affect only the sibling.
fn is_found(device: &Device, kernel: &'static Variant, fault: &Fault) -> bool {
    let whose: Vec<&'static Variant> = match fault.operator {
        NAMED_FAULT | DIMENSION | SECOND_ROW => vec![kernel],
        _ => siblings(kernel).collect(),
    };
    whose.into_iter().any(|kernel| is_found_by(device, kernel, fault, &cases_of(kernel)))
}

/// Whether one of these cases of `kernel` fails if its shader has the fault.
fn is_found_by(device: &Device, kernel: &'static Variant, fault: &Fault, cases: &[Case]) -> bool {
    // Pipelines are cached by name, so each fault needs its own.
    let name: &str = Box::leak(format!("{} with {fault}", kernel.name).into_boxed_str());
    let source: &str = Box::leak(fault.source.clone().into_boxed_str());
    let faulty: &Variant = Box::leak(Box::new(Variant { name, source, ..*kernel }));
    let fills_a_row = |case: &Case| kernel.textures.iter().any(|t| case.op.len(t.input) > TEXTURE_WIDTH * t.texel);
    let can_find = |case: &&Case| match fault.operator {
        DIMENSION => case.op.dispatches(kernel).iter().any(|one| one.launch.workgroups[1] > 1),
        SECOND_ROW => fills_a_row(case),
        _ => true,
    };
    cases.iter().filter(can_find).any(|case| {
        let mut case = case.clone();
        case.op.variant = Some(faulty);
        pollster::block_on(run_case(device, &case)).is_ok_and(|outcomes| outcomes.iter().any(|one| !one.passed))
    })
}

fn is_equivalent(kernel: &Variant, fault: &Fault) -> bool {
    EQUIVALENT.iter().any(|known| excuses(known, kernel, fault))
}

fn excuses(known: &Equivalent, kernel: &Variant, fault: &Fault) -> bool {
    let same = fault.new == known.new && known.nth.is_none_or(|nth| nth == fault.nth);
    names(known, kernel) && known.function == fault.function && same
}

fn names(known: &Equivalent, kernel: &Variant) -> bool {
    let family = known.kernel.ends_with('.') && kernel.name.starts_with(known.kernel);
    family || known.kernel == untextured(kernel)
}

/// The name of the variant with the same body that reads buffers.
fn untextured(kernel: &Variant) -> &str {
    kernel.name.trim_end_matches("_textures")
}

/// The changes that operators make in a kernel, the first of its siblings: each once, without invalid shaders and
/// without equivalent changes.
fn true_faults(kernel: &'static Variant) -> Vec<Fault> {
    if siblings(kernel).next().is_some_and(|first| first.name != kernel.name) {
        return Vec::new();
    }
    let (mut all, mut seen) = (faults(kernel), HashSet::new());
    all.retain(|f| f.source != kernel.source && seen.insert(f.source.clone()) && is_valid(&f.source));
    all.retain(|f| !is_equivalent(kernel, f));
    // The twin has the same body, which is tested there.
    if let Some(twin) = self::all().find(|other| other.name != kernel.name && other.name == untextured(kernel)) {
        all.retain(|f| !twin.source.contains(&f.old));
    }
    all
}

/// The kernels whose names contain `GLASSNET_FAULTS`.
fn chosen() -> Vec<&'static Variant> {
    let only = std::env::var("GLASSNET_FAULTS").unwrap_or_default();
    all().filter(|k| k.name.contains(&only)).collect()
}

/// Plants faults in the chosen kernels, with one thread and device per processor, and fails if one survives.
fn assert_found(choose: impl Fn(&'static Variant) -> Vec<Fault> + Sync) {
    if common::gpu().is_none() {
        return;
    }
    let (kernels, expected) = (chosen(), chosen().into_iter().map(|kernel| choose(kernel).len()).sum::<usize>());
    let (count, survivors) = plant(&kernels, choose);
    assert_eq!(count, expected, "faults planted");
    assert!(survivors.is_empty(), "{} of {count} faults survive:\n{}", survivors.len(), survivors.join("\n"));
    // Not `println!`, because cargo hides its output when the test passes.
    writeln!(std::io::stderr(), "{count} faults planted in {} kernels, every one found", kernels.len())
        .expect("stderr is open");
}

/// How many faults were planted, and the survivors.
fn plant(kernels: &[&'static Variant], choose: impl Fn(&'static Variant) -> Vec<Fault> + Sync) -> (usize, Vec<String>) {
    let (next, result) = (Mutex::new(kernels.iter().copied()), Mutex::new((0, Vec::new())));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, |n| n.get()) {
            scope.spawn(|| {
                let Some(gpu): Option<Gpu> = common::gpu() else { return };
                let device = Device::Gpu(gpu);
                loop {
                    let Some(kernel) = next.lock().expect("no thread panics here").next() else { break };
                    let faults = choose(kernel);
                    let survives = |f: &&Fault| !is_found(&device, kernel, f);
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

/// For each operator one fault per kernel, chosen differently for each kernel.
fn a_few(kernel: &'static Variant) -> Vec<Fault> {
    let all = true_faults(kernel);
    let mut operators: Vec<&str> = all.iter().map(|fault| fault.operator).collect();
    operators.dedup();
    let seed = kernel.name.bytes().fold(0usize, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into()));
    let one = |operator: &&str| {
        let own: Vec<&Fault> = all.iter().filter(|fault| fault.operator == *operator).collect();
        own[seed % own.len()].clone()
    };
    operators.iter().map(one).collect()
}

/// The faults of [`NAMED`] in a kernel, and, if its dispatch has a second dimension, a fault that ignores it. A variant
/// that reads textures has its twin's body, and one fault of its own.
fn named_faults(kernel: &'static Variant) -> Vec<Fault> {
    let own = NAMED.iter().filter(|named| named.kernel == kernel.name);
    let own = own.map(|named| {
        let fault = operators::replaced(kernel, NAMED_FAULT, named.old, named.new);
        fault.unwrap_or_else(|| panic!("{} has no {:?}", kernel.name, named.old))
    });
    let general = if kernel.textures.is_empty() {
        operators::replaced(kernel, DIMENSION, "group.y * groups.x + group.x", "group.x")
    } else {
        operators::replaced(kernel, SECOND_ROW, "i >> 13u", "0u")
    };
    own.chain(general).collect()
}

/// Takes minutes; run by hand, like the next test. A survivor needs a new case, or a line in [`EQUIVALENT`].
#[test]
#[ignore = "minutes"]
fn a_fault_of_each_kind_in_each_kernel_is_found() {
    assert_found(a_few);
}

#[test]
fn every_kernel_has_named_faults_that_are_shaders() {
    let mut count = 0;
    for kernel in all() {
        let (faults, mut seen) = (named_faults(kernel), HashSet::new());
        assert!(!faults.is_empty(), "{} has no fault", kernel.name);
        for fault in &faults {
            let other = fault.source != kernel.source && seen.insert(fault.source.as_str());
            assert!(other && is_valid(&fault.source), "{}: {fault}", kernel.name);
        }
        count += faults.iter().filter(|fault| fault.operator == NAMED_FAULT).count();
    }
    assert_eq!(count, NAMED.len(), "a fault names no kernel");
}

#[test]
fn named_faults_are_found() {
    assert_found(named_faults);
}

#[test]
fn what_is_no_fault_is_one_change_that_an_operator_makes() {
    for known in EQUIVALENT {
        let kernels = all().filter(|kernel| names(known, kernel));
        let own = kernels.flat_map(|k| faults(k).into_iter().filter(|fault| excuses(known, k, fault)));
        let lines: HashSet<String> = own.map(|fault| fault.old).collect();
        assert_eq!(lines.len(), 1, "{} {}: {:?} comes of {lines:?}", known.kernel, known.function, known.new);
    }
}

/// Takes minutes; run by hand after a change to the cases or the shaders.
#[test]
#[ignore = "minutes"]
fn every_fault_is_found() {
    assert_found(true_faults);
}
