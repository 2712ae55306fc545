//! Models for other programs, the outputs that Glassnet computes for them, and Python scripts to compare with.

use super::rig::{Examples, executor, network, parameters, reals, run_to, step_inputs};
use glassnet::exec::Device;
use glassnet::formats::{Model, tensor_bytes};
use glassnet::kernels::batch::Header;
use glassnet::net::{Layer, Network, PRESETS};
use glassnet::program::{Options, Stage};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Networks with layers in positions and sizes that no preset or golden network has.
const OTHERS: [(&str, &str); 7] = [
    (
        "windows",
        r#"[{ type = "input", height = 11, width = 8, channels = 3, crop = true },
            { type = "conv", filters = 6, kernel = [3, 2], stride = [1, 3], pad = [4, 5], activation = "leaky-relu" },
            { type = "max-pool", size = [4, 5], stride = [3, 2], pad = [3, 4] }, { type = "dropout", rate = 0.5 },
            { type = "avg-pool", size = [3, 2], stride = [2, 3], pad = [2, 1] },
            { type = "fc", outputs = 4 }, { type = "softmax" }]"#,
    ),
    (
        "lrn",
        r#"[{ type = "input", height = 3, width = 4, channels = 7 }, { type = "lrn", size = 3, k = 2, alpha = 3 },
            { type = "lrn", size = 40, k = 0.1, alpha = 9 }, { type = "lrn", size = 2, alpha = 4, beta = 1.5 },
            { type = "lrn", size = 1, alpha = 1 }, { type = "lrn", size = 21, alpha = 5 },
            { type = "fc", outputs = 3 }, { type = "hinge" }]"#,
    ),
    (
        "after-fc",
        r#"[{ type = "input", height = 4, width = 3, channels = 2 }, { type = "fc", outputs = 12 },
            { type = "lrn", size = 2, alpha = 3 }, { type = "maxout", group = 2 }, { type = "fc", outputs = 6 },
            { type = "lrn", size = 3, alpha = 2 }, { type = "lrn", size = 4, alpha = 2 },
            { type = "conv", filters = 8, kernel = 3, pad = 1, activation = "sigmoid" },
            { type = "max-pool", size = 2, stride = 1, pad = 1 }, { type = "maxout", group = 4 },
            { type = "fc", outputs = 6 }, { type = "avg-pool", size = 1 }, { type = "fc", outputs = 5, activation = "tanh" },
            { type = "global-avg-pool" }, { type = "dropout", rate = 0.1 }, { type = "mse" }]"#,
    ),
    (
        "pooled-scores",
        r#"[{ type = "input", height = 6, width = 5, channels = 1 }, { type = "conv", filters = 4, kernel = 2 },
            { type = "global-avg-pool" }, { type = "softmax", label_smoothing = 0.1 }]"#,
    ),
    (
        "maxout-scores",
        r#"[{ type = "input", height = 2, width = 2, channels = 3 }, { type = "fc", outputs = 6 },
            { type = "maxout", group = 3 }, { type = "dropout", rate = 0.2 }, { type = "softmax" }]"#,
    ),
    (
        "blocks-of-vectors",
        r#"[{ type = "input", height = 5, width = 4, channels = 2 }, { type = "batch-norm", epsilon = 0.1 },
            { type = "residual", layers = [{ type = "conv", filters = 3, kernel = 1 }], shortcut = [
                { type = "dropout", rate = 0.2 }, { type = "conv", filters = 3, kernel = 1 }] },
            { type = "global-avg-pool" },
            { type = "residual", layers = [{ type = "fc", outputs = 3, activation = "tanh" }, { type = "batch-norm" }] },
            { type = "residual", layers = [{ type = "residual", layers = [{ type = "sigmoid" }] }], shortcut = [
                { type = "fc", outputs = 3 }] }, { type = "dropout", rate = 0.5 }, { type = "softmax" }]"#,
    ),
    (
        "convolved-scores",
        r#"[{ type = "input", height = 5, width = 5, channels = 2 }, { type = "conv", filters = 3, kernel = 5 },
            { type = "relu" }, { type = "hinge" }]"#,
    ),
];

pub fn model(network: Network) -> Model {
    Model { parameters: parameters(&network, 3), network, extra: Value::Null }
}

pub fn golden(name: &str) -> Network {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    Network::from_file(&folder.join(format!("{name}.toml"))).expect("a valid network")
}

/// Every preset, every golden network, and [`OTHERS`].
pub fn networks() -> Vec<(String, Network)> {
    let presets = PRESETS.iter().map(|(name, _)| (name.to_string(), Network::preset(name).expect("a preset")));
    let golden =
        ["small_a", "small_b", "zoo", "spread", "blocks", "number"].map(|name| (name.to_string(), golden(name)));
    let others = OTHERS.iter().map(|(name, layers)| {
        (name.to_string(), network(&format!("name = \"{name}\"\nlayers = {}", layers.replace('\n', " "))))
    });
    presets.chain(golden).chain(others).collect()
}

/// The reference's outputs for some examples; `[N,C,H,W]` and `[N,O]`.
pub struct Ours {
    /// N, C, H, W.
    pub shape: [usize; 4],
    pub input: Vec<f32>,
    pub logits: Vec<f32>,
    pub probabilities: Option<Vec<f32>>,
}

impl Ours {
    /// Of random images.
    pub fn of(model: &Model, count: usize) -> Ours {
        let network = &model.network;
        let shape = network.input_shape();
        // Larger images where the network crops.
        let more = 4 * usize::from(network.crop);
        let image = [shape.height + more, shape.width + more, shape.channels];
        Ours::of_examples(model, &Examples::noise(image, count, network.example_classes()))
    }

    pub fn of_examples(model: &Model, examples: &Examples) -> Ours {
        let (network, count) = (&model.network, examples.labels.len());
        let shape = network.input_shape();
        let options = Options::inspection(count, examples.source());
        let (lowered, mut executor) = executor(&Device::Reference, network, &options, examples, &model.parameters);
        let indices: Vec<u32> = (0..count as u32).collect();
        let inputs = step_inputs(&lowered, Header::evaluation(0), examples, &indices);
        run_to(&mut *executor, &lowered, Stage::Unfused, &inputs);
        let nodes = lowered.nodes.clone();
        let last = nodes.len() - 1;
        let softmax = matches!(network.nodes[last].layer, Layer::Softmax { .. });
        let pixels = reals(&mut *executor, nodes[0].activation);
        let logits = reals(&mut *executor, nodes[last - 1].activation);
        let probabilities = softmax.then(|| reals(&mut *executor, nodes[last].activation));
        let channel =
            |image: &[f32], c: usize| image.iter().skip(c).step_by(shape.channels).copied().collect::<Vec<_>>();
        let planes = |image: &[f32]| (0..shape.channels).flat_map(|c| channel(image, c)).collect::<Vec<_>>();
        let input = pixels.chunks(shape.len()).flat_map(planes).collect();
        Ours { shape: [count, shape.channels, shape.height, shape.width], input, logits, probabilities }
    }

    /// Writes them for the scripts in `tests/golden`.
    pub fn write(&self, path: &Path) {
        let scores = [self.shape[0], self.logits.len() / self.shape[0]];
        let mut tensors: Vec<(&str, &[usize], &[f32])> =
            vec![("input", &self.shape, &self.input), ("logits", &scores, &self.logits)];
        tensors.extend(self.probabilities.as_ref().map(|values| ("probabilities", &scores[..], &values[..])));
        std::fs::write(path, tensor_bytes(&tensors, &Value::Null).expect("bytes")).expect("a write");
    }
}

/// Fills the folder `target/tmp/NAME` and runs a script of `tests/golden` on it with the Python named by
/// `GLASSNET_PYTHON`. The folder remains, so that the script can be run again. Without such a Python, the test is
/// skipped with a prominent line.
pub fn run_script(script: &str, name: &str, fill: impl FnOnce(&Path)) -> Option<PathBuf> {
    let Some(python) = std::env::var_os("GLASSNET_PYTHON") else {
        super::skipped(format_args!("set GLASSNET_PYTHON to a Python that has what tests/golden/{script} asks for"));
        return None;
    };
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("a folder");
    fill(&folder);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(script);
    let output = Command::new(python).arg(script).arg(&folder).output().expect("Python starts");
    println!("{}", String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(folder)
}
