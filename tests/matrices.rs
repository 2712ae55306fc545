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
    for (subgroup, offset) in [(64, 3), (16, 5), (8, 7)] {
        for matrices in [Matrices::F16_16, Matrices::F16_8] {
            check_emulated(matrices, subgroup, |i| i % 9 == offset);
        }
    }
    check_emulated(Matrices::F16_8, 128, |i| i % 9 == 0);
}

/// Pixels with these values, each in one of eight channels.
fn spread(values: &[f32]) -> Vec<f32> {
    let mut all = vec![0.0; 8 * values.len()];
    values.iter().enumerate().for_each(|(pixel, value)| all[place(pixel)] = *value);
    all
}

fn place(pixel: usize) -> usize {
    8 * pixel + pixel % 8
}

/// What a product with the identity makes of these values: the forward pass of x, the gradient of x from dy, and the
/// gradients of weights from dy, where every channel of x is 1 in its own pixel.
fn passed(device: &Device, variant: &'static Variant, values: &[f32]) -> Vec<f32> {
    let (count, mut b) = (values.len(), CaseBuilder::default());
    let identity: Vec<f32> = (0..64).map(|i| if i % 9 == 0 { 1.0 } else { 0.0 }).collect();
    let p = conv::Params::new([1, 1, count, 8], 8, [1, 1], [1, 1], [0, 0]);
    let (given, len) = (spread(values), 8 * count);
    let (inputs, case) = if variant.name.contains(".forward") {
        let inputs = vec![given, identity, vec![0.0; 8]];
        let [x, weight, bias] = [0, 1, 2].map(|i| b.reals(inputs[i].clone()));
        let op = conv::forward(p, x, weight, bias, b.out(len));
        (inputs, b.case("identity", op, Tolerance::EXACT))
    } else if variant.name.contains(".backward_input") {
        let inputs = vec![given, identity];
        let [dy, weight] = [0, 1].map(|i| b.reals(inputs[i].clone()));
        let op = conv::backward_input(p, dy, weight, b.out(len));
        (inputs, b.case("identity", op, Tolerance::EXACT))
    } else {
        // A split for each pixel.
        let p = conv::Params { pixels_per_split: 1, ..p };
        let inputs = vec![spread(&vec![1.0; count]), given];
        let [x, dy] = [0, 1].map(|i| b.reals(inputs[i].clone()));
        let op = conv::backward_weight(p, x, dy, b.out(p.partial_len()));
        (inputs, b.case("identity", op, Tolerance::EXACT))
    };
    let (mut case, output) = (case, inputs.len() as u32);
    case.op.variant = Some(variant);
    let result = pollster::block_on(async {
        let mut executor = device.executor(Program::of_case(&case, None, None)).await.expect("it starts");
        for (i, words) in inputs.iter().enumerate() {
            executor.write(BufferId(i as u32), bytemuck::cast_slice(words)).expect("it is written");
        }
        executor.run(0..1).expect("it runs");
        executor.read(BufferId(output)).await.expect("it is read")
    });
    let of_weights = variant.name.contains(".backward_weight");
    // Nine rows of eight weights for each split.
    let at = |pixel: usize| if of_weights { 72 * pixel + 9 * (pixel % 8) } else { place(pixel) };
    (0..count).map(|pixel| f32::from_bits(result[at(pixel)])).collect()
}

/// What a variant makes wrongly of values that f16 does not have.
fn wrongly_rounded(device: &Device, variant: &'static Variant) -> Option<String> {
    let inf = f32::INFINITY;
    let is_gradient = variant.name.contains(".backward");
    let mut values = vec![1.0, 0.1, -0.3333, 1e-3, inf, -inf, f32::NAN];
    // The range of gradients begins at far smaller ones, and ends a little below 16.
    values.extend(if is_gradient {
        [2.3e-8, -1e-7, 15.9, 17.0, -1e30, 1e38]
    } else {
        [7e-5, -65504.0, 1e3, 7e4, -1e30, 1e38]
    });
    let largest = if is_gradient { 65504.0 / 4096.0 } else { 65504.0 };
    let got = passed(device, variant, &values);
    let is_near = |(got, want): (&f32, &f32)| {
        if variant.factor() == Factor::F32 || !want.is_finite() {
            return got == want || (got.is_nan() && want.is_nan());
        }
        let cut = want.clamp(-largest, largest);
        // Up or down to the next value with 11 bits.
        (got - cut).abs() <= cut.abs() / 1024.0
    };
    let is_right = got.iter().zip(&values).all(is_near);
    (!is_right).then(|| format!("{}: {got:?} of {values:?}", variant.name))
}

fn assert_rounds(device: &Device, variant: &'static Variant) {
    assert_eq!(wrongly_rounded(device, variant), None);
}

/// A variant whose text has `new` in place of `old`.
fn changed(variant: &'static Variant, [old, new]: [&str; 2]) -> &'static Variant {
    assert!(variant.source.contains(old), "{} has no {old:?}", variant.name);
    let name = Box::leak(format!("{} with {new}", variant.name).into_boxed_str());
    let source = Box::leak(variant.source.replace(old, new).into_boxed_str());
    Box::leak(Box::new(Variant { name, source, ..*variant }))
}

#[test]
fn gradients_without_a_scale_are_found() {
    let Some(gpu) = common::gpu() else { return };
    let device = Device::Gpu(gpu);
    let f16 = kernels().into_iter().map(|(variant, _)| variant).filter(|variant| variant.factor() == Factor::F16);
    for variant in f16.filter(|variant| is_plain(variant) && variant.name.contains("backward")) {
        let once = changed(emulated(variant, USUAL), ["127u + SCALE_BITS", "127u"]);
        let neither = changed(once, ["127u - SCALE_BITS", "127u"]);
        assert!(wrongly_rounded(&device, neither).is_some(), "{}", variant.name);
    }
}

/// Vulkan's rule about the rows of matrices, which lavapipe does not need.
#[test]
fn matrices_that_do_not_begin_at_16_bytes_are_found() {
    let Some(gpu) = common::gpu() else { return };
    let device = Device::Gpu(gpu);
    for (variant, cases) in kernels().into_iter().filter(|(variant, _)| is_plain(variant)) {
        let variant = changed(emulated(variant, USUAL), ["PITCH: u32 = COLUMNS + 8", "PITCH: u32 = COLUMNS + 3"]);
        assert!(failure(&device, &cases[0], variant).is_some(), "{}", variant.name);
    }
}

/// The plain passes, which cover all texts about factors.
fn is_plain(variant: &Variant) -> bool {
    ["forward_f", "backward_input_f", "backward_weight_f"].iter().any(|pass| variant.name.contains(pass))
}

#[test]
fn factors_are_rounded_to_f16_and_what_is_beyond_is_cut_but_what_is_not_finite_stays() {
    let Some(gpu) = common::gpu() else { return };
    let device = Device::Gpu(gpu);
    let plain: Vec<_> = kernels().into_iter().map(|(variant, _)| variant).filter(|variant| is_plain(variant)).collect();
    assert_eq!(plain.len(), 9);
    plain.into_iter().for_each(|variant| assert_rounds(&device, emulated(variant, USUAL)));
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
        let own = || kernels().into_iter().map(|(variant, _)| variant).filter(|variant| variant.matrices == matrices);
        own().filter(|variant| is_plain(variant)).for_each(|variant| assert_rounds(&device, variant));
    }
}
