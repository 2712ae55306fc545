//! Writes small valid files into `corpus/TARGET/`, from which the fuzz targets go on.

use flate2::{Compression, write::GzEncoder};
use glassnet::data::HeldOut;
use glassnet::exec::Device;
use glassnet::formats::{Checkpoint, Model};
use glassnet::net::{Network, PRESETS, Recipe};
use glassnet::train::{RunConfig, Settings};
use glassnet_fuzz::SMALL;
use image::codecs::jpeg::JpegEncoder;
use image::{DynamicImage, ImageEncoder, ImageFormat, RgbaImage};
use serde_json::{Value, json};
use std::error::Error;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};
use std::{fs, iter};

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

/// All that ConvNetJS has.
const CONVNETJS: &str = r#"
name = "zoo"
layers = [
    { type = "input", height = 4, width = 4, channels = 1 },
    { type = "conv", filters = 2, kernel = 3, pad = 1, activation = "relu" },
    { type = "max-pool", size = 2 },
    { type = "lrn", size = 3, k = 1.0, alpha = 0.5, beta = 0.75 },
    { type = "dropout", rate = 0.3 },
    { type = "fc", outputs = 4 },
    { type = "maxout", group = 2 },
    { type = "fc", outputs = 2, activation = "tanh" },
    { type = "fc", outputs = 2, activation = "sigmoid" },
    { type = "hinge" },
]
"#;

fn main() -> Result<()> {
    idx()?;
    cifar()?;
    networks()?;
    models()?;
    pytorch()?;
    convnetjs()?;
    pictures()?;
    runs()
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden")
}

fn save(target: &str, name: &str, bytes: &[u8]) -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    fs::create_dir_all(&folder)?;
    Ok(fs::write(folder.join(name), bytes)?)
}

/// Plain and gzipped.
fn save_both(target: &str, name: &str, bytes: &[u8]) -> Result<()> {
    save(target, name, bytes)?;
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    gzip.write_all(bytes)?;
    save(target, &format!("{name}.gz"), &gzip.finish()?)
}

fn idx() -> Result<()> {
    let header = |words: &[u32]| words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<u8>>();
    save_both("idx", "images", &[header(&[0x803, 2, 3, 4]), (0..24).collect()].concat())?;
    save_both("idx", "labels", &[header(&[0x801, 5]), vec![3, 1, 4, 1, 5]].concat())
}

fn cifar() -> Result<()> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut append = |name: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, format!("cifar-10-batches-bin/{name}"), bytes)
    };
    append("batches.meta.txt", glassnet::data::DatasetName::Cifar10.class_names().join("\n").as_bytes())?;
    append("readme.html", b"<html>")?;
    for name in (1..=5).map(|batch| format!("data_batch_{batch}.bin")).chain(["test_batch.bin".to_string()]) {
        append(&name, &[7; 3073])?;
    }
    save_both("cifar", "archive", &archive.into_inner()?)
}

fn networks() -> Result<()> {
    for (name, text) in PRESETS.into_iter().chain([("small", SMALL), ("convnetjs", CONVNETJS)]) {
        save("network", name, text.as_bytes())?;
        save("network", &format!("{name}-canonical"), Network::from_toml(text, name)?.to_toml().as_bytes())?;
    }
    for entry in fs::read_dir(golden())? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            save("network", &path.file_stem().unwrap_or_default().to_string_lossy(), &fs::read(&path)?)?;
        }
    }
    Ok(())
}

/// Batch normalisation and a block with a shortcut.
const BLOCKS: &str = r#"
layers = [
    { type = "input", height = 2, width = 2, channels = 1 },
    { type = "residual", layers = [{ type = "conv", filters = 2, kernel = 1 }, { type = "batch-norm" }], shortcut = [
        { type = "conv", filters = 2, kernel = 1 },
    ] },
    { type = "fc", outputs = 2 },
    { type = "softmax" },
]
"#;

fn model(text: &str) -> Result<Model> {
    let network = Network::from_toml(text, "seed")?;
    let parameters = network.initial_parameters(1);
    Ok(Model { network, parameters, extra: json!({ "dataset": "mnist", "classes": ["a", "b"], "image": [3, 3, 1] }) })
}

/// As it is, and in the form that `glassnet_fuzz::containers` frames.
fn save_container(target: &str, name: &str, bytes: &[u8]) -> Result<()> {
    save(target, name, bytes)?;
    let (length, rest) = bytes.split_first_chunk().ok_or("no container")?;
    let (header, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
    save(target, &format!("{name}-unframed"), &[header, &[0], data].concat())
}

fn models() -> Result<()> {
    save_container("model", "blocks", &model(BLOCKS)?.to_bytes()?)?;
    let model = model(SMALL)?;
    save_container("model", "model", &model.to_bytes()?)?;
    let optimizer = vec![("state".to_string(), vec![0.5; 3]), ("more".to_string(), vec![])];
    let checkpoint = Checkpoint { model, optimizer, step: 7, seed: 1, extra: Value::Null };
    save_container("model", "checkpoint", &checkpoint.to_bytes()?)
}

fn pytorch() -> Result<()> {
    save_container("pytorch", "own", &model(SMALL)?.to_bytes()?)?;
    let shapes: [(&str, &[usize]); 4] =
        [("conv1.weight", &[2, 1, 2, 3]), ("conv1.bias", &[2]), ("fc1.weight", &[2, 4]), ("fc1.bias", &[2])];
    for (dtype, size) in [("F32", 4), ("F64", 8), ("F16", 2), ("BF16", 2), ("I32", 4)] {
        let (mut header, mut end) = (serde_json::Map::new(), 0);
        for (name, shape) in shapes {
            let start = end;
            end += shape.iter().product::<usize>() * size;
            header.insert(name.into(), json!({ "dtype": dtype, "shape": shape, "data_offsets": [start, end] }));
        }
        let header = Value::from(header).to_string().into_bytes();
        let length = (header.len() as u64).to_le_bytes();
        save_container("pytorch", dtype, &[&length, &header[..], &vec![0x3c; end]].concat())?;
    }
    Ok(())
}

fn convnetjs() -> Result<()> {
    for (name, text) in [("small", SMALL), ("zoo", CONVNETJS)] {
        save("convnetjs", name, &model(text)?.to_convnetjs()?)?;
    }
    let golden: Value = serde_json::from_slice(&fs::read(golden().join("convnetjs.json"))?)?;
    for case in golden["networks"].as_array().into_iter().flatten() {
        save("convnetjs", case["name"].as_str().unwrap_or_default(), case["snapshot"].to_string().as_bytes())?;
    }
    Ok(())
}

fn pictures() -> Result<()> {
    let colour = |x, y| image::Rgba([x as u8 * 16, y as u8 * 20, 200, if x > 8 { 255 } else { y as u8 * 20 }]);
    let picture = DynamicImage::from(RgbaImage::from_fn(16, 12, colour));
    let forms: [(&str, DynamicImage); 8] = [
        ("l8", picture.to_luma8().into()),
        ("la8", picture.to_luma_alpha8().into()),
        ("rgb8", picture.to_rgb8().into()),
        ("rgba8", picture.clone()),
        ("l16", picture.to_luma16().into()),
        ("la16", picture.to_luma_alpha16().into()),
        ("rgb16", picture.to_rgb16().into()),
        ("rgba16", picture.to_rgba16().into()),
    ];
    for (name, form) in &forms {
        let mut bytes = Cursor::new(Vec::new());
        form.write_to(&mut bytes, ImageFormat::Png)?;
        save("picture", &format!("{name}.png"), bytes.get_ref())?;
    }
    // Little-endian EXIF with one entry, tag 0x112: the orientation.
    let exif = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0".to_vec();
    for (name, form) in [("l8", &forms[0].1), ("rgb8", &forms[2].1)] {
        let mut bytes = Vec::new();
        let mut encoder = JpegEncoder::new_with_quality(&mut bytes, 60);
        encoder.set_exif_metadata(exif.clone())?;
        encoder.encode_image(form)?;
        save("picture", &format!("{name}.jpg"), &bytes)?;
    }
    Ok(())
}

fn runs() -> Result<()> {
    for (name, recipe) in [("plain", ""), ("adam", "[training]\noptimizer = \"adam\"\nschedule = \"cosine\"\n")] {
        let settings =
            Settings::resolve(Network::from_toml(&format!("{SMALL}{recipe}"), "small")?, &Recipe::default())?;
        let config = RunConfig {
            version: "0.1.0".to_string(),
            dataset: "mnist".to_string(),
            data_dir: Some("data".into()),
            images: None,
            skip_unreadable: false,
            division: None,
            validation: HeldOut::ByClass,
            data_sha256: "0".repeat(64),
            seed: settings.seed,
            test_crops: settings.test_crops,
            stats_every: settings.stats_every,
            checkpoint_every: settings.checkpoint_every,
            training: settings.training(),
            network: settings.network.to_toml(),
            length: settings.length,
            optimizer: settings.optimizer,
            schedule: settings.schedule,
            device: (&Device::Cpu.info()).into(),
        };
        save("config", name, toml::to_string(&config)?.as_bytes())?;
    }
    let row = |step: u64| json!({ "kind": "checkpoint", "step": step, "train_seconds": 0.5 }).to_string() + "\n";
    save("metrics", "rows", (1..8).map(row).collect::<String>().as_bytes())?;
    save("metrics", "cut", iter::once(row(2)).chain([row(3)[..9].to_string()]).collect::<String>().as_bytes())
}
