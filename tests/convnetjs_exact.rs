//! `--convnetjs-exact`: ten updates with every optimizer of ConvNetJS end with its weights on every executor, and
//! dropout uses its factors; without the flag, both differ.
//!
//! `tests/golden/make_convnetjs_training.js` makes the numbers.

mod common;

use common::command::{document, failing, glassnet, write_data};
use common::rig::{Examples, devices, executor, load_decay, reals, run_to, step_inputs};
use glassnet::exec::Device;
use glassnet::formats::{Model, load_model, save_model};
use glassnet::kernels::batch::Header;
use glassnet::net::{Network, Recipe};
use glassnet::program::{Options, Stage};
use glassnet::train::Settings;
use pollster::block_on;
use serde_json::{Value, json};

/// The largest error relative to a tensor's largest value; Glassnet computes in f32, ConvNetJS in f64.
const SHARE: f64 = 1e-5;

fn golden() -> Value {
    serde_json::from_str(include_str!("golden/convnetjs_training.json")).expect("JSON")
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().expect("a list").iter().map(|value| value.as_f64().expect("a number")).collect()
}

fn number(value: &Value) -> f64 {
    value.as_f64().expect("a number")
}

/// The weights and biases of every layer, in Glassnet's order.
fn expected(run: &Value) -> Vec<(Vec<f64>, Vec<f64>)> {
    let layers = run["weights"].as_array().expect("a list");
    let weights = |layer: &Value| {
        let filters: Vec<Vec<f64>> = layer["filters"].as_array().expect("a list").iter().map(numbers).collect();
        (0..filters[0].len()).flat_map(|i| filters.iter().map(move |filter| filter[i])).collect()
    };
    layers.iter().map(|layer| (weights(layer), numbers(&layer["biases"]))).collect()
}

/// The settings of a run, with ConvNetJS's arithmetic or Glassnet's.
fn settings(golden: &Value, optimizer: &str, network: &Network, convnetjs_exact: bool) -> Settings {
    let options = &golden["trainers"][optimizer]["options"];
    let mut network = network.clone();
    let recipe = &mut network.training;
    recipe.optimizer = Some(optimizer.parse().expect("an optimizer"));
    recipe.learning_rate = options["learning_rate"].as_f64();
    recipe.momentum = options["momentum"].as_f64();
    (recipe.rho, recipe.epsilon) = (options["ro"].as_f64(), options["eps"].as_f64());
    (recipe.beta1, recipe.beta2) = (options["beta1"].as_f64(), options["beta2"].as_f64());
    let overrides = Recipe {
        batch_size: golden["batch_size"].as_u64().map(|size| size as usize),
        l1_decay: golden["l1_decay"].as_f64(),
        l2_decay: golden["l2_decay"].as_f64(),
        convnetjs_exact: Some(convnetjs_exact),
        ..Recipe::default()
    };
    Settings::resolve(network, &overrides).expect("valid settings")
}

/// The largest error over the largest value among all tensors after ten updates.
fn stray(device: &Device, golden: &Value, optimizer: &str, exact: bool) -> f64 {
    let model = Model::from_convnetjs(golden["snapshot"].to_string().as_bytes(), "golden").expect("a snapshot");
    let settings = settings(golden, optimizer, &model.network, exact);
    let shape = model.network.input_shape();
    let images = golden["images"].as_array().expect("a list");
    let examples = Examples {
        shape: [shape.height, shape.width, shape.channels],
        pixels: images.iter().flat_map(numbers).map(|v| v as u8).collect(),
        labels: numbers(&golden["labels"]).into_iter().map(|v| v as u32).collect(),
    };
    let batch = settings.batch_size;
    let options = Options::training(batch, examples.source(), settings.rule());
    let (lowered, mut executor) = executor(device, &settings.network, &options, &examples, &model.parameters);
    let [l1, l2] = settings.decay();
    load_decay(&mut *executor, &lowered, l1, l2);
    let steps = examples.labels.len() / batch;
    for step in 0..steps {
        let indices: Vec<u32> = (step * batch..(step + 1) * batch).map(|i| i as u32).collect();
        let header = settings.header(step as u64, steps as u64, batch);
        run_to(&mut *executor, &lowered, Stage::Update, &step_inputs(&lowered, header, &examples, &indices));
        block_on(executor.end_step(true)).expect("the step ends");
    }
    let tensors = lowered.nodes.iter().filter_map(|node| node.parameters);
    let layers = tensors.zip(expected(&golden["trainers"][optimizer]));
    layers.fold(0.0, |worst: f64, (tensors, (weight, bias))| {
        [(tensors.weight, weight), (tensors.bias, bias)].into_iter().fold(worst, |worst, (tensor, want)| {
            let got = reals(&mut *executor, tensor);
            assert_eq!(got.len(), want.len());
            let largest = want.iter().fold(0.0, |largest: f64, v| largest.max(v.abs()));
            let errors = got.iter().zip(&want).map(|(got, want)| (f64::from(*got) - want).abs() / largest);
            // A NaN counts as the worst.
            errors.fold(worst, |worst, error| if error <= worst { worst } else { error })
        })
    })
}

#[test]
fn ten_updates_with_every_optimizer_end_with_convnetjss_weights() {
    let golden = golden();
    for device in devices() {
        for optimizer in golden["trainers"].as_object().expect("optimizers by name").keys() {
            let worst = stray(&device, &golden, optimizer, true);
            assert!(worst <= SHARE, "{optimizer} on {}: off by {worst:.1e}", device.info().executor);
        }
    }
}

#[test]
fn without_the_flag_every_optimizer_ends_elsewhere() {
    let golden = golden();
    for optimizer in golden["trainers"].as_object().expect("optimizers by name").keys() {
        let worst = stray(&Device::Cpu, &golden, optimizer, false);
        assert!(worst > 100.0 * SHARE, "{optimizer}: off by {worst:.1e} only");
    }
}

/// A network with dropout behind a layer of inputs.
fn dropping(rate: f64) -> Network {
    let layers = "[[layers]]\ntype = \"input\"\nheight = 28\nwidth = 28\nchannels = 1\n[[layers]]\ntype = \"fc\"\noutputs = 500\n\
                  [[layers]]\ntype = \"dropout\"\n";
    let end =
        "[[layers]]\ntype = \"fc\"\noutputs = 10\n[[layers]]\ntype = \"softmax\"\n[training]\nconvnetjs_exact = true\n";
    Network::from_toml(&format!("{layers}rate = {rate}\n{end}"), "dropping").expect("a valid network")
}

#[test]
fn dropout_multiplies_by_what_convnetjss_does() {
    let dropout = &golden()["dropout"];
    let rate = number(&dropout["drop_prob"]);
    let network = dropping(rate);
    let examples = Examples::noise([28, 28, 1], 3, 10);
    for device in devices() {
        let options = Options { backward: true, ..Options::evaluation(3, examples.source()) };
        let (lowered, mut executor) = executor(&device, &network, &options, &examples, &network.initial_parameters(4));
        let [before, behind] = [1, 2].map(|node| lowered.nodes[node]);
        // Each output divided by its input, and each gradient divided by the incoming one.
        let mut factors = |training: bool| {
            let header = Header { training, seed: 3, ..Header::evaluation(0) };
            run_to(&mut *executor, &lowered, Stage::Backward, &step_inputs(&lowered, header, &examples, &[0, 1, 2]));
            let mut of = |out, by| {
                let (out, by) = (reals(&mut *executor, out), reals(&mut *executor, by));
                out.iter().zip(&by).map(|(out, by)| f64::from(out / by)).collect::<Vec<_>>()
            };
            let gradients = [before, behind].map(|node| node.activation_gradient.expect("planned"));
            [of(behind.activation, before.activation), of(gradients[0], gradients[1])]
        };
        let [values, gradients] = factors(true);
        for (got, want) in [(values, number(&dropout["training"])), (gradients, number(&dropout["gradient"]))] {
            let zeros = got.iter().filter(|factor| **factor == 0.0).count() as f64 / got.len() as f64;
            assert!((zeros - rate).abs() < 0.06, "{zeros} are dropped");
            assert!(got.iter().all(|factor| *factor == 0.0 || (factor - want).abs() < 1e-6), "{want}");
        }
        // ConvNetJS has no gradient of a prediction; Glassnet's is that of the values it computes.
        for got in factors(false) {
            let want = number(&dropout["prediction"]);
            assert!(got.iter().all(|factor| (factor - want).abs() < 1e-6), "{want}");
        }
    }
}

#[test]
fn a_snapshot_of_a_network_that_computes_as_convnetjs_has_its_weights_as_they_are() {
    let network = dropping(0.3);
    let parameters = network.initial_parameters(1);
    let mut model = Model { network, parameters, extra: Value::Null };
    let written =
        |model: &Model| -> Value { serde_json::from_slice(&model.to_convnetjs().expect("a snapshot")).expect("JSON") };
    let weight = |snapshot: &Value| number(&snapshot["layers"][3]["filters"][0]["w"][0]);
    let exact = weight(&written(&model));
    assert_eq!(exact, f64::from(model.parameters[1].weight[0]));
    model.network.training.convnetjs_exact = None;
    assert!((weight(&written(&model)) - exact / 0.3).abs() < 1e-6);
}

#[test]
fn a_run_keeps_its_arithmetic_when_it_is_resumed_and_so_does_its_model() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    write_data(folder.path(), 100, 40);
    let net = dropping(0.3).to_toml().replace("convnetjs_exact = true\n", "l2_decay = 0.001\n");
    std::fs::write(path("net.toml"), net).expect("a file");
    let train = |out: &str, args: &[&str]| {
        let mut command =
            glassnet(&["train", "--device", "cpu", "--dataset", "mnist", "--batch-size", "10", "--data-dir"]);
        command.arg(folder.path()).arg("--net").arg(path("net.toml")).args(args).arg("--out").arg(path(out));
        command
    };
    let exact = ["--convnetjs-exact", "--optimizer", "adam"];
    let whole = document(train("whole", &exact).args(["--steps", "20"]));
    train("run", &exact).args(["--steps", "8"]).assert().success();
    let mut resume = glassnet(&["train", "--device", "cpu", "--steps", "20", "--resume"]);
    resume.arg(path("run")).assert().success();
    let model = |run: &str| path(run).join("model.safetensors");
    assert!(std::fs::read(model("run")).expect("a file") == std::fs::read(model("whole")).expect("a file"));

    let config = std::fs::read_to_string(path("whole").join("config.toml")).expect("a file");
    assert!(config.contains("\nconvnetjs_exact = true\n") && config.contains("\nl2_decay = 0.01\n"), "{config}");
    let edited = config.replacen("\nconvnetjs_exact = true\n", "\n", 1);
    std::fs::write(path("run").join("config.toml"), edited).expect("a file");
    let mut resume = glassnet(&["train", "--device", "cpu", "--steps", "30", "--resume"]);
    assert!(failing(resume.arg(path("run"))).contains("convnetjs_exact differs from the one used"));

    let loss = |model: &std::path::Path| {
        let mut eval = glassnet(&["eval", "--device", "cpu", "--dataset", "mnist", "--data-dir"]);
        document(eval.arg(folder.path()).arg("--model").arg(model))["test_loss"].clone()
    };
    assert_eq!(loss(&model("whole")), whole["test_loss"]);
    let mut other = load_model(&model("whole")).expect("a model");
    other.network.training.convnetjs_exact = None;
    save_model(&path("other.safetensors"), &other).expect("a write");
    assert_ne!(loss(&path("other.safetensors")), whole["test_loss"], "evaluation does not heed the flag");
    assert_ne!(whole["test_loss"], json!(null));
}

#[test]
fn what_convnetjs_does_not_have_is_an_error() {
    let refused = |args: &[&str]| failing(glassnet(&["train", "--device", "cpu", "--convnetjs-exact"]).args(args));
    assert!(refused(&["--optimizer", "adamw"]).contains(
        "--optimizer must be one that ConvNetJS has where the run computes exactly as ConvNetJS does, got adamw"
    ));
    assert!(refused(&["--learning-rate", "0.1"]).contains("--learning-rate must be 1 for ConvNetJS's adadelta"));
    let mut compare = glassnet(&["compare", "--device", "cpu", "--convnetjs-exact", "--optimizers", "adam,adamw"]);
    assert!(failing(&mut compare).contains("must be one that ConvNetJS has"));
}
