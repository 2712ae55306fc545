//! Runs two executors over the same step, operation by operation: they agree, and an operation that differs is named.

mod common;

use common::emulated::{USUAL, emulated};
use common::rig::{Examples, executor, load, load_decay, network, parameters, step_inputs};
use glassnet::error::Result;
use glassnet::exec::gpu::{Choice, Gpu, RuntimeChecks};
use glassnet::exec::lockstep::{Divergence, Report, lockstep};
use glassnet::exec::{Capture, Device, DeviceInfo, Executor, Pending};
use glassnet::kernels::batch::Header;
use glassnet::kernels::optimizer::{self, OPTIMIZERS, Rule};
use glassnet::kernels::{Adapter, BufferId, Element, Matrices, Variant};
use glassnet::net::Network;
use glassnet::program::{DeviceClass, Options, Program, TrainingStep};
use pollster::block_on;
use std::ops::Range;
use std::sync::Arc;

fn adam() -> Rule {
    Rule::new(&optimizer::ADAM)
}

fn adadelta() -> Rule {
    Rule::new(&optimizer::ADADELTA).with("epsilon", 1e-8)
}

const BATCH: usize = 5;

/// A network, examples for it, and the inputs of a training step with two rows of the batch left empty.
struct Step {
    network: Network,
    examples: Examples,
    rule: Rule,
    class: DeviceClass,
}

impl Step {
    fn new(network: Network, shape: [usize; 3], rule: Rule) -> Step {
        let examples = Examples::noise(shape, 9, network.classes());
        Step { network, examples, rule, class: DeviceClass::Processor }
    }

    fn preset(name: &str, rule: Rule) -> Step {
        Step::new(Network::preset(name).expect("a preset"), [28, 28, 1], rule)
    }

    /// One of every layer, small enough to run often.
    fn small() -> Step {
        let layers = r#"layers = [
            { type = "input", height = 6, width = 7, channels = 1 },
            { type = "conv", filters = 3, kernel = 3, pad = 1, activation = "relu" },
            { type = "max-pool", size = 2, stride = 2 },
            { type = "conv", filters = 6, kernel = 2, pad = 1, activation = "leaky-relu" },
            { type = "lrn", size = 3, alpha = 0.5 },
            { type = "maxout" },
            { type = "avg-pool", size = [2, 3], stride = 1, pad = [1, 0] },
            { type = "conv", filters = 2, kernel = 2 },
            { type = "tanh" },
            { type = "dropout", rate = 0.25 },
            { type = "global-avg-pool" },
            { type = "fc", outputs = 4, activation = "sigmoid" },
            { type = "fc", outputs = 4, activation = "relu" },
            { type = "fc", outputs = 3 },
            { type = "softmax", label_smoothing = 0.1 },
        ]"#;
        Step::new(network(layers), [6, 7, 1], adam())
    }

    /// The same step, lowered for hardware.
    fn for_hardware(self) -> Step {
        Step { class: DeviceClass::Hardware, ..self }
    }

    fn options(&self) -> Options {
        Options { class: self.class, ..Options::training(BATCH, self.examples.source(), self.rule) }
    }

    fn lowered(&self) -> TrainingStep {
        TrainingStep::lower(&self.network, &self.options()).expect("the network lowers")
    }

    fn executor(&self, device: &Device) -> Box<dyn Executor> {
        let options = self.options();
        let (lowered, mut executor) =
            executor(device, &self.network, &options, &self.examples, &parameters(&self.network, 2));
        load_decay(&mut *executor, &lowered, 1e-4, 1e-3);
        executor
    }

    /// An executor whose products are computed by kernels with the cooperative matrices of `adapter`, wherever one fits,
    /// after `replaced`; and the number of these products.
    fn by_matrices(
        &self,
        device: &Device,
        adapter: Adapter,
        replaced: impl Fn(&'static Variant) -> &'static Variant,
    ) -> (usize, Box<dyn Executor>) {
        let lowered = self.lowered();
        let (mut program, mut count) = (Program::clone(&lowered.program), 0);
        for op in program.instructions.iter_mut().map(|instruction| &mut instruction.op) {
            let own = op.variants(adapter).find(|variant| variant.matrices.is_some());
            count += usize::from(own.is_some());
            op.variant = own.map(&replaced);
        }
        let mut executor = block_on(device.executor(Arc::new(program))).expect("the device holds the program");
        load(&mut *executor, &lowered, &self.examples, &parameters(&self.network, 2));
        load_decay(&mut *executor, &lowered, 1e-4, 1e-3);
        (count, executor)
    }

    /// Checks that the reference and such an executor agree on every operation.
    fn assert_agrees_by_matrices(
        &self,
        device: &Device,
        adapter: Adapter,
        replaced: impl Fn(&'static Variant) -> &'static Variant,
    ) {
        let (count, mut other) = self.by_matrices(device, adapter, replaced);
        let report = self.run(&mut *self.executor(&Device::Reference), &mut *other);
        assert_eq!(report.divergence, None, "{}", self.network.name);
        // The first convolution has one channel.
        assert!(count >= 3, "{count} products of {}", self.network.name);
    }

    fn run(&self, first: &mut dyn Executor, second: &mut dyn Executor) -> Report {
        let header = Header {
            step: 3,
            seed: 11,
            training: true,
            learning_rate: 0.01,
            correction1: 0.1,
            correction2: 0.001,
            ..Header::evaluation(0)
        };
        let inputs = step_inputs(&self.lowered(), header, &self.examples, &[8, 1, 4]);
        block_on(lockstep(first, second, &inputs)).expect("both devices run")
    }

    /// The small network with another loss.
    fn small_with(loss: &str) -> Step {
        let layers = format!(
            r#"layers = [
                {{ type = "input", height = 6, width = 7, channels = 1 }},
                {{ type = "fc", outputs = 5, activation = "relu" }},
                {{ type = "fc", outputs = 3 }},
                {{ type = "{loss}" }},
            ]"#
        );
        Step::new(network(&layers), [6, 7, 1], adam())
    }

    /// Checks that the reference and `device` agree on every operation.
    fn assert_agrees(&self, device: &Device) {
        let (mut reference, mut other) = (self.executor(&Device::Reference), self.executor(device));
        let report = self.run(&mut *reference, &mut *other);
        assert_eq!(report.divergence, None, "{} on {}", self.network.name, device.info().executor);
        assert_eq!(report.operations, reference.program().instructions.len());
    }

    fn divergence(&self, first: &mut dyn Executor, second: &mut dyn Executor) -> Divergence {
        self.run(first, second).divergence.expect("the fault is found")
    }
}

#[test]
fn cpu_and_reference_agree_over_a_step_of_the_default_preset() {
    Step::preset("convnetjs-mnist", adadelta()).assert_agrees(&Device::Cpu);
}

#[test]
fn gpu_and_reference_agree_over_a_step_of_the_default_preset() {
    if let Some(gpu) = common::gpu() {
        Step::preset("convnetjs-mnist", adadelta()).assert_agrees(&Device::Gpu(gpu));
    }
}

#[test]
fn the_hardware_variants_agree_with_the_reference_over_a_step_of_each_preset() {
    let Some(gpu) = common::gpu() else { return };
    let device = Device::Gpu(gpu.assuming(Adapter::HARDWARE));
    for preset in ["convnetjs-mnist", "fast-mnist", "vgg-mnist", "resnet-mnist"] {
        Step::preset(preset, adadelta()).for_hardware().assert_agrees(&device);
    }
    Step::small().for_hardware().assert_agrees(&device);
    for loss in ["hinge", "mse"] {
        Step::small_with(loss).for_hardware().assert_agrees(&device);
    }
}

#[test]
fn kernels_with_emulated_matrices_agree_with_the_reference_over_a_step() {
    let Some(gpu) = common::gpu() else { return };
    let device = Device::Gpu(gpu.assuming(Adapter::HARDWARE));
    for (preset, matrices) in [("convnetjs-mnist", Matrices::F16_16), ("fast-mnist", Matrices::F16_8)] {
        let adapter = Adapter { matrices: Some(matrices), ..Adapter::HARDWARE };
        let step = Step::preset(preset, adadelta()).for_hardware();
        step.assert_agrees_by_matrices(&device, adapter, |variant| emulated(variant, USUAL));
    }
}

#[test]
fn kernels_with_the_adapters_own_matrices_agree_with_the_reference_over_a_step() {
    let Some(gpu) = common::gpu() else { return };
    let own: Vec<_> = gpu.summary().precisions.iter().copied().filter(|one| one.factor().is_some()).collect();
    if own.is_empty() {
        common::skipped("the adapter has no cooperative matrices; emulated ones are tested");
    }
    for precision in own {
        let gpu = block_on(Gpu::open(&Choice::Any, RuntimeChecks::Off, precision)).expect("it opens");
        let adapter = Adapter { software: false, ..gpu.adapter() };
        let device = Device::Gpu(gpu.assuming(adapter));
        for preset in ["convnetjs-mnist", "fast-mnist", "vgg-mnist", "resnet-mnist"] {
            let step = Step::preset(preset, adadelta()).for_hardware();
            step.assert_agrees_by_matrices(&device, adapter, |variant| variant);
        }
    }
}

#[test]
fn cpu_and_reference_agree_over_a_step_for_hardware() {
    for preset in ["convnetjs-mnist", "vgg-mnist"] {
        Step::preset(preset, adam()).for_hardware().assert_agrees(&Device::Cpu);
    }
}

#[test]
fn cpu_and_reference_agree_over_a_step_of_vgg() {
    Step::preset("vgg-mnist", adam()).assert_agrees(&Device::Cpu);
}

#[test]
fn gpu_and_reference_agree_over_a_step_of_vgg() {
    if let Some(gpu) = common::gpu() {
        Step::preset("vgg-mnist", adam()).assert_agrees(&Device::Gpu(gpu));
    }
}

#[test]
fn every_loss_agrees_with_the_reference_on_every_device() {
    let devices = [Device::Cpu].into_iter().chain(common::gpu().map(Device::Gpu));
    for device in devices {
        for loss in ["hinge", "mse"] {
            Step::small_with(loss).assert_agrees(&device);
        }
        Step::small().assert_agrees(&device);
    }
}

#[test]
fn gpu_and_reference_agree_with_other_optimizers() {
    if let Some(gpu) = common::gpu() {
        for rule in OPTIMIZERS.map(Rule::new) {
            Step { rule, ..Step::small() }.assert_agrees(&Device::Gpu(gpu.clone()));
        }
    }
}

#[test]
fn one_changed_weight_is_found_at_the_convolution_that_uses_it() {
    let step = Step::small();
    let (mut first, mut second) = (step.executor(&Device::Reference), step.executor(&Device::Cpu));
    let conv2 = step.network.nodes.iter().position(|n| n.name == "conv2").expect("there is a conv2");
    let weight = step.lowered().nodes[conv2].parameters.expect("a convolution has weights").weight;
    let mut words = block_on(second.read(weight.id)).expect("the weights are read");
    words[0] = (f32::from_bits(words[0]) + 0.5).to_bits();
    second.write(weight.id, &words).expect("the weights are written");
    let found = step.divergence(&mut *first, &mut *second);
    assert_eq!((found.operation.as_str(), found.kernel), ("conv2.forward", "conv.forward"));
    // Filter 0 alone differs: every second value, NHWC.
    assert_eq!((found.buffer.as_str(), found.index % 2), ("conv2.activation", 0));
}

/// The effect of a broken operation on the last value of one of its outputs.
#[derive(Clone, Copy)]
enum Fault {
    /// Off by a thousandth of the largest value.
    Shift,
    Nan,
}

/// An executor whose operation `broken` gets one output wrong.
struct Broken {
    inner: Box<dyn Executor>,
    broken: usize,
    output: usize,
    fault: Fault,
}

impl Broken {
    fn spoil(&mut self) -> Result<()> {
        let id = self.inner.program().instructions[self.broken].op.outputs[self.output];
        let mut words = block_on(self.inner.read(id))?;
        let last = words.len() - 1;
        words[last] = match (self.inner.program().buffer(id).element, self.fault) {
            (Element::U32, _) => words[last] + 1,
            (Element::F32, Fault::Nan) => f32::NAN.to_bits(),
            (Element::F32, Fault::Shift) => {
                let sizes = words.iter().map(|w| f32::from_bits(*w).abs());
                let largest = sizes.filter(|v| *v < f32::MAX).fold(0.0, f32::max);
                (f32::from_bits(words[last]) + 1e-3 * largest + 1e-6).to_bits()
            }
        };
        self.inner.write(id, &words)
    }
}

impl Executor for Broken {
    fn device(&self) -> &DeviceInfo {
        self.inner.device()
    }
    fn program(&self) -> &Program {
        self.inner.program()
    }
    fn write(&mut self, buffer: BufferId, words: &[u32]) -> Result<()> {
        self.inner.write(buffer, words)
    }
    fn copy(&mut self, from: BufferId, to: BufferId) -> Result<()> {
        self.inner.copy(from, to)
    }
    fn begin_step(&mut self, words: &[u32]) -> Result<()> {
        self.inner.begin_step(words)
    }
    fn run(&mut self, instructions: Range<usize>) -> Result<()> {
        self.inner.run(instructions.clone())?;
        if instructions.contains(&self.broken) { self.spoil() } else { Ok(()) }
    }
    fn run_timed(&mut self, tag: u64, ranges: &[Range<usize>]) -> Pending<'_, ()> {
        self.inner.run_timed(tag, ranges)
    }
    fn capture(&mut self, tag: u64, buffers: &[BufferId]) -> Result<()> {
        self.inner.capture(tag, buffers)
    }
    fn end_step(&mut self, update: bool) -> Pending<'_, ()> {
        self.inner.end_step(update)
    }
    fn captured(&mut self) -> Result<Vec<Capture>> {
        self.inner.captured()
    }
    fn finish(&mut self) -> Pending<'_, ()> {
        self.inner.finish()
    }
    fn read(&mut self, buffer: BufferId) -> Pending<'_, Vec<u32>> {
        self.inner.read(buffer)
    }
}

/// Breaks every output of every operation in turn, and expects each to be named.
fn every_fault_is_named(fault: Fault) {
    let step = Step::small();
    let instructions = step.lowered().program.instructions.clone();
    for (broken, instruction) in instructions.iter().enumerate() {
        for (output, id) in instruction.op.outputs.iter().enumerate() {
            let mut first = step.executor(&Device::Reference);
            let mut second = Broken { inner: step.executor(&Device::Reference), broken, output, fault };
            let found = step.divergence(&mut *first, &mut second);
            let spec = first.program().buffer(*id);
            assert_eq!(found.operation, instruction.name);
            assert_eq!((&found.buffer, found.index), (&spec.name, spec.len - 1), "{}", instruction.name);
        }
    }
}

#[test]
fn a_slightly_wrong_value_is_named_in_whatever_operation_it_arises() {
    every_fault_is_named(Fault::Shift);
}

#[test]
fn a_nan_is_named_in_whatever_operation_it_arises() {
    every_fault_is_named(Fault::Nan);
}
