//! `glassnet check --lockstep`: runs one whole training step on the reference and on a device, operation by operation.
//!
//! Images, weights and the optimizer's state are random with a fixed seed. The last row of the batch is masked, so that
//! masking is also checked.

use super::output::{Output, note};
use glassnet::Result;
use glassnet::data::Examples;
use glassnet::exec::lockstep::{Report, lockstep};
use glassnet::exec::{Device, DeviceInfo, Executor, upload_examples, upload_parameters, write_reals};
use glassnet::kernels::batch::Header;
use glassnet::net::{Network, Recipe};
use glassnet::program::{Host, Limits, Options, Source, TrainingStep};
use glassnet::train::Settings;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use serde::Serialize;
use std::process::ExitCode;

/// Examples in the step if no batch size is given.
pub(super) const BATCH: usize = 20;

/// The seed of all random values.
const SEED: u64 = 1;

#[derive(Debug, Serialize)]
struct Document<'a> {
    reference: DeviceInfo,
    device: DeviceInfo,
    network: &'a str,
    batch_size: usize,
    passed: bool,
    #[serde(flatten)]
    report: &'a Report,
}

/// Compares and prints. Returns [`ExitCode::FAILURE`] if an operation differs.
pub(super) async fn run(network: &Network, batch: usize, device: &Device, output: Output) -> Result<ExitCode> {
    let given = Recipe { batch_size: Some(batch), ..Recipe::default() };
    let settings = Settings::resolve(network.clone(), &given)?;
    let source = Source::usual(network, batch);
    let limits = device.limits();
    let options = Options { one_batch: true, ..settings.options(source).on(&limits) };
    // Both executors at once, if both are on the host, and the buffers read back for comparison.
    let along = |step: &TrainingStep| 3 * step.program.largest_buffer();
    let along_another = |step: &TrainingStep| {
        let fast = Host::Fast { threads: rayon::current_num_threads() };
        step.footprint(Some(fast)) + 3 * step.program.largest_buffer()
    };
    let along: fn(&TrainingStep) -> u64 = if limits.host.is_some() { along_another } else { along };
    let step = TrainingStep::lower_within(network, &options, &Limits { along, ..Device::Reference.limits() })?;
    step.check_limits(network, &options, &limits)?;

    let operations = step.program.instructions.len();
    note(format_args!("{operations} operations of one step of {} on reference and {}", network.name, device.info()));
    let examples = random_examples(network, source.shape(), batch);
    let inputs = step_inputs(&step, &examples);
    let mut first = prepared(&Device::Reference, &step, network, &examples).await?;
    let mut second = prepared(device, &step, network, &examples).await?;
    let report = lockstep(&mut *first, &mut *second, &inputs).await?;
    let document = Document {
        reference: Device::Reference.info(),
        device: device.info(),
        network: &network.name,
        batch_size: batch,
        passed: report.divergence.is_none(),
        report: &report,
    };
    output.result(&document, text(&document))?;
    Ok(if document.passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn text(document: &Document) -> String {
    let Document { device, network, batch_size, report, .. } = document;
    let step = format!("a training step of {network} with batch size {batch_size} on {device}");
    match &report.divergence {
        None => format!("{step}: all {} operations agree with the reference", report.operations),
        Some(d) => format!(
            "{step}: operation {} differs from the reference\n{} ({}), buffer {}, index {}: {}",
            report.operations, d.operation, d.kernel, d.buffer, d.index, d.problem
        ),
    }
}

/// One random image per row of the batch.
fn random_examples(network: &Network, shape: [usize; 3], count: usize) -> Examples {
    let mut random = ChaCha8Rng::seed_from_u64(SEED);
    let pixels = (0..count * shape.iter().product::<usize>()).map(|_| random.random()).collect();
    let classes = network.example_classes();
    // Labels are bytes; a network may have more classes.
    let labels = (0..count).map(|_| random.random_range(0..classes.min(256)) as u8).collect();
    Examples { shape, classes, pixels, labels, numbers: Vec::new() }
}

/// An executor with the data set, initial weights, decay and a state as after some training.
async fn prepared(
    device: &Device,
    step: &TrainingStep,
    network: &Network,
    examples: &Examples,
) -> Result<Box<dyn Executor>> {
    let mut executor = device.executor(step.program.clone()).await?;
    upload_examples(&mut *executor, step, examples)?;
    upload_parameters(&mut *executor, step, &network.initial_parameters(SEED))?;
    if let Some(trainable) = step.trainable {
        let mut random = ChaCha8Rng::seed_from_u64(SEED + 1);
        // Small and non-negative, because some are squares.
        let mut draw = || random.random_range(0.0..1e-3);
        let factors = step.block_factors(draw(), draw());
        write_reals(&mut *executor, trainable.factors.id, &factors)?;
        for tensor in [trainable.state, trainable.average].into_iter().flatten() {
            let values: Vec<f32> = (0..tensor.len).map(|_| draw()).collect();
            write_reals(&mut *executor, tensor.id, &values)?;
        }
    }
    Ok(executor)
}

/// The inputs of a step: random crops, and every row valid except the last. A batch of one is full.
fn step_inputs(step: &TrainingStep, examples: &Examples) -> Vec<u32> {
    let valid = (step.batch - 1).max(1);
    let header = Header {
        step: 7,
        seed: SEED as u32,
        training: true,
        learning_rate: 0.01,
        // Adam's corrections at the tenth update.
        correction1: 0.651_321_56,
        correction2: 0.009_955_12,
        ..Header::evaluation(valid as u32)
    };
    // In reverse order, so that a row's position differs from its index.
    let indices: Vec<u32> = (0..valid as u32).rev().collect();
    let labels: Vec<u32> = indices.iter().map(|index| u32::from(examples.labels[*index as usize])).collect();
    step.input_words(header, &indices, &labels)
}
