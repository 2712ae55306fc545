//! Compiles every shader with Tint, the browser's own WGSL compiler: every entry point, with every set of constants in
//! the presets' training steps on software and on hardware (for unused kernels, those of their cases). naga, the native
//! compiler, accepts WGSL that Tint refuses.

use super::driver::Driver;
use glassnet::kernels::{self, Adapter, Dispatch, Element, Op, Operand, Operation, Variant};
use glassnet::net::{Network, PRESETS};
use glassnet::program::{DeviceClass, Options, Source, TrainingStep};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Compiles `shaders` (name, source), then `pipelines` of them; returns their number and the refusals.
const COMPILE: &str = "
    const [shaders, pipelines] = arguments;
    if (!navigator.gpu) throw new Error('this browser has no WebGPU');
    const adapter = await navigator.gpu.requestAdapter();
    if (!adapter) throw new Error('WebGPU has no adapter');
    const device = await adapter.requestDevice();
    const refused = [], modules = [];
    device.pushErrorScope('validation');
    for (const { name, source } of shaders) {
        const module = device.createShaderModule({ code: source });
        const { messages } = await module.getCompilationInfo();
        for (const { type, lineNum, message } of messages) {
            if (type !== 'info') refused.push(`${name}, line ${lineNum}: ${type}: ${message}`);
        }
        modules.push(module);
    }
    for (const { name, shader, entry, constants, entries } of pipelines) {
        const bindings = entries.map((entry, binding) => ({ binding, visibility: GPUShaderStage.COMPUTE, ...entry }));
        const layout = device.createPipelineLayout({ bindGroupLayouts: [device.createBindGroupLayout({ entries: bindings })] });
        const compute = { module: modules[shader], entryPoint: entry, constants };
        try {
            await device.createComputePipelineAsync({ layout, compute });
        } catch (error) {
            refused.push(`${name} ${JSON.stringify(constants)}: ${error.message}`);
        }
    }
    const error = await device.popErrorScope();
    if (error && !refused.length) refused.push(error.message);
    return { pipelines: pipelines.length, refused };";

/// The cases of a variant that no preset uses: each shape is a pipeline, and a browser keeps all of them.
const CASES: usize = 2;

/// All variants except those with cooperative matrices, which WebGPU does not have.
fn variants() -> impl Iterator<Item = &'static Variant> {
    kernels::variants().map(|(_, variant)| variant).filter(|variant| variant.matrices.is_none())
}

/// The operations of a training step of every preset with their variants, for both kinds of adapters; for unused
/// variants, those of some of their cases.
fn operations() -> Vec<(Op, &'static Variant)> {
    let mut chosen: Vec<(Op, &'static Variant)> = Vec::new();
    let kinds = [(DeviceClass::Processor, Adapter::SOFTWARE), (DeviceClass::Hardware, Adapter::HARDWARE)];
    for (name, _) in PRESETS {
        let network = Network::preset(name).expect("a preset");
        let shape = network.input_shape();
        let more = 4 * usize::from(network.crop);
        let source =
            Source { height: shape.height + more, width: shape.width + more, channels: shape.channels, examples: 8 };
        let settings = glassnet::train::Settings::resolve(network.clone(), &Default::default()).expect("settings");
        for (class, adapter) in kinds {
            let options = Options { class, ..Options::training(4, source, settings.rule()) };
            let step = TrainingStep::lower(&network, &options).expect("it lowers");
            let ops = step.program.instructions.iter().map(|instruction| instruction.op.clone());
            chosen.extend(ops.map(|op| (op.clone(), op.chosen(adapter))));
        }
    }
    let mut left: BTreeMap<&str, usize> = variants().map(|variant| (variant.name, CASES)).collect();
    left.retain(|name, _| chosen.iter().all(|(_, variant)| variant.name != *name));
    for case in kernels::cases() {
        let variants: Vec<&Variant> = Adapter::SORTS.iter().flat_map(|adapter| case.op.variants(*adapter)).collect();
        for variant in variants {
            if let Some(left) = left.get_mut(variant.name).filter(|left| **left > 0) {
                *left -= 1;
                chosen.push((case.op.clone(), variant));
            }
        }
    }
    chosen
}

/// The layout of a variant's bind group, as WebGPU's dictionaries.
fn entries(operation: &Operation, variant: &Variant) -> Vec<Value> {
    let buffer = |kind: &str| json!({ "buffer": { "type": kind } });
    let texture = |element: Element| match element {
        Element::F32 => json!({ "texture": { "sampleType": "unfilterable-float" } }),
        Element::U32 => json!({ "texture": { "sampleType": "uint" } }),
    };
    let input = |input: &Operand| match variant.texture(*input) {
        Some(_) => texture(input.element),
        None => buffer("read-only-storage"),
    };
    let inputs = operation.inputs.iter().map(input);
    let outputs = operation.outputs.iter().map(|_| buffer("storage"));
    let scratch = variant.scratch.map(|_| buffer("storage"));
    std::iter::once(buffer("uniform")).chain(inputs).chain(outputs).chain(scratch).collect()
}

/// Everything to compile: shaders, and pipelines without repetition.
fn request(kernels: &[&'static Variant], operations: &[(Op, &'static Variant)]) -> [Value; 2] {
    let mut sources: Vec<(&str, &str)> = Vec::new();
    let mut places = BTreeMap::new();
    for kernel in kernels {
        let place = sources.iter().position(|(_, source)| *source == kernel.source).unwrap_or_else(|| {
            sources.push((kernel.name.split('.').next().unwrap_or_default(), kernel.source));
            sources.len() - 1
        });
        places.insert(kernel.name, place);
    }
    let mut pipelines = BTreeMap::new();
    for (op, variant) in operations.iter().filter(|(_, variant)| places.contains_key(variant.name)) {
        for Dispatch { entry, launch } in op.dispatches(variant) {
            let constants: BTreeMap<&str, u32> = launch.constants.into_iter().collect();
            let key = format!("{} {entry} {constants:?}", variant.name);
            pipelines.entry(key).or_insert_with(|| {
                json!({
                    "name": variant.name,
                    "shader": places[variant.name],
                    "entry": entry,
                    "constants": constants,
                    "entries": entries(op.operation, variant),
                })
            });
        }
    }
    let shaders = sources.iter().map(|(name, source)| json!({ "name": name, "source": source })).collect();
    [Value::Array(shaders), Value::Array(pipelines.into_values().collect())]
}

#[test]
fn tint_takes_every_entry_point_of_every_shader() {
    let Some(driver) = Driver::start() else { return };
    let operations = operations();
    let all: Vec<&'static Variant> = variants().collect();
    for kernel in &all {
        assert!(operations.iter().any(|(_, variant)| variant.name == kernel.name), "{} is compiled", kernel.name);
    }
    let answer = driver.browser_with_webgpu().run_async(COMPILE, json!(request(&all, &operations)));
    println!("{} pipelines", answer["pipelines"]);
    assert_eq!(answer["refused"], json!([]), "Tint refuses what naga takes");
    assert!(answer["pipelines"].as_u64() >= Some(all.len() as u64), "{answer}");
}

#[test]
fn what_tint_refuses_is_found() {
    let Some(driver) = Driver::start() else { return };
    let variant = glassnet::kernels::relu::FORWARD.gpu[0];
    let [mut shaders, pipelines] = request(&[variant], &operations());
    let source = variant.source.replacen("return;", "if true || false && true { return; } return;", 1);
    assert_ne!(source, variant.source);
    naga::front::wgsl::parse_str(&source).expect("naga takes it");
    shaders[0]["source"] = source.into();
    let answer = driver.browser_with_webgpu().run_async(COMPILE, json!([shaders, pipelines]));
    let refused = answer["refused"].to_string();
    assert!(refused.contains("relu, line") && refused.contains("parenthes"), "{refused}");
}
