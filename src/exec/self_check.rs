//! The self-check of a GPU when it opens: a few small operations against the reference, in milliseconds. Without it, a
//! device that computes nothing, or computes wrongly, would train to meaningless figures without a warning.
//!
//! `check` has all cases of all kernels. These few are operations that the default network trains with, with fewer
//! examples: other ones on a software adapter than on hardware. On a software adapter, where compiling takes longest,
//! its training finds the pipelines compiled; on hardware, a convolution's pipeline is for one shape.

use super::DeviceInfo;
use super::check::fault;
use super::gpu::Gpu;
use crate::error::{Error, Result};
use crate::kernels::batch::Header;
use crate::kernels::case::{CaseBuilder, Tolerance};
use crate::kernels::conv_fused::{self, Gradient};
use crate::kernels::optimizer::{ADADELTA, BLOCK, Buffers, FACTORS, Rule, update};
use crate::kernels::softmax::{self, Outputs, StepOutputs};
use crate::kernels::sums::{self, Entry};
use crate::kernels::{Adapter, Case, conv, fc};

/// Runs the self-check on a device that is open, with kernels and the shader checks that training would use.
///
/// # Errors
/// [`Error::SelfCheck`] with the first kernel whose result is wrong; [`Error::Device`] if the device refuses a kernel or
/// is lost.
pub async fn self_check(gpu: &Gpu) -> Result<()> {
    let cases = cases(gpu.adapter());
    // All at once, on all threads; the cases run one after another.
    gpu.prepare(cases.iter().map(|case| &case.op)).await?;
    for case in &cases {
        if let Some(problem) = fault(gpu, case, 0.0).await? {
            return Err(refusal(gpu, case, &problem));
        }
    }
    log::debug!("{} passed the self-check", gpu.info());
    Ok(())
}

fn refusal(gpu: &Gpu, case: &Case, problem: &str) -> Error {
    let DeviceInfo { name, backend, driver, .. } = gpu.info();
    let kernel = case.op.chosen(gpu.adapter()).name;
    Error::SelfCheck(format!(
        "{name} ({backend}, {driver}) computes wrongly: kernel {kernel} on the case {}: {problem}; update its driver, and \
         check every kernel with `glassnet check`",
        case.name
    ))
}

/// The default network's batch and classes.
const BATCH: usize = 20;
const CLASSES: usize = 10;
/// Examples of the last layer, and its inputs.
const FEW: usize = 4;
const LAST: usize = 256;
/// `[N,H,W,C]` and filters of the first convolution and of the second, with one example of a few rows. Kernels depend on
/// the width and on the channels.
const FIRST: ([usize; 4], usize) = ([1, 8, 24, 1], 8);
const SECOND: ([usize; 4], usize) = ([1, 4, 12, 8], 16);
/// Windows of the poolings after them.
const POOLS: [[usize; 2]; 2] = [[2, 2], [3, 3]];

/// Between them: long sums, workgroup memory with barriers, words as outputs, exponentials and logarithms, roots.
pub(super) fn cases(adapter: Adapter) -> Vec<Case> {
    if adapter.software {
        let mut cases = vec![conv_forward(FIRST), conv_backward_weight(), fc_forward()];
        cases.extend([softmax_forward(), softmax_summary(), optimizer_update()]);
        if adapter.matrices.is_some() {
            cases.extend(by_matrices(adapter));
        }
        return cases;
    }
    let mut cases = vec![
        conv_forward_pool(),
        conv_backward_weight_pool(FIRST, POOLS[0]),
        conv_backward_weight_pool(SECOND, POOLS[1]),
        conv_backward_input_pool(),
        connected_forward(),
        sums_of_gradients(),
        softmax_step(),
        optimizer_update(),
    ];
    if adapter.matrices.is_some() {
        cases.extend(by_matrices(adapter));
    }
    cases
}

/// The three passes of the second convolution by cooperative matrices, which suit larger batches.
fn by_matrices(adapter: Adapter) -> Vec<Case> {
    let passes = [conv_forward(SECOND), conv_backward_weight_pool(SECOND, POOLS[1]), conv_backward_input_pool()];
    let own = |mut case: Case| {
        let own = case.op.variants(adapter).find(|variant| variant.matrices.is_some());
        case.op.variant = own;
        case
    };
    passes.map(own).to_vec()
}

/// The shape of a layer with windows of 5x5 that keep the image's size.
fn window((input, filters): ([usize; 4], usize)) -> conv::Params {
    conv::Params::new(input, filters, [5, 5], [1, 1], [2, 2])
}

fn conv_forward(layer: ([usize; 4], usize)) -> Case {
    let (p, mut b) = (window(layer), CaseBuilder::default());
    let ([n, h, w, c], filters) = layer;
    let (x, weight) = (b.real(n * h * w * c), b.real(p.k() * filters));
    let (bias, y) = (b.real(filters), b.out(n * p.rows() * filters));
    b.case(shape(layer), conv::forward(p, x, weight, bias, y), Tolerance::sum(p.k(), 1.0))
}

fn conv_backward_weight() -> Case {
    let (p, mut b) = (window(SECOND), CaseBuilder::default());
    let [n, h, w, c] = SECOND.0;
    let (x, dy) = (b.real(n * h * w * c), b.real(n * p.rows() * SECOND.1));
    let partial = b.out(p.partial_len());
    b.case(shape(SECOND), conv::backward_weight(p, x, dy, partial), Tolerance::sum(p.rows() * n, 1.0))
}

/// Multiples of 1/8, with which the sums are exact, so that the winners are the same on every device.
fn eighths(len: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 37 % 101) as f32 - 50.0) / 8.0).collect()
}

fn conv_forward_pool() -> Case {
    let (p, mut b) = (window(FIRST).with_pooling(POOLS[0]), CaseBuilder::default());
    let ([n, h, w, c], filters) = FIRST;
    let (x, weight) = (b.reals(eighths(n * h * w * c)), b.reals(eighths(p.k() * filters)));
    let (bias, len) = (b.reals(eighths(filters)), n * (h / POOLS[0][0]) * (w / POOLS[0][1]) * filters);
    let out = [b.out(len), b.out_words(len)];
    b.case(shape(FIRST), conv_fused::forward_pool(p, x, weight, bias, out), Tolerance::EXACT)
}

/// Gradients after a pooling, with the first output of every window as the winner, every third of them blocked.
fn pooled(b: &mut CaseBuilder, ([n, h, w, _], filters): ([usize; 4], usize), pool: [usize; 2]) -> Gradient {
    let [down, across] = [h / pool[0], w / pool[1]];
    let winner = |i: usize| {
        let window = i / filters;
        let place = window / across % down * pool[0] * w + window % across * pool[1];
        place as u32 | if i.is_multiple_of(3) { 1 << 31 } else { 0 }
    };
    let len = n * down * across * filters;
    Gradient::Pooled(b.real(len), b.words((0..len).map(winner).collect()))
}

fn conv_backward_weight_pool(layer: ([usize; 4], usize), pool: [usize; 2]) -> Case {
    let (p, mut b) = (window(layer).with_pooling(pool).for_hardware(), CaseBuilder::default());
    let [n, h, w, c] = layer.0;
    let (x, dy) = (b.real(n * h * w * c), pooled(&mut b, layer, pool));
    let partial = b.out(p.partial_len());
    b.case(shape(layer), conv_fused::backward_weight(p, x, dy, partial), Tolerance::sum(p.rows() * n, 1.0))
}

fn conv_backward_input_pool() -> Case {
    let (p, mut b) = (window(SECOND).with_pooling(POOLS[1]), CaseBuilder::default());
    let ([n, h, w, c], filters) = SECOND;
    let (dy, weight) = (pooled(&mut b, SECOND, POOLS[1]), b.real(p.k() * filters));
    let dx = b.out(n * h * w * c);
    b.case(shape(SECOND), conv_fused::backward_input(p, dy, weight, None, dx), Tolerance::sum(25 * filters, 1.0))
}

/// The last layer as a convolution of one pixel, which it is on hardware.
fn connected_forward() -> Case {
    let (input, mut b) = ([FEW, 1, 1, LAST], CaseBuilder::default());
    let p = conv::Params::new(input, CLASSES, [1, 1], [1, 1], [0, 0]);
    let (x, weight) = (b.real(FEW * LAST), b.real(LAST * CLASSES));
    let (bias, y) = (b.real(CLASSES), b.out(FEW * CLASSES));
    b.case(shape((input, CLASSES)), conv::forward(p, x, weight, bias, y), Tolerance::sum(LAST, 1.0))
}

fn sums_of_gradients() -> Case {
    let ([len, distance, splits], mut b) = ([100, 110, 70], CaseBuilder::default());
    let entries: Vec<Entry> = Entry::of_tensor(len, 3, distance, splits).collect();
    let (partials, table) = (b.real(distance * splits), b.words(bytemuck::cast_slice(&entries).to_vec()));
    let op = sums::gradients(partials, table, b.out(entries.len() * sums::BLOCK));
    b.case(format!("{splits} of {len}"), op, Tolerance::sum(splits, 1.0))
}

fn softmax_step() -> Case {
    let mut b = CaseBuilder::default();
    // The last rows are masked.
    let header = b.header(Header { training: true, ..Header::evaluation(BATCH as u32 - 3) });
    let (labels, logits) = (b.words(labels()), b.real(BATCH * CLASSES));
    let out = StepOutputs {
        dlogits: b.out(BATCH * CLASSES),
        losses: b.out(BATCH),
        predictions: b.out_words(BATCH),
        loss: b.out(1),
        correct: b.out_words(1),
    };
    let op = softmax::step([BATCH, CLASSES], 0.0, header, labels, logits, out);
    b.case(format!("[{BATCH}, {CLASSES}]"), op, Tolerance::sum(BATCH, 5.0))
}

fn shape((input, filters): ([usize; 4], usize)) -> String {
    format!("{input:?} filters {filters}")
}

fn fc_forward() -> Case {
    let (p, mut b) = (fc::Params::new(FEW, LAST, CLASSES), CaseBuilder::default());
    let (x, weight) = (b.real(FEW * LAST), b.real(LAST * CLASSES));
    let (bias, y) = (b.real(CLASSES), b.out(FEW * CLASSES));
    b.case(format!("[{FEW}, {LAST}] -> {CLASSES}"), fc::forward(p, x, weight, bias, y), Tolerance::sum(LAST, 1.0))
}

fn softmax_forward() -> Case {
    let mut b = CaseBuilder::default();
    // The last rows are masked.
    let header = b.header(Header { training: true, ..Header::evaluation(BATCH as u32 - 3) });
    let (labels, logits) = (b.words(labels()), b.real(BATCH * CLASSES));
    let out = Outputs {
        y: b.out(BATCH * CLASSES),
        dx: b.out(BATCH * CLASSES),
        losses: b.out(BATCH),
        predictions: b.out_words(BATCH),
    };
    let op = softmax::forward([BATCH, CLASSES], 0.0, header, labels, logits, out);
    b.case(format!("[{BATCH}, {CLASSES}]"), op, Tolerance::ELEMENTWISE)
}

fn softmax_summary() -> Case {
    let mut b = CaseBuilder::default();
    let header = b.header(Header::evaluation(BATCH as u32 - 3));
    // Every fifth prediction is another class.
    let predictions = (0..).zip(labels()).map(|(i, label)| if i % 5 == 0 { label + 1 } else { label }).collect();
    let inputs = [header, b.words(labels()), b.between(BATCH, 0.0, 5.0), b.words(predictions)];
    let op = softmax::summary(inputs, b.out(1), b.out_words(1));
    b.case(format!("[{BATCH}]"), op, Tolerance::sum(BATCH, 5.0))
}

/// Every class twice.
fn labels() -> Vec<u32> {
    (0..BATCH).map(|i| (i * 7 % CLASSES) as u32).collect()
}

fn optimizer_update() -> Case {
    // One block of parameters with decay, one without.
    let (count, mut b) = (2 * BLOCK, CaseBuilder::default());
    let rule = Rule::new(&ADADELTA);
    let header = b.header(Header { learning_rate: 0.5, ..Header::evaluation(1) });
    let factors: [[f32; FACTORS]; 2] = [[0.01, 0.02, 1.0, 0.0], [0.0, 0.0, 0.5, 0.0]];
    let factors = b.reals(factors.concat());
    let (gradient, w) = (b.real(count), b.real(count));
    let before = b.between(rule.slots() * count, 1e-3, 1.0);
    let (w_out, after) = (b.out(count), b.out(before.len));
    let state = Some((before, after));
    let buffers = Buffers { header, factors, gradient, scale: None, zero_is_negative: false, w, w_out, state };
    b.case(format!("count={count}"), update(rule, buffers), Tolerance { atol: 4e-6, rtol: 8e-6 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Op;
    use crate::net::Network;
    use crate::program::{DeviceClass, Options, PipelineUse, Program, Source, Stage, TrainingStep};
    use std::collections::BTreeSet;

    fn pipelines(program: &Program, adapter: Adapter) -> BTreeSet<String> {
        let key = |one: PipelineUse| format!("{} {} {:?}", one.variant.name, one.entry, one.constants);
        program.pipelines(adapter).into_iter().map(key).collect()
    }

    /// A training step of the default network.
    fn step(class: DeviceClass) -> TrainingStep {
        let network = Network::preset("convnetjs-mnist").expect("a preset");
        let options = Options::training(BATCH, Source::usual(&network, 100), Rule::new(&ADADELTA));
        TrainingStep::lower(&network, &Options { class, ..options }).expect("it lowers")
    }

    #[test]
    fn every_pipeline_on_a_software_adapter_is_one_that_the_default_network_trains_with() {
        let known = pipelines(&step(DeviceClass::Processor).program, Adapter::SOFTWARE);
        for case in cases(Adapter::SOFTWARE) {
            let own = pipelines(&Program::of_case(&case, None, None), Adapter::SOFTWARE);
            assert!(own.is_subset(&known), "{own:?} are not all in {known:?}");
        }
    }

    #[test]
    fn all_passes_by_cooperative_matrices_are_checked_where_there_are_some() {
        for adapter in Adapter::all().filter(|adapter| adapter.matrices.is_some()) {
            for adapter in [adapter, Adapter { software: true, ..adapter }] {
                let cases = cases(adapter);
                let kernels = cases.iter().filter_map(|case| case.op.variant).map(|variant| variant.name);
                let kernels: Vec<&str> = kernels.collect();
                for pass in ["forward", "backward_input", "backward_weight"] {
                    let name = format!("conv_matrix.{pass}_");
                    assert!(kernels.iter().any(|kernel| kernel.starts_with(&name)), "{pass} of {kernels:?}");
                }
            }
        }
    }

    #[test]
    fn every_kernel_on_hardware_is_one_of_an_ordinary_step_of_the_default_network() {
        let step = step(DeviceClass::Hardware);
        let instructions = &step.program.instructions[step.stages(Stage::Batch, Stage::Update)];
        let name = |op: &Op| op.chosen(Adapter::HARDWARE).name;
        let known: BTreeSet<&str> = instructions.iter().map(|instruction| name(&instruction.op)).collect();
        let own: BTreeSet<&str> = cases(Adapter::HARDWARE).iter().map(|case| name(&case.op)).collect();
        assert!(own.is_subset(&known), "{own:?} are not all in {known:?}");
        // Without the gather, and two of the last layer.
        assert!(known.len() - own.len() <= 4, "{own:?} leave out too much of {known:?}");
    }
}
