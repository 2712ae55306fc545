//! Batch normalisation and residual blocks from a user's view: keys, shapes, names, messages, files, training.

mod common;

use common::rig::network;
use glassnet::Error;
use glassnet::data::{self, Dataset, DatasetName, Origin};
use glassnet::exec::Device;
use glassnet::formats::Model;
use glassnet::kernels::optimizer::ADAM;
use glassnet::net::{Activation, Initializer, Layer, Network, Recipe};
use glassnet::train::{Event, Observer, Settings, State};
use pollster::block_on;
use serde_json::Value;

const BLOCKS: &str = r#"
name = "blocks"
layers = [
    { type = "input", height = 8, width = 6, channels = 3 },
    { type = "conv", filters = 4, kernel = 3, pad = 1 },
    { type = "batch-norm", activation = "relu" },
    { type = "residual", activation = "relu", layers = [
        { type = "conv", filters = 4, kernel = 3, pad = 1, activation = "relu" },
        { type = "residual", layers = [{ type = "batch-norm", epsilon = 0.5, momentum = 0.25, bias = 2, decay_factor = 0.5 }] },
    ] },
    { type = "residual", layers = [
        { type = "conv", filters = 6, kernel = 3, stride = 2, pad = 1, rate_factor = 0.5 },
    ], shortcut = [
        { type = "conv", filters = 6, kernel = 1, stride = 2 },
        { type = "batch-norm" },
    ] },
    { type = "global-avg-pool" },
    { type = "fc", outputs = 10 },
    { type = "softmax" },
]
"#;

fn message_of(layers: &str) -> String {
    let text = format!(
        "layers = [{{ type = \"input\", height = 8, width = 6, channels = 3 }}, {layers}, \
         {{ type = \"fc\", outputs = 10 }}, {{ type = \"softmax\" }}]"
    );
    match Network::from_toml(&text.replace('\n', " "), "net.toml") {
        Err(Error::Network(message)) => message,
        other => panic!("expected a network error, got {other:?}"),
    }
}

fn assert_contains(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "{message:?} lacks {part:?}");
    }
}

#[test]
fn blocks_are_spelled_out_in_order_body_shortcut_sum() {
    let network = network(BLOCKS);
    let of = |i: Option<usize>| i.map_or("-", |i| &network.nodes[i].name);
    let lines: Vec<String> = (network.nodes.iter())
        .map(|node| format!("{} {} from {} and {}", node.name, node.output, of(Some(node.from)), of(node.added)))
        .collect();
    assert_eq!(
        lines,
        [
            "input 8x6x3 from input and -",
            "conv1 8x6x4 from input and -",
            "norm1 8x6x4 from conv1 and -",
            "relu1 8x6x4 from norm1 and -",
            "conv2 8x6x4 from relu1 and -",
            "relu2 8x6x4 from conv2 and -",
            "norm2 8x6x4 from relu2 and -",
            "residual1 8x6x4 from norm2 and relu2",
            "residual2 8x6x4 from residual1 and relu1",
            "relu3 8x6x4 from residual2 and -",
            "conv3 4x3x6 from relu3 and -",
            "conv4 4x3x6 from relu3 and -",
            "norm3 4x3x6 from conv4 and -",
            "residual3 4x3x6 from conv3 and norm3",
            "pool1 1x1x6 from residual3 and -",
            "fc1 1x1x10 from pool1 and -",
            "softmax 1x1x10 from fc1 and -",
        ]
    );
    assert_eq!(network.nodes[6].layer, Layer::BatchNorm { epsilon: 0.5, momentum: 0.25 });
    assert_eq!(network.nodes[2].layer, Layer::BatchNorm { epsilon: 1e-5, momentum: 0.1 });
    let factors = |i: usize| (network.nodes[i].factors.rate, network.nodes[i].factors.decay);
    assert_eq!([factors(2), factors(6), factors(10), factors(11)], [(1.0, 0.0), (1.0, 0.5), (0.5, 1.0), (1.0, 1.0)]);
    assert_eq!(Network::from_toml(&network.to_toml(), "again.toml").expect("our own description"), network);
}

#[test]
fn normalisation_starts_as_the_identity() {
    let network = network(BLOCKS);
    let norm = network.initial_parameters(7).into_iter().find(|p| p.layer == "norm2").expect("the layer");
    assert_eq!((norm.weight, norm.bias), (vec![1.0; 4], vec![2.0; 4]));
    assert_eq!((norm.running_mean, norm.running_variance), (vec![0.0; 4], vec![1.0; 4]));
    let shape = network.parameters().into_iter().find(|shape| shape.layer == "norm2").expect("the layer");
    assert_eq!((&shape.weight[..], shape.bias, shape.running), (&[4][..], 4, 4));
    // Running statistics are not learned, and not counted as parameters.
    assert_eq!(network.parameter_count(), 112 + 8 + 148 + 8 + 222 + 30 + 12 + 70);
}

#[test]
fn what_a_block_cannot_be_is_told_with_its_place() {
    let relu = r#"{ type = "relu" }"#;
    let block = |layers: &str| format!(r#"{{ type = "residual", {layers} }}"#);
    assert_contains(
        &message_of(&block(r#"layers = [{ type = "conv", filters = 4, kernel = 3, pad = 1 }]"#)),
        &["net.toml: layer residual1 with input 8x6x4: its body outputs 8x6x4, but 8x6x3 is added to it", "`shortcut`"],
    );
    assert_contains(&message_of(&block("layers = []")), &["(residual): the block has no body"]);
    assert_contains(&message_of(r#"{ type = "residual" }"#), &["layer 2 (residual), line 1: missing field `layers`"]);
    assert_contains(
        &message_of(&block(r#"layers = [{ type = "relu" }, { type = "conv", filters = 3, kernal = 3 }]"#)),
        &["layer 2 (conv) of the body of layer 2 (residual), line 1: unknown field `kernal`"],
    );
    assert_contains(
        &message_of(&block(&format!(
            r#"layers = [{relu}], shortcut = [{{ type = "fc", outputs = 2, rate_factor = -1 }}]"#
        ))),
        &["layer 1 (fc) of the shortcut of layer 2 (residual), line 1: rate_factor is -1"],
    );
    assert_contains(
        &message_of(&block(r#"layers = [{ type = "input", height = 8, width = 6, channels = 3 }]"#)),
        &["2 layers are `input`"],
    );
    assert_contains(&message_of(&block(r#"layers = [{ type = "softmax" }]"#)), &["2 layers are a loss"]);
    let mut nested = relu.to_string();
    (0..17).for_each(|_| nested = block(&format!("layers = [{nested}]")));
    assert_contains(&message_of(&nested), &["rule: at most 16 nested blocks"]);
    let mut deeper = nested;
    (0..5000).for_each(|_| deeper = block(&format!("layers = [{deeper}]")));
    assert_contains(&message_of(&deeper), &["net.toml: "]);
}

#[test]
fn what_normalisation_cannot_be_is_told() {
    for (keys, expected) in [
        ("epsilon = 0", "epsilon is 0; rule: a finite number"),
        ("epsilon = inf", "epsilon is inf; rule: a finite number"),
        ("epsilon = -1e-5", "epsilon is -0.00001; rule"),
        ("momentum = 1.5", "momentum is 1.5; rule: 0 <= momentum <= 1"),
        ("momentum = nan", "momentum is NaN; rule: 0 <= momentum <= 1"),
    ] {
        let message = message_of(&format!(r#"{{ type = "batch-norm", {keys} }}"#));
        assert_contains(&message, &["layer norm1 with input 8x6x3: ", expected]);
    }
}

#[test]
fn the_library_refuses_blocks_that_overlap() {
    let layers = |block: Layer| {
        let input = Layer::Input { height: 2, width: 2, channels: 1 };
        let all = [input, Layer::Activation(Activation::Relu), block, Layer::Fc { outputs: 2 }, Layer::Hinge]
            .map(|layer| (layer, 0.0));
        Network::from_layers("odd", &all, Initializer::default())
    };
    assert!(layers(Layer::Residual { body: 1, shortcut: 0 }).is_ok());
    for (body, shortcut) in [(0, 1), (2, 0), (1, 1), (usize::MAX, usize::MAX)] {
        let error = layers(Layer::Residual { body, shortcut }).expect_err("no such block").to_string();
        assert_contains(&error, &["layer 3 (residual): "]);
    }
}

#[test]
fn files_keep_running_statistics_and_refuse_impossible_ones() {
    let network = network(BLOCKS);
    let mut model = Model { parameters: common::rig::parameters(&network, 2), network, extra: Value::Null };
    let bytes = model.to_bytes().expect("bytes");
    assert_eq!(Model::from_bytes(&bytes, "model.safetensors").expect("it reads back"), model);
    assert_eq!(Model::from_pytorch(model.network.clone(), &bytes, "weights.safetensors").expect("the same"), model);
    let norm = model.parameters.iter_mut().find(|p| p.layer == "norm3").expect("the layer");
    norm.running_variance[2] = -0.5;
    let bytes = model.to_bytes().expect("bytes");
    for read in [Model::from_bytes(&bytes, "m"), Model::from_pytorch(model.network.clone(), &bytes, "m")] {
        let message = read.expect_err("no variance").to_string();
        assert_contains(&message, &["m: tensor `norm3.running_var` holds -0.5, but a variance cannot be negative"]);
    }
    model.parameters.iter_mut().find(|p| p.layer == "norm3").expect("the layer").running_mean[0] = f32::NAN;
    assert_contains(&model.to_bytes().expect_err("a NaN").to_string(), &["norm3.running_mean", "NaN at index 0"]);
}

/// Keeps every state, and stops after a step.
#[derive(Default)]
struct Keeper {
    stop_at: Option<u64>,
    states: Vec<State>,
}

impl Observer for Keeper {
    fn event(&mut self, event: &Event<'_>) -> glassnet::Result<()> {
        if let Event::Checkpoint(state) = event {
            self.states.push((*state).clone());
        }
        Ok(())
    }

    fn should_stop(&self) -> bool {
        self.stop_at.is_some_and(|step| self.states.last().is_some_and(|state| state.step >= step))
    }
}

#[test]
fn what_is_not_finite_is_named_beside_normalisation() {
    let (train, test) = data::synthetic::generate(300, 50, 5);
    let data = Dataset {
        name: DatasetName::Synthetic,
        train,
        test,
        origin: Origin::Synthetic { fallback_reason: None },
        held_out: Default::default(),
    };
    let explodes = |layers: &str, optimizer: &str, overrides: Recipe| {
        let network =
            network(&format!("layers = [{{ type = \"input\", height = 28, width = 28, channels = 1 }}, {layers}]"));
        let overrides =
            Recipe { steps: Some(40), optimizer: Some(optimizer.parse().expect("an optimizer")), ..overrides };
        let settings = Settings::resolve(network, &overrides).expect("legal settings");
        let mut keeper = Keeper::default();
        let outcome = block_on(glassnet::train::train(&Device::Cpu, &data, &settings, None, &mut keeper));
        let Err(Error::NonFinite { layer, tensor, .. }) = outcome else { panic!("it does not explode") };
        format!("{tensor} of {layer}")
    };
    // Gradients whose squares overflow: the state is shorter than the parameters and their running statistics.
    let steep = r#"{ type = "fc", outputs = 8 }, { type = "batch-norm", bias = 100 }, { type = "fc", outputs = 1, bias = 1.5e19 },
        { type = "mse", targets = "number" }"#;
    let checkpoints = Recipe { checkpoint_every: Some(2), ..Recipe::default() };
    assert_eq!(explodes(&steep.replace('\n', " "), "adagrad", checkpoints), "optimizer state of fc2");
    // The update of a step comes after its figures, which are clean.
    let measured = Recipe {
        learning_rate: Some(3e38),
        l2_decay: Some(1e38),
        checkpoint_every: Some(1),
        stats_every: Some(1),
        ..Recipe::default()
    };
    assert_eq!(explodes(r#"{ type = "fc", outputs = 10 }, { type = "softmax" }"#, "sgd", measured), "weight of fc1");
}

#[test]
fn one_value_is_not_normalised_by_itself() {
    let overrides = Recipe { batch_size: Some(1), ..Recipe::default() };
    let settings = |layers: &str| Settings::resolve(network(layers), &overrides);
    let vectors = r#"layers = [{ type = "input", height = 4, width = 4, channels = 1 }, { type = "fc", outputs = 3 },
        { type = "batch-norm" }, { type = "softmax" }]"#;
    let message = settings(vectors).expect_err("one value a channel").to_string();
    assert_contains(&message, &["batch size must be at least 2 for layer norm1", "got 1"]);
    assert!(settings(BLOCKS).is_ok(), "maps have more values");
}

#[test]
fn flips_of_networks_that_learn_numbers_name_any_class() {
    let toml = r#"layers = [{ type = "input", height = 4, width = 4, channels = 1 }, { type = "fc", outputs = 1 },
        { type = "mse", targets = "number" }]"#;
    let with = |flip: &str| network(&format!("{toml}\n[augmentation]\nflip = {flip}"));
    let crops = |network: &Network| glassnet::evaluate::crops(network, [4, 4], 2).map(|crops| crops.len());
    assert_eq!(crops(&with("true")).expect("a place and its mirror image"), 2);
    for some in ["[0]", "[0, 1, 8]"] {
        assert!(crops(&with(some)).is_err(), "classes beyond these may not be mirrored");
    }
}

#[test]
fn a_residual_network_learns_and_goes_on_with_the_same_bits() {
    let (train, test) = data::synthetic::generate(1000, 200, 5);
    let data = Dataset {
        name: DatasetName::Synthetic,
        train,
        test,
        origin: Origin::Synthetic { fallback_reason: None },
        held_out: Default::default(),
    };
    let toml = r#"layers = [
        { type = "input", height = 28, width = 28, channels = 1 },
        { type = "conv", filters = 8, kernel = 5, stride = 2 },
        { type = "batch-norm", activation = "relu" },
        { type = "residual", activation = "relu", layers = [
            { type = "conv", filters = 8, kernel = 3, pad = 1 }, { type = "batch-norm" },
        ] },
        { type = "max-pool", size = 2 },
        { type = "fc", outputs = 10 },
        { type = "softmax" },
    ]"#;
    let overrides = Recipe {
        epochs: Some(3),
        optimizer: Some(&ADAM),
        learning_rate: Some(0.01),
        batch_size: Some(32),
        checkpoint_every: Some(20),
        ..Recipe::default()
    };
    let settings = Settings::resolve(network(toml), &overrides).expect("legal settings");
    let gpu = common::gpu().map(Device::Gpu);
    for device in [Some(Device::Cpu), gpu].into_iter().flatten() {
        let run =
            |state, keeper: &mut Keeper| block_on(glassnet::train::train(&device, &data, &settings, state, keeper));
        let whole = run(None, &mut Keeper::default()).expect("it trains");
        assert!(whole.test.accuracy > 0.6, "{} on {}", whole.test.accuracy, device.info());
        let mut keeper = Keeper { stop_at: Some(40), ..Keeper::default() };
        let stopped = run(None, &mut keeper).expect_err("it is stopped");
        assert!(matches!(stopped, Error::Interrupted), "{stopped}");
        let resumed = run(keeper.states.pop(), &mut Keeper::default()).expect("it goes on");
        assert_eq!(resumed.state.parameters, whole.state.parameters, "on {}", device.info());
        let norm = whole.state.parameters.iter().find(|p| p.layer == "norm1").expect("the layer");
        assert!(norm.running_mean.iter().all(|mean| *mean != 0.0), "running statistics move");
    }
}
