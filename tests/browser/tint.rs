//! Every shader through Tint, the browser's own compiler of WGSL: every entry point, with every set of constants that the
//! presets' training steps have (a kernel that none of them uses: those of its cases), reading textures and reading buffers.
//! naga, which compiles natively, takes WGSL that Tint refuses.

use super::driver::Driver;
use glassnet::kernels::{self, Element, Kernel, Op};
use glassnet::net::{Network, PRESETS};
use glassnet::program::{Options, Program, Source};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Compiles `shaders` (name, source), then `pipelines` of them; returns how many there were, and what was refused.
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

/// The operations of a training step of every preset; of kernels that are in none, those of their cases.
fn operations() -> Vec<Op> {
    let mut operations = Vec::new();
    for (name, _) in PRESETS {
        let network = Network::preset(name).expect("a preset");
        let shape = network.input_shape();
        let more = 4 * usize::from(network.crop);
        let source =
            Source { height: shape.height + more, width: shape.width + more, channels: shape.channels, examples: 8 };
        let settings = glassnet::train::Settings::resolve(network.clone(), &Default::default()).expect("settings");
        let options = Options::training(4, source, settings.rule());
        let program = Program::lower(&network, &options).expect("it lowers");
        operations.extend(program.instructions.into_iter().map(|instruction| instruction.op));
    }
    let in_presets: Vec<&str> = operations.iter().map(|op| op.kernel.name).collect();
    let others = kernels::cases().into_iter().map(|case| case.op);
    operations.extend(others.filter(|op| !in_presets.contains(&op.kernel.name)));
    operations
}

/// The layout of a kernel's bind group, as WebGPU's dictionaries.
fn entries(kernel: &Kernel) -> Vec<Value> {
    let buffer = |kind: &str| json!({ "buffer": { "type": kind } });
    let texture = |input: usize| match kernel.inputs[input] {
        Element::F32 => json!({ "texture": { "sampleType": "unfilterable-float" } }),
        Element::U32 => json!({ "texture": { "sampleType": "uint" } }),
    };
    let inputs = kernel.inputs.iter().map(|_| buffer("read-only-storage"));
    let outputs = kernel.outputs.iter().map(|_| buffer("storage"));
    let textures = kernel.textures.iter().map(|t| texture(t.input));
    std::iter::once(buffer("uniform")).chain(inputs).chain(outputs).chain(textures).collect()
}

/// What is to be compiled: shaders, and pipelines without repetition.
fn request(kernels: &[&'static Kernel], operations: &[Op]) -> [Value; 2] {
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
    for op in operations.iter().filter(|op| places.contains_key(op.kernel.name)) {
        for textures in if op.kernel.textures.is_empty() { &[0][..] } else { &[0, 1] } {
            let mut constants: BTreeMap<&str, u32> = op.constants.iter().copied().collect();
            if !op.kernel.textures.is_empty() {
                constants.insert("TEXTURES", *textures);
            }
            let key = format!("{} {constants:?}", op.kernel.name);
            pipelines.entry(key).or_insert_with(|| {
                json!({
                    "name": op.kernel.name,
                    "shader": places[op.kernel.name],
                    "entry": op.kernel.entry,
                    "constants": constants,
                    "entries": entries(op.kernel),
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
    for kernel in kernels::ALL {
        assert!(operations.iter().any(|op| op.kernel.name == kernel.name), "{} is compiled", kernel.name);
    }
    let answer = driver.browser_with_webgpu().run_async(COMPILE, json!(request(kernels::ALL, &operations)));
    println!("{} pipelines", answer["pipelines"]);
    assert_eq!(answer["refused"], json!([]), "Tint refuses what naga takes");
    assert!(answer["pipelines"].as_u64() >= Some(kernels::ALL.len() as u64), "{answer}");
}

#[test]
fn what_tint_refuses_is_found() {
    let Some(driver) = Driver::start() else { return };
    let kernel = &glassnet::kernels::relu::FORWARD;
    let [mut shaders, pipelines] = request(&[kernel], &operations());
    let source = kernel.source.replacen("return;", "if true || false && true { return; } return;", 1);
    assert_ne!(source, kernel.source);
    naga::front::wgsl::parse_str(&source).expect("naga takes it");
    shaders[0]["source"] = source.into();
    let answer = driver.browser_with_webgpu().run_async(COMPILE, json!([shaders, pipelines]));
    let refused = answer["refused"].to_string();
    assert!(refused.contains("relu, line") && refused.contains("parenthes"), "{refused}");
}
