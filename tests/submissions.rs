//! Submissions to a GPU of any length give the same bits, and a step's inputs and results stay with their step.

mod common;

use common::rig::{self, Examples, load, load_decay, network, parameters, run_to, step_inputs, words};
use glassnet::exec::gpu::GpuExecutor;
use glassnet::exec::{Capture, Executor};
use glassnet::kernels::Adapter;
use glassnet::kernels::batch::Header;
use glassnet::kernels::optimizer::{MOMENTUM, Rule};
use glassnet::net::Network;
use glassnet::program::{Options, Stage, TrainingStep};
use pollster::block_on;
use std::time::Duration;

const BATCH: usize = 6;
const EXAMPLES: usize = 40;
/// More than one submission's slots.
const STEPS: u32 = 150;

fn small() -> Network {
    network(
        "layers = [{ type = 'input', height = 10, width = 10, channels = 1 },
        { type = 'conv', filters = 4, kernel = 3, activation = 'relu' }, { type = 'batch-norm' },
        { type = 'max-pool', size = 2 }, { type = 'fc', outputs = 4 }, { type = 'softmax' }]",
    )
}

struct Rig {
    lowered: TrainingStep,
    executor: GpuExecutor,
    examples: Examples,
}

impl Rig {
    fn new(adapter: Adapter) -> Option<Rig> {
        let gpu = common::gpu()?.assuming(adapter);
        let (network, examples) = (small(), Examples::noise([10, 10, 1], EXAMPLES, 4));
        let options = Options::training(BATCH, examples.source(), Rule::new(&MOMENTUM));
        let lowered = TrainingStep::lower(&network, &options).expect("it lowers");
        let mut executor = block_on(GpuExecutor::new(&gpu, lowered.program.clone())).expect("it fits");
        load(&mut executor, &lowered, &examples, &parameters(&network, 3));
        load_decay(&mut executor, &lowered, 0.0, 1e-4);
        Some(Rig { lowered, executor, examples })
    }

    fn inputs(&self, step: u32) -> Vec<u32> {
        let indices: Vec<u32> = (0..BATCH as u32).map(|i| (step * 7 + i * 5) % EXAMPLES as u32).collect();
        let header = Header { step, training: true, learning_rate: 0.01, ..Header::evaluation(0) };
        step_inputs(&self.lowered, header, &self.examples, &indices)
    }

    /// Trains with a row of statistics now and then, and a validation pass after it.
    fn train(&mut self, first: u32) -> (Vec<Capture>, Vec<u32>) {
        let Rig { lowered, .. } = self;
        let (outputs, statistics) = (lowered.outputs, lowered.statistics.clone());
        let phases = [Stage::Forward, Stage::Backward, Stage::Update].map(|stage| lowered.stage(stage));
        let whole = lowered.stages(Stage::Batch, Stage::Update);
        let (batch, rest) = (lowered.stage(Stage::Batch), lowered.stages(Stage::Unfused, Stage::Statistics));
        let forward = lowered.stages(Stage::Batch, Stage::Forward);
        let mut arrived = Vec::new();
        for step in first..first + STEPS {
            let inputs = self.inputs(step);
            let (executor, tag) = (&mut self.executor, 10 * u64::from(step));
            executor.begin_step(&inputs).expect("it begins");
            let measured = step % 20 == 19;
            if measured {
                executor.run(batch.clone()).expect("it runs");
                block_on(executor.run_timed(tag + 1, &phases)).expect("it runs");
            } else {
                executor.run(whole.clone()).expect("it runs");
            }
            executor.capture(tag, &[outputs.loss.id, outputs.correct.id]).expect("a capture");
            if measured {
                executor.run(rest.clone()).expect("it runs");
                executor.capture(tag + 2, &[statistics.counts.id, statistics.values.id]).expect("a capture");
            }
            block_on(executor.end_step(true)).expect("it ends");
            if measured {
                executor.begin_step(&inputs).expect("it begins");
                executor.run(forward.clone()).expect("it runs");
                executor.capture(tag + 3, &[outputs.correct.id, outputs.losses.id]).expect("a capture");
                block_on(executor.end_step(false)).expect("it ends");
            }
            arrived.extend(executor.captured().expect("captures"));
        }
        block_on(self.executor.finish()).expect("it finishes");
        arrived.extend(self.executor.captured().expect("captures"));
        (arrived, words(&mut self.executor, self.lowered.parameters.id))
    }
}

/// Everything but durations.
fn bits(captures: &[Capture]) -> Vec<(u64, Vec<Vec<u32>>, Option<usize>)> {
    let timed = |capture: &Capture| capture.timings.as_ref().map(|timings| timings.nanoseconds.len());
    captures.iter().map(|capture| (capture.tag, capture.buffers.clone(), timed(capture))).collect()
}

#[test]
fn submissions_of_any_length_give_the_same_bits() {
    for adapter in Adapter::SORTS {
        let Some(mut whole) = Rig::new(adapter) else { return };
        whole.executor.set_submission_time(Duration::from_secs(3600));
        let (captures, parameters) = whole.train(0);
        assert!(whole.executor.submitting().submissions < 40, "{:?}", whole.executor.submitting());
        for time in [Duration::ZERO, Duration::from_millis(1)] {
            let mut cut = Rig::new(adapter).expect("there was one before");
            cut.executor.set_submission_time(time);
            let (others, weights) = cut.train(0);
            assert!(bits(&captures) == bits(&others), "captures with submissions of {time:?} on {adapter:?}");
            assert!(parameters == weights, "parameters with submissions of {time:?} on {adapter:?}");
            let submissions = cut.executor.submitting().submissions;
            let dispatches = cut.executor.dispatches(cut.lowered.stages(Stage::Batch, Stage::Update)) as u64;
            assert!(!time.is_zero() || submissions >= dispatches * u64::from(STEPS), "{submissions} submissions");
        }
    }
}

#[test]
fn a_submission_amid_a_step_changes_nothing_for_any_number_of_steps_after_it() {
    let Some(mut whole) = Rig::new(Adapter::HARDWARE) else { return };
    let mut broken = Rig::new(Adapter::HARDWARE).expect("there was one before");
    for (rig, breaks) in [(&mut whole, false), (&mut broken, true)] {
        rig.executor.set_submission_time(Duration::from_secs(3600));
        for step in 0..STEPS {
            let inputs = rig.inputs(step);
            let Rig { lowered, executor, .. } = rig;
            executor.begin_step(&inputs).expect("it begins");
            executor.run(lowered.stages(Stage::Batch, Stage::Forward)).expect("it runs");
            executor.capture(u64::from(step), &[lowered.outputs.loss.id]).expect("a capture");
            if breaks && step % 80 == 10 {
                // Reading submits.
                words(executor, lowered.outputs.loss.id);
            }
            executor.run(lowered.stages(Stage::Backward, Stage::Update)).expect("it runs");
            block_on(executor.end_step(true)).expect("it ends");
        }
    }
    block_on(broken.executor.finish()).expect("it finishes");
    block_on(whole.executor.finish()).expect("it finishes");
    let captures = [&mut whole, &mut broken].map(|rig| bits(&rig.executor.captured().expect("captures")));
    assert!(captures[0] == captures[1] && captures[0].len() == STEPS as usize, "captures");
    let parameters = [&mut whole, &mut broken].map(|rig| words(&mut rig.executor, rig.lowered.parameters.id));
    assert!(parameters[0] == parameters[1], "parameters");
}

#[test]
fn a_result_that_was_captured_is_kept_from_later_writes_of_the_same_step() {
    let Some(mut rig) = Rig::new(Adapter::HARDWARE) else { return };
    let (loss, inputs) = (rig.lowered.outputs.loss.id, rig.inputs(0));
    let Rig { lowered, executor, .. } = &mut rig;
    run_to(executor, lowered, Stage::Forward, &inputs);
    executor.capture(1, &[loss]).expect("a capture");
    // Other weights, all zero, in the same step.
    let spare = lowered.trainable.expect("it trains").parameters_next.id;
    executor.copy(spare, lowered.parameters.id).expect("a copy");
    executor.run(lowered.stage(Stage::Forward)).expect("it runs");
    executor.capture(2, &[loss]).expect("a capture");
    executor.write(loss, &[5.0f32.to_bits()]).expect("a write");
    executor.capture(3, &[loss]).expect("a capture");
    let correct = lowered.outputs.correct.id;
    executor.copy(correct, loss).expect("a copy");
    executor.capture(4, &[loss, correct]).expect("a capture");
    block_on(executor.finish()).expect("it finishes");
    let captures = executor.captured().expect("captures");
    let losses: Vec<f32> = captures.iter().map(|c| f32::from_bits(c.buffers[0][0])).collect();
    let even = BATCH as f32 * 4f32.ln();
    assert!((losses[0] - even).abs() > 1e-3, "{losses:?}");
    assert!((losses[1] - even).abs() < 1e-4, "{losses:?}");
    assert_eq!((losses[2], &captures[3].buffers[0]), (5.0, &captures[3].buffers[1]), "{losses:?}");
    assert_eq!(words(executor, loss), captures[3].buffers[0]);
}

#[test]
fn each_step_has_inputs_of_its_own_which_can_be_read_written_and_copied() {
    let Some(mut rig) = Rig::new(Adapter::SOFTWARE) else { return };
    let (all, header) = (rig.lowered.inputs.all.id, rig.lowered.inputs.header.id);
    let predictions = rig.lowered.outputs.predictions.id;
    // Two steps in one submission, and the second one's labels are read from its own slot.
    for step in 0..2 {
        let inputs = rig.inputs(step);
        run_to(&mut rig.executor, &rig.lowered, Stage::Forward, &inputs);
        rig.executor.capture(u64::from(step), &[all, predictions]).expect("a capture");
        block_on(rig.executor.end_step(false)).expect("it ends");
    }
    let second = rig.inputs(1);
    assert_eq!(words(&mut rig.executor, all), second);
    let captured = rig.executor.captured().expect("captures");
    assert_eq!([&captured[0].buffers[0], &captured[1].buffers[0]], [&rig.inputs(0), &second]);
    assert_ne!(captured[0].buffers[1], captured[1].buffers[1], "different examples");
    // A new header counts only three examples: the loss is theirs.
    let loss = rig.lowered.outputs.loss.id;
    let three = Header { valid: 3, ..Header::read(&second) };
    rig.executor.write(header, &three.words()).expect("a write");
    rig.executor.run(rig.lowered.stages(Stage::Batch, Stage::Forward)).expect("it runs");
    let written = words(&mut rig.executor, loss);
    let fewer = rig::step_inputs(
        &rig.lowered,
        three,
        &rig.examples,
        &second[rig.lowered.program.root(rig.lowered.inputs.indices.id).1..][..3],
    );
    run_to(&mut rig.executor, &rig.lowered, Stage::Forward, &fewer);
    assert_eq!(written, words(&mut rig.executor, loss));
}
