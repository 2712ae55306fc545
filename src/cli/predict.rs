//! `glassnet predict`: a model's predictions for picture files.

use super::inspect::{Class, TOP};
use super::options::{self, CropArgs, DeviceArgs};
use super::output::{self, Output, figure, note};
use clap::Args;
use glassnet::data::picture::{DIGIT_SIDE, Polarity};
use glassnet::data::treatment::{Picture, Treatment};
use glassnet::data::{DatasetName, Examples};
use glassnet::evaluate::{check_crops, scores};
use glassnet::exec::DeviceInfo;
use glassnet::formats::{Model, load_model};
use glassnet::inspect::top;
use glassnet::net::Shape;
use glassnet::{Error, Result};
use rayon::prelude::*;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Pictures per step.
const BATCH: usize = 250;

/// The largest side that a model file may request for pictures.
const MAX_SIDE: usize = 4096;

/// Predict what pictures show: the three likeliest classes of each, or the number if the network learned numbers
///
/// Pictures are PNG or JPEG files of any size; their middle is resized to the size that the model was trained on. For
/// models of digits (mnist, synthetic) the digit is cut out, scaled and centred as in MNIST, light on dark or dark on
/// light; for fashion-mnist and kmnist, dark on light is inverted. A file that cannot be read is an error; the others
/// are predicted.
#[derive(Debug, Args)]
pub struct PredictArgs {
    /// The model.safetensors or checkpoint.safetensors of a run, or a ConvNetJS snapshot (.json)
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// The model's training data, if its file does not name it, such as mnist for a ConvNetJS snapshot
    #[arg(long, value_name = "NAME")]
    dataset: Option<DatasetName>,
    /// The pictures
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<PathBuf>,
    #[command(flatten)]
    device: DeviceArgs,
    #[command(flatten)]
    crops: CropArgs,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Serialize)]
struct Report<'a> {
    #[serde(serialize_with = "output::path")]
    model: &'a Path,
    network: &'a str,
    /// The model's training data; none if its file does not name it.
    dataset: Option<&'a str>,
    treatment: Treatment,
    /// Height, width and channels that pictures were resized to.
    shape: [usize; 3],
    /// The number of crops of each picture that the scores are averaged over.
    test_crops: usize,
    /// The device that computed; `None` if no picture could be read.
    device: Option<DeviceInfo>,
    images: Vec<ImageReport>,
}

#[derive(Debug, Serialize)]
struct ImageReport {
    #[serde(serialize_with = "output::path")]
    image: PathBuf,
    /// `light on dark` or `dark on light, inverted`; none if it is not examined.
    polarity: Option<&'static str>,
    /// The likeliest classes, the likeliest first; empty after an error, and if a number is predicted.
    predictions: Vec<Class>,
    /// The prediction of a network that learned numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    number: Option<f32>,
    error: Option<String>,
}

/// Predicts and prints. Returns [`ExitCode::FAILURE`] if a picture could not be read.
pub fn run(args: &PredictArgs) -> Result<ExitCode> {
    let output = args.output;
    check_crops(args.crops.test_crops)?;
    let mut model = load_model(&args.model)?;
    if let Some(dataset) = args.dataset {
        told(&mut model, dataset, &args.model)?;
    }
    let dataset = model.extra.get("dataset").and_then(|name| name.as_str());
    if dataset.is_none() {
        note(format_args!(
            "{} does not name its training data, so pictures are only resized and never inverted; name it with \
             --dataset, such as mnist",
            args.model.display()
        ));
    }
    let shape = picture_shape(&model, dataset)?;
    let treatment = Treatment::of(dataset.unwrap_or_default(), shape);
    let pictures: Vec<_> = args.images.par_iter().map(|path| treatment.apply(&**path, shape)).collect();
    let (device, scores) = match examples(&model, shape, &pictures) {
        none if none.is_empty() => (None, Vec::new()),
        examples => pollster::block_on(async {
            let device = options::device(&args.device).await?;
            let scores =
                scores(&device, &model.network, &model.parameters, &examples, BATCH, args.crops.test_crops).await?;
            Ok::<_, Error>((Some(device.info()), scores))
        })?,
    };
    let dropped = pictures.iter().flatten().filter(|picture| picture.colour_dropped).count();
    if dropped > 0 {
        let (network, all) = (&model.network.name, pictures.len());
        note(format_args!("network {network} has grey input; the colour of {dropped} of {all} pictures is not used"));
    }
    let names = model.class_names();
    let mut scores = scores.iter();
    let report = |(path, picture): (&PathBuf, &Result<Picture>)| match picture {
        Err(error) => {
            let error = Some(super::output::told(error));
            ImageReport { image: path.clone(), polarity: None, predictions: Vec::new(), number: None, error }
        }
        Ok(Picture { polarity, .. }) => {
            let scores = scores.next().map_or(&[][..], Vec::as_slice);
            let number = scores.first().copied().filter(|_| model.network.learns_numbers());
            let likeliest = if number.is_some() { Vec::new() } else { top(scores, TOP) };
            let class = |(class, value)| Class::new(&model.network, &names, class, value);
            let predictions = likeliest.into_iter().map(class).collect();
            let polarity = polarity.map(polarity_name);
            ImageReport { image: path.clone(), polarity, predictions, number, error: None }
        }
    };
    let images: Vec<ImageReport> = args.images.iter().zip(&pictures).map(report).collect();
    let network = &model.network.name;
    let test_crops = args.crops.test_crops;
    let report = Report { model: &args.model, network, dataset, treatment, shape, test_crops, device, images };
    if args.output.json || report.device.is_some() {
        output.result(&report, text(&report))?;
    }
    let errors = report.images.iter().filter_map(|image| image.error.as_ref());
    errors.clone().for_each(|error| note(format_args!("error: {error}")));
    Ok(if errors.count() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Records a data set's name as the model's training data if its file does not name it; keeps everything else.
///
/// # Errors
/// [`Error::Settings`] if the file names another data set.
fn told(model: &mut Model, dataset: DatasetName, path: &Path) -> Result<()> {
    let name = dataset.to_string();
    if let Some(own) = model.extra["dataset"].as_str().filter(|own| *own != name) {
        return Err(Error::Settings(format!(
            "{} was trained on {}; leave --dataset {name} out",
            path.display(),
            glassnet::text::cut(own)
        )));
    }
    match &mut model.extra {
        serde_json::Value::Object(extra) => drop(extra.insert("dataset".into(), name.into())),
        extra => *extra = serde_json::json!({ "dataset": name }),
    }
    Ok(())
}

/// The shape that pictures are resized to: that of the training images, before any crop.
///
/// # Errors
/// [`Error::Model`] if the network accepts neither grey nor coloured pictures.
fn picture_shape(model: &Model, dataset: Option<&str>) -> Result<[usize; 3]> {
    let (network, input) = (&model.network, model.network.input_shape());
    if ![1, 3].contains(&input.channels) {
        return Err(Error::Model(format!(
            "network {} takes images with {}, but pictures have 1 or 3; use another model",
            network.name,
            glassnet::train::in_channels(input.channels)
        )));
    }
    let recorded = serde_json::from_value(model.extra["image"].clone()).ok();
    // Older files name only the data set.
    let published = dataset.and_then(|name| name.parse::<DatasetName>().ok()).map(|name| match name.stand_in() {
        DatasetName::SyntheticPictures => [32, 32, 3],
        _ => [DIGIT_SIDE, DIGIT_SIDE, 1],
    });
    let fits = |&[height, width, channels]: &[usize; 3]| {
        height.max(width) <= MAX_SIDE
            && network.check_fits(Shape::new(height, width, channels), network.classes()).is_ok()
    };
    let shape = [recorded, published].into_iter().flatten().find(fits);
    Ok(shape.unwrap_or([input.height, input.width, input.channels]))
}

/// The pictures that could be read, without labels.
fn examples(model: &Model, shape: [usize; 3], pictures: &[Result<Picture>]) -> Examples {
    let good: Vec<&[u8]> = pictures.iter().flatten().map(|picture| &picture.pixels[..]).collect();
    let (classes, labels) = (model.network.classes(), vec![0; good.len()]);
    Examples { shape, classes, pixels: good.concat(), labels, numbers: Vec::new() }
}

fn polarity_name(polarity: Polarity) -> &'static str {
    match polarity {
        Polarity::LightOnDark => "light on dark",
        Polarity::DarkOnLight => "dark on light, inverted",
    }
}

fn text(report: &Report) -> String {
    let [height, width, channels] = report.shape;
    let treatment = match report.treatment {
        Treatment::Digit => "digits cut out, scaled and centred",
        Treatment::LightOnDark | Treatment::Resize => "their middle resized",
    };
    let device = report.device.as_ref().map_or(String::new(), |device| format!(" ({device})"));
    let shape = Shape::new(height, width, channels);
    let crops = options::mean_of(report.test_crops);
    let mut text = format!("{}{device}: pictures to {shape}, {treatment}{crops}", report.model.display());
    for image in report.images.iter().filter(|image| image.error.is_none()) {
        let number = image.number.map(|number| figure(f64::from(number)));
        let predictions: Vec<String> = image.predictions.iter().map(Class::to_string).chain(number).collect();
        let polarity = image.polarity.map_or(String::new(), |polarity| format!(" ({polarity})"));
        text += &format!("\n{}{polarity}: {}", image.image.display(), predictions.join(", "));
    }
    text
}
