//! Network descriptions from a user's view: the presets, the shorthands, and a message for every possible mistake.

use glassnet::Error;
use glassnet::kernels::optimizer::{ADADELTA, ADAM};
use glassnet::net::{Augmentation, Flip, Initializer, Layer, MAX_LAYERS, Network, PRESETS, Shape};

/// A description whose layers are written one per line: `conv filters = 8; kernel = 5`.
fn describe(layers: &[&str]) -> String {
    let mut text = String::new();
    for layer in layers {
        let (kind, keys) = layer.split_once(' ').unwrap_or((layer, ""));
        text += &format!("[[layers]]\ntype = \"{kind}\"\n{}\n\n", keys.replace("; ", "\n"));
    }
    text
}

fn read(layers: &[&str]) -> glassnet::Result<Network> {
    Network::from_toml(&describe(layers), "net.toml")
}

fn network(layers: &[&str]) -> Network {
    read(layers).expect("a legal network")
}

/// The message of a description that must be refused as a wrong network.
fn message_of(text: &str) -> String {
    match Network::from_toml(text, "net.toml") {
        Err(Error::Network(message)) => message,
        other => panic!("expected a network error, got {other:?}"),
    }
}

/// `layers` between an 8x6x3 input and a softmax over 10 classes.
fn message_between(layers: &[&str]) -> String {
    let mut all = vec!["input height = 8; width = 6; channels = 3"];
    all.extend(layers);
    all.extend(["fc outputs = 10", "softmax"]);
    message_of(&describe(&all))
}

fn assert_contains(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "{message:?} lacks {part:?}");
    }
}

fn shapes(network: &Network) -> Vec<String> {
    network.nodes.iter().map(|node| format!("{} {}", node.name, node.output)).collect()
}

#[test]
fn the_convnetjs_preset_is_its_mnist_page() {
    let network = Network::preset("convnetjs-mnist").expect("a preset");
    assert_eq!(
        shapes(&network),
        [
            "input 24x24x1",
            "conv1 24x24x8",
            "relu1 24x24x8",
            "pool1 12x12x8",
            "conv2 12x12x16",
            "relu2 12x12x16",
            "pool2 4x4x16",
            "fc1 1x1x10",
            "softmax 1x1x10"
        ]
    );
    assert_eq!(network.parameter_count(), (25 * 8 + 8) + (25 * 8 * 16 + 16) + (256 * 10 + 10));
    assert_eq!(network.initializer, Initializer::Lecun);
    assert!(network.crop);
    let biases: Vec<f32> = network.initial_parameters(1).iter().map(|layer| layer.bias[0]).collect();
    assert_eq!(biases, [0.1, 0.1, 0.0]);
    let recipe = &network.training;
    assert_eq!((recipe.optimizer, recipe.batch_size), (Some(&ADADELTA), Some(20)));
    assert_eq!((recipe.rho, recipe.epsilon, recipe.l2_decay), (Some(0.95), Some(1e-6), Some(5e-5)));
}

#[test]
fn the_vgg_preset_halves_its_maps_twice() {
    let network = Network::preset("vgg-mnist").expect("a preset");
    assert_eq!(
        shapes(&network),
        [
            "input 28x28x1",
            "conv1 28x28x32",
            "relu1 28x28x32",
            "conv2 28x28x32",
            "relu2 28x28x32",
            "pool1 14x14x32",
            "conv3 14x14x64",
            "relu3 14x14x64",
            "conv4 14x14x64",
            "relu4 14x14x64",
            "pool2 7x7x64",
            "fc1 1x1x128",
            "relu5 1x1x128",
            "fc2 1x1x10",
            "softmax 1x1x10"
        ]
    );
    assert_eq!(network.parameter_count(), 467_818);
    assert_eq!(network.initializer, Initializer::Kaiming);
    assert!(!network.crop);
    let recipe = &network.training;
    assert_eq!((recipe.optimizer, recipe.batch_size), (Some(&ADAM), Some(128)));
    assert_eq!((recipe.learning_rate, recipe.l2_decay), (Some(1e-3), None));
}

#[test]
fn the_cifar10_preset_is_convnetjs_own_network() {
    let network = Network::preset("convnetjs-cifar10").expect("a preset");
    let shapes: Vec<String> = network.nodes.iter().map(|node| format!("{} {}", node.name, node.output)).collect();
    let expected = [
        "input 32x32x3",
        "conv1 32x32x16",
        "relu1 32x32x16",
        "pool1 16x16x16",
        "conv2 16x16x20",
        "relu2 16x16x20",
        "pool2 8x8x20",
        "conv3 8x8x20",
        "relu3 8x8x20",
        "pool3 4x4x20",
        "fc1 1x1x10",
        "softmax 1x1x10",
    ];
    assert_eq!(shapes, expected);
    assert_eq!((network.parameter_count(), network.initializer, network.crop), (22_466, Initializer::Lecun, false));
    let recipe = &network.training;
    assert_eq!((recipe.optimizer, recipe.batch_size), (Some(&ADADELTA), Some(4)));
    assert_eq!((recipe.rho, recipe.epsilon, recipe.l2_decay), (Some(0.95), Some(1e-6), Some(2.5e-5)));
}

#[test]
fn an_unknown_preset_lists_the_known_ones() {
    let message = Network::preset("lenet").expect_err("no such preset").to_string();
    assert_eq!(
        message,
        "unknown preset `lenet`; known are convnetjs-mnist, fast-mnist, best-mnist, vgg-mnist, resnet-mnist, convnetjs-cifar10, resnet-cifar10"
    );
}

#[test]
fn canonical_toml_reads_back_to_the_same_network() {
    for (name, _) in PRESETS {
        let network = Network::preset(name).expect("a preset");
        let text = network.to_toml();
        let again = Network::from_toml(&text, "again.toml").expect("our own description");
        assert_eq!(again, network);
        assert_eq!(again.to_toml(), text);
    }
    let mut odd = network(&[
        "input height = 9; width = 7; channels = 2",
        "conv filters = 3; kernel = [3, 2]; stride = [1, 2]; pad = [0, 1]; bias = -1e-7; activation = \"relu\"",
        "max-pool size = [3, 2]; stride = [2, 1]; pad = [1, 0]",
        "leaky-relu slope = 0.2",
        "avg-pool size = [1, 2]; stride = [2, 1]; pad = [0, 1]",
        "maxout group = 3",
        "lrn size = 5; beta = 0.5",
        "global-avg-pool",
        "sigmoid",
        "tanh",
        "dropout rate = 0.3",
        "fc outputs = 4; bias = 16777216",
        "softmax label_smoothing = 0.1",
    ]);
    let (rotation, scale, shear, shift, elastic) = (12.5, 0.1, 0.0, 1e-3, 4.0);
    let (pad, flip, erase) = (3, Flip::of([3, 0]), 0.3);
    odd.augmentation = Augmentation { rotation, scale, shear, shift, elastic, pad, flip, erase };
    odd.name = "quote \" and \\ and é".to_string();
    assert_eq!(Network::from_toml(&odd.to_toml(), "again.toml").expect("our own description"), odd);
    // A terminal would execute it.
    odd.name = "clear \u{1b}[2J".to_string();
    let refused = Network::from_toml(&odd.to_toml(), "again.toml").expect_err("a control character").to_string();
    assert!(refused.contains("control character"), "{refused}");
}

#[test]
fn the_relu_shorthand_is_a_layer_of_its_own() {
    let short = network(&[
        "input height = 8; width = 8; channels = 1",
        "conv filters = 2; kernel = 3; activation = \"relu\"",
        "fc outputs = 5; activation = \"relu\"",
        "fc outputs = 2",
        "softmax",
    ]);
    let long = network(&[
        "input height = 8; width = 8; channels = 1",
        "conv filters = 2; kernel = 3",
        "relu",
        "fc outputs = 5",
        "relu",
        "fc outputs = 2",
        "softmax",
    ]);
    assert_eq!(short, long);
}

#[test]
fn omitted_keys_take_their_defaults() {
    let network = network(&[
        "input height = 8; width = 8; channels = 1",
        "conv filters = 2; kernel = 3",
        "max-pool size = [2, 3]",
        "fc outputs = 2",
        "softmax",
    ]);
    assert_eq!(network.name, "net");
    assert_eq!(network.initializer, Initializer::Kaiming);
    assert_eq!(
        network.nodes[1].layer,
        Layer::Conv { filters: 2, kernel: [3, 3], stride: [1, 1], pad: [0, 0], dilation: [1, 1], groups: 1 }
    );
    assert_eq!(network.nodes[2].layer, Layer::MaxPool { size: [2, 3], stride: [2, 3], pad: [0, 0] });
    assert_eq!(network.nodes[1].bias_init, 0.0);
}

#[test]
fn softmax_takes_any_vector_of_classes() {
    let network =
        network(&["input height = 4; width = 5; channels = 1", "conv filters = 3; kernel = [4, 5]", "softmax"]);
    assert_eq!(network.classes(), 3);
    assert_eq!(network.input_shape(), Shape::new(4, 5, 1));
}

#[test]
fn mse_learns_one_number_where_it_is_told_so() {
    let image = "input height = 4; width = 5; channels = 1";
    let number = "mse targets = 'number'";
    let learner = network(&[image, "fc outputs = 1", number]);
    assert!(learner.learns_numbers() && learner.classes() == 1);
    assert_eq!(Network::from_toml(&learner.to_toml(), "other.toml").expect("its own description"), learner);
    for classes in [1, 2, 256] {
        learner.check_fits(Shape::new(4, 5, 1), classes).expect("any number of classes");
    }
    assert!(!network(&[image, "fc outputs = 3", "mse targets = 'one-hot'"]).learns_numbers());

    let needs = "layer mse with input 1x1x3: rule: mse with targets = \"number\" needs one value (1x1x1)";
    assert_contains(&message_of(&describe(&[image, "fc outputs = 3", number])), &[needs, "`fc` layer with one output"]);
    let needs = "rule: mse needs one value per class, for at least 2 classes";
    assert_contains(&message_of(&describe(&[image, "fc outputs = 1", "mse"])), &[needs, "targets = \"number\""]);
    let message = message_of(&describe(&[image, "fc outputs = 1", "mse targets = 'numbers'"]));
    assert_contains(&message, &["(mse)", "unknown targets `numbers`", "`one-hot`", "`number`"]);
}

#[test]
fn parameters_state_their_order_and_fans() {
    let network = Network::preset("convnetjs-mnist").expect("a preset");
    let parameters = network.parameters();
    let conv2 = &parameters[1];
    assert_eq!((conv2.layer.as_str(), conv2.node), ("conv2", 4));
    assert_eq!((&conv2.weight[..], conv2.bias), (&[5, 5, 8, 16][..], 16));
    assert_eq!((conv2.fan_in, conv2.fan_out), (200, 400));
    let fc1 = &parameters[2];
    assert_eq!((&fc1.weight[..], fc1.bias, fc1.fan_in, fc1.fan_out), (&[256, 10][..], 10, 256, 10));
}

#[test]
fn initial_parameters_follow_the_seed() {
    let network = Network::preset("convnetjs-mnist").expect("a preset");
    let drawn = network.initial_parameters(3);
    assert_eq!(drawn, network.initial_parameters(3));
    assert_ne!(drawn, network.initial_parameters(4));
    for (values, shape) in drawn.iter().zip(network.parameters()) {
        assert_eq!(
            (&values.layer, values.weight.len(), values.bias.len()),
            (&shape.layer, shape.weight_len(), shape.bias)
        );
    }
}

#[test]
fn a_layer_keeps_its_draws_when_another_grows() {
    let first = |filters: &str| {
        let layers = ["input height = 8; width = 8; channels = 1", "conv filters = 4; kernel = 3", filters, "softmax"];
        network(&layers).initial_parameters(5).swap_remove(0)
    };
    assert_eq!(first("fc outputs = 3"), first("fc outputs = 9"));
}

#[test]
fn an_unknown_layer_lists_the_known_ones() {
    assert_contains(
        &message_between(&["convolution filters = 3"]),
        &[
            "net.toml: layer 2 (convolution), line 7",
            "unknown layer type `convolution`",
            "`conv`",
            "`max-pool`",
            "`softmax`",
        ],
    );
}

#[test]
fn a_wrong_key_is_named() {
    assert_contains(
        &message_between(&["conv filtres = 8; kernel = 3"]),
        &["layer 2 (conv)", "unknown field `filtres`"],
    );
    assert_contains(&message_between(&["relu slope = 1"]), &["layer 2 (relu)", "unknown field `slope`"]);
    for (layer, rule) in [
        ("dropout rate = 1.0", "rate is 1; rule: 0 <= rate < 1"),
        ("dropout rate = -0.5", "rate is -0.5; rule: 0 <= rate < 1"),
        ("dropout rate = nan", "rate is NaN; rule: 0 <= rate < 1"),
        ("leaky-relu slope = 0", "slope is 0; rule: 0 < slope < 1"),
        ("maxout group = 2", "group is 2; rule: group divides the 3 channels"),
        ("lrn size = 0", "size is 0; rule: size >= 1"),
        ("lrn size = 3; k = 0", "k is 0; rule: a finite number >= 1.2e-38"),
        ("lrn size = 3; alpha = nan", "alpha is NaN; rule: a finite number >= 0"),
        ("leaky-relu slope = 2", "slope is 2; rule: 0 < slope < 1"),
    ] {
        assert_contains(&message_between(&[layer]), &["1 with input", rule]);
    }
    assert_contains(&message_between(&["dropout"]), &["layer 2 (dropout)", "missing field `rate`"]);
    assert_contains(&message_between(&["conv filters = 8"]), &["layer 2 (conv)", "missing field `kernel`"]);
    assert_contains(
        &message_between(&["fc outputs = 8; activation = \"nonsense\""]),
        &["layer 2 (fc)", "`nonsense`", "`relu`"],
    );
    assert_contains(&message_of("[[layers]]\nheight = 3"), &["layer 1, line 1", "missing field `type`"]);
    assert_contains(&message_of("nmae = \"x\"\nlayers = []"), &["net.toml: ", "line 1", "unknown field `nmae`"]);
    assert_contains(
        &message_of("initializer = \"orthogonal\"\nlayers = []"),
        &["line 1", "`orthogonal`", "xavier-normalized"],
    );
    assert_contains(
        &message_of("layers = []\n[training]\noptimizer = \"nonsense\""),
        &["line 3", "`nonsense`", "adadelta"],
    );
    assert_contains(&message_of("layers = []\n[training]\nlr = 1"), &["line 3", "unknown field `lr`"]);
    assert_contains(&message_of("name = \"x\""), &["missing field `layers`"]);
}

#[test]
fn an_augmentation_that_cannot_be_is_refused_with_its_range() {
    let message = |entry: &str| {
        let layers = describe(&["input height = 8; width = 6; channels = 3", "fc outputs = 10", "softmax"]);
        message_of(&format!("{layers}[augmentation]\n{entry}"))
    };
    assert_eq!(
        message("rotation = 120"),
        "net.toml: [augmentation]: rotation is 120; it must be from 0 (off) to 90 degrees"
    );
    assert_contains(&message("shear = -1"), &["shear is -1; it must be from 0 (off) to 45 degrees"]);
    assert_contains(&message("scale = nan"), &["scale is NaN; it must be from 0 (off) to 0.9"]);
    assert_contains(
        &message("shift = 7"),
        &["shift is 7; it must be from 0 (off) to 6 pixels, the input's shorter side"],
    );
    assert_contains(&message("rotate = 10"), &["line 16", "unknown field `rotate`", "`rotation`"]);
    assert_contains(&message("rotation = \"10\""), &["line 16", "invalid type"]);
    assert_contains(
        &message("pad = 4"),
        &["pad is 4; it must be from 0 (off) to 3 pixels, half the input's shorter side"],
    );
    assert_contains(&message("pad = 1.5"), &["line 16", "expected a whole number, 0 or more"]);
    assert_contains(&message("pad = -1"), &["line 16", "expected a whole number, 0 or more"]);
    assert_contains(&message("erase = -0.1"), &["erase is -0.1; it must be from 0 (off) to 1 of the examples"]);
    assert_contains(&message("flip = [0, 10]"), &["flip names class 10, but this network has 10 classes, 0 to 9"]);
    let flips = "true for every class, false for none, or a list of class numbers from 0 to 255";
    assert_contains(&message("flip = [256]"), &["line 16", "`256`", flips]);
    assert_contains(&message("flip = [-1]"), &["line 16", "`-1`", flips]);
    assert_contains(&message("flip = \"yes\""), &["line 16", flips]);
    assert_contains(&message("flip = [\"horse\"]"), &["line 16", "expected a whole number"]);
}

#[test]
fn flips_are_for_every_class_for_some_or_for_none() {
    let flip_of = |entry: &str| {
        let layers = describe(&["input height = 8; width = 6; channels = 3", "fc outputs = 10", "softmax"]);
        let network = Network::from_toml(&format!("{layers}[augmentation]\n{entry}"), "net.toml").expect("valid");
        assert_eq!(Network::from_toml(&network.to_toml(), "again.toml").expect("our own description"), network);
        network.augmentation.flip
    };
    assert_eq!(flip_of("flip = true"), Flip::ALL);
    assert_eq!(flip_of("flip = [8, 0, 1, 8]"), Flip::of([0, 1, 8]));
    for none in ["flip = false", "flip = []", ""] {
        assert_eq!(flip_of(none), Flip::default());
    }
}

#[test]
fn a_number_of_the_wrong_kind_is_named() {
    assert_contains(
        &message_between(&["conv filters = -8; kernel = 3"]),
        &["layer 2 (conv)", "`-8`, expected a whole number, 0 or more"],
    );
    assert_contains(&message_between(&["conv filters = 8.5; kernel = 3"]), &["layer 2 (conv)", "8.5"]);
    assert_contains(&message_between(&["conv filters = 8; kernel = -3"]), &["-3", "a whole number or a pair"]);
    assert_contains(&message_between(&["conv filters = 8; kernel = [3]"]), &["a whole number or a pair"]);
    assert_contains(&message_between(&["conv filters = 8; kernel = [3, 3, 3]"]), &["a whole number or a pair"]);
    assert_contains(&message_between(&["conv filters = 8; kernel = \"3\""]), &["a whole number or a pair"]);
    assert_contains(&message_between(&["conv filters = 8; kernel = 3; bias = nan"]), &["conv1", "bias is NaN"]);
}

#[test]
fn text_that_is_not_toml_is_told_with_its_line() {
    assert_contains(&message_of("name = \"x\"\n[[layers]\n"), &["net.toml: ", "line 2"]);
    assert_contains(&message_of(&"[".repeat(100_000)), &["net.toml: "]);
    assert_contains(&message_of(&format!("layers = {}", "[".repeat(100_000))), &["net.toml: "]);
    assert_contains(&message_of(&" ".repeat(2 << 20)), &["net.toml: ", "at most 1048576"]);
    let name = "x".repeat(300);
    assert_contains(
        &message_of(&format!("name = \"{name}\"\nlayers = []")),
        &["name has 300 bytes; rule: at most 256"],
    );
}

#[test]
fn a_zero_size_names_the_layer_its_input_and_the_rule() {
    assert_eq!(
        message_between(&["conv filters = 0; kernel = 3"]),
        "net.toml: layer conv1 with input 8x6x3: filters is 0; rule: filters >= 1"
    );
    assert_contains(&message_between(&["conv filters = 1; kernel = [3, 0]"]), &["conv1", "8x6x3", "kernel >= 1"]);
    assert_contains(&message_between(&["conv filters = 1; kernel = 3; stride = 0"]), &["conv1", "stride >= 1"]);
    assert_contains(&message_between(&["relu", "max-pool size = 0"]), &["pool1", "8x6x3", "size >= 1"]);
    assert_contains(&message_between(&["fc outputs = 0"]), &["fc1", "outputs >= 1"]);
    let empty = describe(&["input height = 0; width = 6; channels = 3", "fc outputs = 10", "softmax"]);
    assert_eq!(message_of(&empty), "net.toml: layer input: height is 0; rule: height >= 1");
}

#[test]
fn a_window_larger_than_its_input_is_refused() {
    assert_eq!(
        message_between(&["conv filters = 4; kernel = [3, 9]; pad = 1"]),
        "net.toml: layer conv1 with input 8x6x3: kernel 3x9 is larger than its input, which with pad 1x1 is 8 wide; \
         rule: kernel <= input + 2*pad"
    );
    assert_contains(&message_between(&["max-pool size = 9"]), &["pool1", "8x6x3", "size <= input + 2*pad"]);
}

#[test]
fn pooling_windows_of_padding_only_are_refused() {
    for pad in ["2", "[2, 0]", "[0, 2]"] {
        let pool = format!("max-pool size = 2; pad = {pad}");
        assert_contains(
            &message_between(&[&pool]),
            &["pool1 with input 8x6x3", "rule: pad < size in height and width"],
        );
    }
}

#[test]
fn huge_sizes_are_refused_without_overflow_or_allocation() {
    let huge = i64::MAX;
    assert_contains(
        &message_between(&[&format!("conv filters = {huge}; kernel = 3")]),
        &["conv1", "filters <= 1048576"],
    );
    assert_contains(
        &message_between(&[&format!("conv filters = 1; kernel = {huge}")]),
        &["conv1", "kernel <= 1048576"],
    );
    assert_contains(
        &message_between(&[&format!("conv filters = 1; kernel = 3; pad = {huge}")]),
        &["conv1", "pad <= 1048576"],
    );
    assert_contains(
        &message_between(&[&format!("max-pool size = 1; stride = {huge}")]),
        &["pool1", "stride <= 1048576"],
    );
    assert_contains(
        &message_between(&["conv filters = 1048576; kernel = 1048576; pad = 1048576"]),
        &["conv1", "activations per example"],
    );
    assert_contains(
        &message_between(&["conv filters = 10000; kernel = 1000; pad = 500"]),
        &["conv1 with input 8x6x3", "[1000, 1000, 3, 10000]", "at most 268435456 weights"],
    );
    assert_contains(&message_between(&["fc outputs = 1048576", "fc outputs = 1048576"]), &["fc2", "weights"]);
    assert_contains(&message_between(&["fc outputs = 99999999999999999999"]), &["net.toml: "]);
    let image = format!("input height = {huge}; width = {huge}; channels = {huge}");
    assert_contains(
        &message_of(&describe(&[&image, "fc outputs = 10", "softmax"])),
        &["layer input", "height <= 1048576"],
    );
    let image = "input height = 1048576; width = 1048576; channels = 1048576";
    assert_contains(&message_of(&describe(&[image, "fc outputs = 10", "softmax"])), &["layer input", "activations"]);
}

#[test]
fn too_many_layers_are_refused() {
    let relus = vec!["relu"; MAX_LAYERS];
    assert_contains(&message_between(&relus), &["1027 layers; rule: at most 1024"]);
}

#[test]
fn a_network_goes_from_one_input_to_one_loss() {
    let image = "input height = 4; width = 4; channels = 3";
    let cases: [(&[&str], &str); 8] = [
        (&[image, "fc outputs = 3", "hinge", "mse"], "2 layers are a loss; rule: exactly one is"),
        (&["fc outputs = 3", "softmax"], "the first layer is `fc`; rule: the first is `input`"),
        (&[image, "fc outputs = 3"], "the last layer is `fc`; rule: the last is `softmax`, `hinge` or `mse`"),
        (&[image, image, "fc outputs = 3", "softmax"], "2 layers are `input`; rule: exactly one is"),
        (&[image, "softmax", "fc outputs = 3", "softmax"], "2 layers are a loss; rule: exactly one is"),
        (
            &[image, "conv filters = 3; kernel = 3", "softmax"],
            "layer softmax with input 2x2x3: rule: softmax needs one value",
        ),
        (&[image, "fc outputs = 1", "softmax"], "layer softmax with input 1x1x1: rule: softmax needs one value"),
        (&["input height = 1; width = 1; channels = 3", "softmax"], "no layer has weights"),
    ];
    for (layers, expected) in cases {
        assert_contains(&message_of(&describe(layers)), &["net.toml: ", expected]);
    }
    assert_contains(&message_of("layers = []"), &["no layers; a network goes from `input` to `softmax`"]);
}

#[test]
fn a_recipe_that_cannot_train_is_refused() {
    let text = describe(&["input height = 4; width = 4; channels = 3", "fc outputs = 3", "softmax"]);
    assert_eq!(
        message_of(&(text + "[training]\nbatch_size = 0")),
        "net.toml: [training]: batch_size must be a whole number from 1 to 65535, got 0"
    );
}

#[test]
fn data_must_fit_the_network() {
    let message = |network: &Network, data, classes| match network.check_fits(data, classes) {
        Err(Error::Data(message)) => message,
        other => panic!("expected a data error, got {other:?}"),
    };
    let cropping = Network::preset("convnetjs-mnist").expect("a preset");
    let whole = Network::preset("vgg-mnist").expect("a preset");
    assert!(cropping.check_fits(Shape::new(28, 28, 1), 10).is_ok());
    assert!(cropping.check_fits(Shape::new(24, 24, 1), 10).is_ok());
    assert!(whole.check_fits(Shape::new(28, 28, 1), 10).is_ok());
    assert_contains(
        &message(&cropping, Shape::new(23, 28, 1), 10),
        &["convnetjs-mnist takes 24x24x1 images", "the data has 23x28x1", "too small"],
    );
    assert_contains(&message(&cropping, Shape::new(32, 32, 3), 10), &["24x24x1", "32x32x3", "channels"]);
    assert_contains(&message(&whole, Shape::new(32, 32, 1), 10), &["28x28x1", "32x32x1", "crop = true"]);
    assert_contains(&message(&whole, Shape::new(28, 28, 1), 47), &["10 classes", "47"]);
}

#[test]
fn a_missing_file_is_named() {
    let path = std::path::Path::new("no/such/net.toml");
    let message = Network::from_file(path).expect_err("no such file").to_string();
    assert_contains(&message, &["cannot read", "net.toml"]);
}

#[test]
fn a_layer_learns_and_decays_by_its_own_factors() {
    let text = r#"
layers = [
    { type = "input", height = 6, width = 6, channels = 2 },
    { type = "conv", filters = 4, kernel = 3, groups = 2, dilation = 2, rate_factor = 0.5, activation = "relu" },
    { type = "fc", outputs = 3, decay_factor = 0 },
    { type = "softmax" },
]"#;
    let network = Network::from_toml(text, "factors").expect("legal");
    let factors: Vec<_> = network.nodes.iter().map(|node| (node.factors.rate, node.factors.decay)).collect();
    assert_eq!(factors, [(1.0, 1.0), (0.5, 1.0), (1.0, 1.0), (1.0, 0.0), (1.0, 1.0)]);
    assert_eq!(Network::from_toml(&network.to_toml(), "canonical").expect("canonical"), network);
    for (key, value) in [("rate_factor", "-1"), ("decay_factor", "nan"), ("rate_factor", "inf")] {
        let text = text.replace("decay_factor = 0", &format!("{key} = {value}"));
        let error = Network::from_toml(&text, "factors").expect_err("senseless").to_string();
        assert!(error.contains(key) && error.contains("layer 3 (fc), line 5"), "{error}");
    }
}
