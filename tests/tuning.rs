//! Kernels that are chosen by their times: only correct ones win, and a run keeps those that it began with.

mod common;

use common::launching::{Stopper, data};
use common::rig::network;
use glassnet::exec::gpu::{Budget, Gpu, Tuned, fitting, tune};
use glassnet::exec::{Device, DeviceChoice};
use glassnet::formats::load_checkpoint;
use glassnet::kernels::optimizer::{ADADELTA, Rule};
use glassnet::kernels::{Adapter, Launch as Workgroups, Op, Pass, Precision, Variant};
use glassnet::net::{Network, Recipe};
use glassnet::program::{Choices, Options, Program, Source, Stage, TrainingStep};
use glassnet::train::{Effort, Launch, Launched, NewRun, Notice, ResumedRun, Run, RunConfig, RunFolder, Tuner};
use pollster::block_on;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Its operations have several kernels each: convolutions before a ReLU, before a pooling, and alone.
const NET: &str = r#"
name = "small"
layers = [
    { type = "input", height = 24, width = 24, channels = 1, crop = true },
    { type = "conv", filters = 8, kernel = 3, stride = 2, activation = "relu" },
    { type = "conv", filters = 8, kernel = 3, pad = 1, activation = "relu" },
    { type = "max-pool", size = 2 },
    { type = "batch-norm" },
    { type = "fc", outputs = 12, activation = "tanh" },
    { type = "fc", outputs = 10 },
    { type = "softmax" },
]
"#;
const BATCH: usize = 20;

/// The adapter with the variants for hardware, because those for software have other candidates.
fn gpu() -> Option<Gpu> {
    common::gpu().map(|gpu| gpu.assuming(Adapter::HARDWARE))
}

fn step(gpu: &Gpu) -> TrainingStep {
    step_of(gpu, &network(NET), BATCH)
}

fn step_of(gpu: &Gpu, network: &Network, batch: usize) -> TrainingStep {
    let options = Options::training(batch, Source::usual(network, 200), Rule::new(&ADADELTA));
    TrainingStep::lower(network, &options.on(&Device::Gpu(gpu.clone()).limits())).expect("it lowers")
}

fn limited(time: Duration) -> Budget {
    Budget { time, again: false }
}

/// The first workgroup alone: much faster than all of them.
fn first_workgroup(op: &Op) -> Workgroups {
    let last = op.operation.gpu.last().expect("it has variants");
    Workgroups { workgroups: [1; 3], ..(last.first.launch)(op) }
}

#[test]
fn a_wrong_kernel_never_wins_although_it_is_the_fastest() {
    let Some(gpu) = gpu() else { return };
    let step = step(&gpu);
    let planted = |op: &Op, adapter: Adapter| {
        let last = **op.operation.gpu.last().expect("it has variants");
        let first = Pass { launch: first_workgroup, ..last.first };
        // Pipelines are found by their variants' names.
        let name = Box::leak(format!("planted.{}", op.operation.name).into_boxed_str());
        let wrong: &'static Variant = Box::leak(Box::new(Variant { name, first, ..last }));
        [fitting(op, adapter), vec![wrong]].concat()
    };
    let tuned = block_on(tune(&gpu, &step, Budget::FULL, &[], &planted)).expect("it tunes");
    assert_eq!(tuned.unreached, 0);
    assert!(tuned.problems.iter().any(|problem| problem.starts_with("kernel planted.")), "{tuned:?}");
    // Where one workgroup is enough, it is right.
    let large = step.program.instructions.iter().map(|i| &i.op).filter(|op| op.work.flops > 1_000_000);
    let chosen: Vec<&str> = large.filter_map(|op| tuned.choices.get(op)).collect();
    assert!(chosen.len() > 2 && !chosen.iter().any(|name| name.starts_with("planted")), "{chosen:?}");
}

#[test]
fn without_time_every_operation_keeps_its_default() {
    let Some(gpu) = gpu() else { return };
    let step = step(&gpu);
    let tuned = block_on(tune(&gpu, &step, limited(Duration::ZERO), &[], &fitting)).expect("it tunes");
    assert_eq!((tuned.found.len(), tuned.changed), (0, 0));
    assert_eq!(tuned.choices, Choices::of(&step.program, gpu.adapter()));
    assert_eq!(tuned.unreached, distinct(&step, gpu.adapter()));
}

/// A step whose convolutions have a wrong kernel as their default, which is the fastest.
fn step_with_wrong_defaults(gpu: &Gpu) -> TrainingStep {
    let mut step = step(gpu);
    let end = step.stage(Stage::Update).end;
    for instruction in &mut Arc::make_mut(&mut step.program).instructions[..end] {
        let op = &mut instruction.op;
        let right = op.chosen(gpu.adapter());
        let first = Pass { launch: first_workgroup_of_default, ..right.first };
        // Where one workgroup is enough, it is right.
        let is_large = op.work.flops > 100_000;
        if is_large && op.operation.name.starts_with("conv.forward") && op.variants(gpu.adapter()).count() > 1 {
            let name = Box::leak(format!("planted_default.{}", op.operation.name).into_boxed_str());
            op.variant = Some(Box::leak(Box::new(Variant { name, first, ..*right })));
        }
    }
    step
}

/// The first workgroup of the kernel that is the default without measurements.
fn first_workgroup_of_default(op: &Op) -> Workgroups {
    let right = Op { variant: None, ..op.clone() }.chosen(Adapter::HARDWARE);
    Workgroups { workgroups: [1; 3], ..(right.first.launch)(op) }
}

fn is_planted(variant: &str) -> bool {
    variant.starts_with("planted")
}

#[test]
fn a_wrong_default_is_named_and_a_right_kernel_replaces_it() {
    let Some(gpu) = gpu() else { return };
    let step = step_with_wrong_defaults(&gpu);
    let tuned = block_on(tune(&gpu, &step, Budget::FULL, &[], &fitting)).expect("it tunes");
    let planted = tuned.choices.iter().filter(|(_, variant)| is_planted(variant)).count();
    assert_eq!((planted, tuned.unreached), (0, 0), "{tuned:?}");
    assert!(!tuned.problems.is_empty());
    for problem in &tuned.problems {
        assert!(problem.starts_with("kernel planted_default.conv.") && problem.contains("the default"), "{problem}");
    }
}

#[test]
fn an_operation_without_a_right_kernel_keeps_its_default_and_is_named() {
    let Some(gpu) = gpu() else { return };
    let step = step_with_wrong_defaults(&gpu);
    let planted = |op: &Op, adapter: Adapter| {
        let wrong = op.chosen(adapter);
        let name = Box::leak(format!("planted_rival.{}", op.operation.name).into_boxed_str());
        let rival: &'static Variant = Box::leak(Box::new(Variant { name, ..*wrong }));
        if is_planted(wrong.name) { vec![wrong, rival] } else { vec![wrong] }
    };
    let tuned = block_on(tune(&gpu, &step, Budget::FULL, &[], &planted)).expect("it goes on");
    let problem = tuned.problems.iter().find(|problem| problem.contains("no kernel of conv.forward"));
    let problem = problem.unwrap_or_else(|| panic!("{:?}", tuned.problems));
    assert!(problem.contains("planted_default.conv") && problem.contains(&gpu.summary().name), "{problem}");
    assert!(tuned.found.is_empty(), "{:?}", tuned.found);
}

#[test]
fn a_kernel_that_cannot_be_launched_is_a_problem_and_not_a_panic() {
    let Some(gpu) = gpu() else { return };
    let step = step(&gpu);
    let planted = |op: &Op, adapter: Adapter| {
        let last = **op.operation.gpu.last().expect("it has variants");
        let first = Pass { launch: |_| Workgroups::of([0, 1, 1]), ..last.first };
        let impossible: &'static Variant = Box::leak(Box::new(Variant { name: "planted.impossible", first, ..last }));
        [fitting(op, adapter), vec![impossible]].concat()
    };
    let tuned = block_on(tune(&gpu, &step, Budget::FULL, &[], &planted)).expect("it tunes");
    assert_eq!(tuned.choices, Choices::of(&step.program, gpu.adapter()));
    assert!(tuned.problems.iter().all(|problem| problem.contains("keeps its default")), "{tuned:?}");
    assert!(!tuned.problems.is_empty() && gpu.check().is_ok());
}

#[test]
fn a_large_batch_takes_no_more_time_and_every_start_makes_progress() {
    let Some(gpu) = gpu() else { return };
    for batch in [512, 4096] {
        let step = step_of(&gpu, &Network::preset("vgg-mnist").expect("a preset"), batch);
        let (mut known, mut before) = (Vec::new(), 0);
        for _ in 0..2 {
            let tuned = block_on(tune(&gpu, &step, Budget::QUICK, &known, &fitting)).expect("it tunes");
            // Twice the time that is allowed, because tests share the processor, which is the device.
            assert!(tuned.took < Duration::from_secs(4), "{tuned:?}");
            known.extend(tuned.found);
            assert!(known.len() > before, "{batch}: {:?}", tuned.took);
            before = known.len();
        }
    }
}

#[test]
fn a_thorough_search_that_runs_out_of_time_uses_what_is_known() {
    let Some(gpu) = gpu() else { return };
    let step = step(&gpu);
    let found = block_on(tune(&gpu, &step, Budget::FULL, &[], &fitting)).expect("it tunes").found;
    let none = Budget { time: Duration::ZERO, again: true };
    let tuned = block_on(tune(&gpu, &step, none, &found, &fitting)).expect("it tunes");
    assert_eq!((tuned.known, tuned.unreached, tuned.found.len()), (found.len(), 0, 0));
    let again = block_on(tune(&gpu, &step, Budget::FULL, &found, &fitting)).expect("it tunes");
    assert_eq!((again.known, again.found.len()), (0, found.len()));
}

#[test]
fn a_report_of_unreached_operations_names_the_options_that_help() {
    let tuned = Tuned { unreached: 3, ..Tuned::default() }.to_string();
    assert!(tuned.contains("--tune full") && tuned.contains("--tune off"), "{tuned}");
}

#[test]
fn a_device_whose_self_check_was_skipped_is_tuned_only_on_request_and_nothing_is_kept() {
    let Some(gpu) = gpu().map(|gpu| gpu.without_self_check()) else { return };
    let place = tempfile::tempdir().expect("a folder");
    let cache = place.path().join("kernels.json");
    let (device, step) = (Device::Gpu(gpu.clone()), step(&gpu));
    let unasked = Tuner { effort: None, cache: Some(cache.clone()) };
    assert!(!block_on(unasked.tune(&device, &step)).expect("the defaults").is_news());
    let tuned = block_on(tuner(Effort::Quick, &cache).tune(&device, &step)).expect("it tunes");
    assert!(!tuned.found.is_empty() && !cache.exists());
}

/// The number of operations of different shapes with several variants that training always runs.
fn distinct(step: &TrainingStep, adapter: Adapter) -> usize {
    let mut program = Program::clone(&step.program);
    program.instructions.truncate(step.stage(Stage::Update).end);
    Choices::of(&program, adapter).iter().count()
}

#[test]
fn tuning_ends_soon_after_its_time() {
    let Some(gpu) = gpu() else { return };
    let tuned = block_on(tune(&gpu, &step(&gpu), limited(Duration::from_millis(150)), &[], &fitting));
    let tuned = tuned.expect("it tunes");
    // What has begun is finished: at most the kernels of one operation are compiled, and one is checked.
    assert!(tuned.took < Duration::from_secs(5), "{tuned:?}");
}

#[test]
fn every_operation_of_a_network_can_be_timed_and_every_kernel_passes_its_check() {
    let Some(gpu) = gpu() else { return };
    let step = step(&gpu);
    let tuned = block_on(tune(&gpu, &step, Budget::FULL, &[], &fitting)).expect("it tunes");
    assert_eq!((&tuned.problems[..], tuned.unreached), (&[][..], 0));
    assert_eq!(tuned.found.len(), distinct(&step, gpu.adapter()));
    let again = block_on(tune(&gpu, &step, limited(Duration::ZERO), &tuned.found, &fitting)).expect("it tunes");
    assert_eq!((again.known, again.unreached, again.found.len()), (tuned.found.len(), 0, 0));
    assert_eq!(again.choices, tuned.choices);
}

fn device(gpu: &Gpu) -> DeviceChoice {
    DeviceChoice::Open(Device::Gpu(gpu.clone()))
}

fn new(gpu: &Gpu, folder: &Path, tuner: Tuner) -> (Run, Vec<Notice>) {
    let given = Recipe { steps: Some(12), checkpoint_every: Some(4), ..Recipe::default() };
    let (device, folder) = (device(gpu), Some(folder.to_path_buf()));
    ready(Launch::New(Box::new(NewRun { network: network(NET), given, data: data(), device, folder, tuner })))
}

fn resumed(gpu: &Gpu, folder: &Path) -> (Run, Vec<Notice>) {
    let device = Some(device(gpu));
    ready(Launch::Resume(ResumedRun { folder: folder.to_path_buf(), end: None, data: data(), device, precision: None }))
}

fn ready(launch: Launch) -> (Run, Vec<Notice>) {
    let mut notices = Vec::new();
    match block_on(launch.prepare(&mut |notice| notices.push(notice))).expect("it is prepared") {
        Launched::Ready(run) => (*run, notices),
        Launched::Ended(_) => panic!("the run is finished"),
    }
}

/// A run with the default kernels that is stopped at a checkpoint; its kernels.
fn stopped(gpu: &Gpu, folder: &Path) -> Choices {
    let (mut run, _) = new(gpu, folder, Tuner::OFF);
    block_on(run.train(&mut Stopper(Some(4), false))).expect_err("it is stopped");
    run.settings.kernels.clone()
}

/// The warning about kernels that are lost.
fn lost(notices: &[Notice]) -> String {
    notices.iter().find(|notice| matches!(notice, Notice::KernelsLost(_))).expect("a warning").to_string()
}

fn train(mut run: Run) {
    block_on(run.train(&mut Stopper(None, false))).expect("it trains");
}

fn config(folder: &Path) -> RunConfig {
    RunFolder::read(folder).expect("a run").read_config().expect("a config.toml")
}

fn weights(folder: &Path) -> Vec<f32> {
    let checkpoint = load_checkpoint(&folder.join("checkpoint.safetensors")).expect("a checkpoint");
    let layers = checkpoint.model.parameters;
    layers.iter().flat_map(|layer| layer.weight.iter().chain(&layer.bias)).copied().collect()
}

fn tuner(effort: Effort, cache: &Path) -> Tuner {
    Tuner { effort: Some(effort), cache: Some(cache.to_path_buf()) }
}

/// A file in which every result is another variant than the default if there is one.
fn fill_with_others(gpu: &Gpu, cache: &Path) {
    let step = step(gpu);
    let device = Device::Gpu(gpu.clone());
    block_on(tuner(Effort::Full, cache).tune(&device, &step)).expect("it tunes");
    let mut json: Value = serde_json::from_slice(&std::fs::read(cache).expect("a file")).expect("JSON");
    for result in json["results"].as_array_mut().expect("results") {
        let is_its = |op: &&Op| result["operation"] == op.operation.name && result["shape"] == op.shape();
        let op = step.program.instructions.iter().map(|i| &i.op).find(is_its).expect("an operation of the program");
        let default = op.chosen(gpu.adapter()).name;
        let other = op.variants(gpu.adapter()).find(|variant| variant.name != default).expect("there are several");
        result["variant"] = other.name.into();
    }
    std::fs::write(cache, json.to_string()).expect("a file");
}

#[test]
fn a_resumed_run_keeps_its_kernels_and_its_bits_also_if_the_cache_has_others() {
    let Some(gpu) = gpu() else { return };
    let place = tempfile::tempdir().expect("a folder");
    let [whole, stopped, plain] = ["whole", "stopped", "plain"].map(|name| place.path().join(name));
    let cache = place.path().join("cache").join("kernels.json");
    fill_with_others(&gpu, &cache);
    let (run, notices) = new(&gpu, &whole, tuner(Effort::Quick, &cache));
    let others = run.settings.kernels.clone();
    let told = |notice: &Notice| matches!(notice, Notice::Tuned(tuned) if tuned.known > 0 && tuned.found.is_empty());
    assert!(notices.iter().any(told), "{notices:?}");
    train(run);
    assert_eq!(config(&whole).kernels, others);

    let (mut run, _) = new(&gpu, &stopped, tuner(Effort::Quick, &cache));
    block_on(run.train(&mut Stopper(Some(4), false))).expect_err("it is stopped");
    drop(run);
    std::fs::remove_file(&cache).expect("the file is there");
    let (run, notices) = resumed(&gpu, &stopped);
    assert!(!notices.iter().any(|notice| matches!(notice, Notice::Tuned(_) | Notice::KernelsLost(_))), "{notices:?}");
    assert_eq!((&run.now.kernels, &run.state.as_ref().expect("a state").kernels), (&others, &others));
    train(run);
    let [one, other] = [&whole, &stopped].map(|run| std::fs::read(run.join("checkpoint.safetensors")).expect("a file"));
    assert!(one == other, "the bits differ");

    // The defaults compute the same, but round otherwise.
    let (run, notices) = new(&gpu, &plain, tuner(Effort::Off, &cache));
    assert!(notices.is_empty() && !cache.exists(), "{notices:?}");
    assert_eq!(run.settings.kernels, Choices::of(&step(&gpu).program, gpu.adapter()));
    let variants = |choices: &Choices| choices.iter().map(|(_, variant)| variant.to_string()).collect::<BTreeSet<_>>();
    assert!(variants(&run.settings.kernels) != variants(&others));
    train(run);
    let (defaults, others) = (weights(&plain), weights(&whole));
    assert!(defaults != others, "the same bits");
    let farthest = defaults.iter().zip(&others).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(farthest < 1e-3, "{farthest}");
}

#[test]
fn a_kernel_in_config_toml_that_does_not_exist_is_a_warning_and_its_default_is_used() {
    let Some(gpu) = gpu() else { return };
    let place = tempfile::tempdir().expect("a folder");
    let folder = place.path().join("run");
    let recorded = stopped(&gpu, &folder);
    let (_, first) = recorded.iter().next().expect("it has some");
    let file = folder.join("config.toml");
    let text = std::fs::read_to_string(&file).expect("a config.toml");
    assert!(text.contains("[kernels]"), "{text}");
    std::fs::write(&file, text.replacen(&format!("\"{first}\""), "\"of_the_future\"", 1)).expect("a file");
    let (run, notices) = resumed(&gpu, &folder);
    let lost = lost(&notices);
    assert!(lost.contains("WARNING: 1 of the kernels") && lost.contains("of_the_future"), "{lost}");
    assert!(lost.contains(first) && lost.contains("its bits may differ"), "{lost}");
    // The name of a layer's operation instead of its shape in words.
    assert!(lost.contains(" for ") && !lost.contains("; 20 "), "{lost}");
    assert!(notices.contains(&Notice::OtherKernels), "{notices:?}");
    train(run);
}

/// The kernels of the run's precision are of no use in another one, and the defaults of that one are recorded.
#[test]
fn a_run_that_continues_in_another_precision_gets_its_kernels_anew() {
    let Some(gpu) = gpu() else { return };
    let place = tempfile::tempdir().expect("a folder");
    let folder = place.path().join("run");
    let defaults = stopped(&gpu, &folder);
    let file = folder.join("config.toml");
    let text = std::fs::read_to_string(&file).expect("a config.toml");
    let line = text.lines().find(|line| line.starts_with("\"conv.forward ")).expect("a convolution's kernel");
    let key = line.split(" = ").next().expect("a key");
    let other = text.replace(line, &format!("{key} = \"conv_matrix.forward_f16_8\""));
    std::fs::write(&file, format!("precision = \"matrix-f16\"\n{other}")).expect("a file");
    assert_ne!(config(&folder).kernels, defaults);
    let (device, precision) = (Some(device(&gpu)), Some(Precision::F32));
    let resumed = ResumedRun { folder: folder.clone(), end: None, data: data(), device, precision };
    let (run, notices) = ready(Launch::Resume(resumed));
    assert!(notices.contains(&Notice::OtherPrecision { of_run: Precision::MatrixF16, now: Precision::F32 }));
    assert!(!notices.iter().any(|notice| matches!(notice, Notice::KernelsLost(_))), "{notices:?}");
    assert_eq!((&run.settings.kernels, &config(&folder).kernels), (&defaults, &defaults));
    assert_eq!(config(&folder).precision, Precision::F32);
    train(run);
}

/// As after an upgrade that changes the parameters of operations: `config.toml` and checkpoint have the same old keys.
#[test]
fn recorded_kernels_that_belong_to_no_operation_are_a_warning() {
    let Some(gpu) = gpu() else { return };
    let place = tempfile::tempdir().expect("a folder");
    let folder = place.path().join("run");
    let recorded = stopped(&gpu, &folder);
    let (key, kernel) = recorded.iter().find(|(key, _)| key.starts_with("conv.backward_weight ")).expect("a key");
    // Of the same length, because the header of the checkpoint's file holds its own length.
    let (last, digit) = (key.len() - 1, if key.ends_with('7') { "8" } else { "7" });
    let other = format!("{}{digit}", &key[..last]);
    assert!(recorded.iter().all(|(known, _)| known != other));
    for name in ["config.toml", "checkpoint.safetensors"] {
        let file = folder.join(name);
        let bytes = std::fs::read(&file).expect("a file");
        std::fs::write(&file, replaced(&bytes, key.as_bytes(), other.as_bytes())).expect("a file");
    }
    let (run, notices) = resumed(&gpu, &folder);
    let lost = lost(&notices);
    assert!(lost.contains("WARNING: 1 of the kernels") && lost.contains("its bits may differ"), "{lost}");
    assert!(lost.contains(&format!("{kernel} is for a conv.backward_weight in a shape")), "{lost}");
    assert!(!lost.contains(&key[key.len() / 2..]), "the shape in words: {lost}");
    assert!(!notices.contains(&Notice::OtherKernels), "{notices:?}");
    train(run);
}

/// The bytes with every occurrence of `old` replaced.
fn replaced(bytes: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    assert_eq!(old.len(), new.len());
    let mut bytes = bytes.to_vec();
    let places: Vec<usize> = (0..=bytes.len() - old.len()).filter(|at| bytes[*at..].starts_with(old)).collect();
    assert!(!places.is_empty(), "{}", String::from_utf8_lossy(old));
    places.into_iter().for_each(|at| bytes[at..at + old.len()].copy_from_slice(new));
    bytes
}

/// The batch size is the shape of every operation.
#[test]
fn a_batch_size_changed_during_the_run_is_no_lost_kernel() {
    let Some(gpu) = gpu() else { return };
    let program = |batch| {
        let network = network(NET);
        let options = Options::training(batch, Source::usual(&network, 200), Rule::new(&ADADELTA));
        let step = TrainingStep::lower(&network, &options.on(&Device::Gpu(gpu.clone()).limits())).expect("it lowers");
        Program::clone(&step.program)
    };
    let recorded = Choices::of(&program(BATCH), gpu.adapter());
    assert_eq!(recorded.apply(&mut program(BATCH / 2), gpu.adapter()), []);
    assert_eq!(recorded.unmatched(&program(BATCH)), []);
    assert!(!recorded.unmatched(&program(BATCH / 2)).is_empty());
}

#[test]
fn a_run_without_recorded_kernels_goes_on_with_those_of_its_checkpoint() {
    let Some(gpu) = gpu() else { return };
    let place = tempfile::tempdir().expect("a folder");
    let folder = place.path().join("run");
    let recorded = stopped(&gpu, &folder);
    let file = folder.join("config.toml");
    let text = std::fs::read_to_string(&file).expect("a config.toml");
    std::fs::write(&file, text.split("[kernels]").next().expect("a beginning")).expect("a file");
    let (run, notices) = resumed(&gpu, &folder);
    assert_eq!((&run.settings.kernels, &run.config.kernels), (&recorded, &recorded));
    assert!(!notices.iter().any(|n| matches!(n, Notice::KernelsLost(_) | Notice::OtherKernels)), "{notices:?}");
}

#[test]
fn damaged_and_foreign_files_of_results_are_ignored_and_replaced() {
    let Some(gpu) = gpu() else { return };
    let place = tempfile::tempdir().expect("a folder");
    let (device, step) = (Device::Gpu(gpu.clone()), step(&gpu));
    let cache = place.path().join("kernels.json");
    let tuned = || block_on(tuner(Effort::Quick, &cache).tune(&device, &step)).expect("it tunes");
    for content in ["", "no JSON", "{\"version\": 99, \"results\": []}", "{\"winners\": 3}", "[1, 2]"] {
        std::fs::write(&cache, content).expect("a file");
        assert!(!tuned().found.is_empty(), "{content}");
        assert!(tuned().known > 0, "{content}");
    }
    // A folder cannot be replaced; that is no error either.
    std::fs::remove_file(&cache).expect("a file");
    std::fs::create_dir(&cache).expect("a folder");
    assert!(tuned().known == 0);
}

#[test]
fn results_of_another_driver_or_other_kernels_do_not_count() {
    let Some(gpu) = gpu() else { return };
    let place = tempfile::tempdir().expect("a folder");
    let (device, step) = (Device::Gpu(gpu.clone()), step(&gpu));
    let cache = place.path().join("kernels.json");
    fill_with_others(&gpu, &cache);
    let text = std::fs::read_to_string(&cache).expect("a file");
    let known = |text: &str| {
        std::fs::write(&cache, text).expect("a file");
        block_on(tuner(Effort::Quick, &cache).tune(&device, &step)).expect("it tunes").known
    };
    assert_eq!(known(&text), distinct(&step, gpu.adapter()));
    for (key, other) in [("driver", "\"driver\":\"older "), ("candidates", "\"candidates\":\"0")] {
        assert_eq!(known(&text.replace(&format!("\"{key}\":\""), other)), 0, "{key}");
    }
    assert_eq!(known(&text.replace("\"vendor\":", "\"vendor\":1")), 0);
}

#[test]
fn a_software_adapter_is_not_tuned_unless_this_is_asked_for() {
    let Some(gpu) = common::gpu().filter(|gpu| gpu.summary().software) else { return };
    let device = Device::Gpu(gpu.clone());
    let network = network(NET);
    let options = Options::training(BATCH, Source::usual(&network, 200), Rule::new(&ADADELTA));
    let step = TrainingStep::lower(&network, &options.on(&device.limits())).expect("it lowers");
    let tuner = Tuner { effort: None, cache: None };
    let tuned = block_on(tuner.tune(&device, &step)).expect("the defaults");
    assert!(!tuned.is_news());
    assert_eq!(tuned.choices, Choices::of(&step.program, gpu.adapter()));
    let tuned = block_on(Tuner { effort: Some(Effort::Quick), cache: None }.tune(&device, &step)).expect("it tunes");
    assert!(!tuned.found.is_empty() && tuned.problems.is_empty(), "{tuned:?}");
    let none = block_on(tuner.tune(&Device::Cpu, &step)).expect("nothing");
    assert!(none.choices.is_empty());
}
