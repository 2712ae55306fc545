//! `glassnet eval`: evaluates a model on a test set, with the confusion matrix.

use super::options::{self, CropArgs, DataArgs, DeviceArgs};
use super::output::{self, Output, Table, note};
use clap::Args;
use glassnet::data::{Dataset, DatasetName, ImageFolder};
use glassnet::evaluate::{Evaluation, check_crops, evaluate_crops};
use glassnet::exec::DeviceInfo;
use glassnet::formats::{Model, load_model};
use glassnet::train::{RunFolder, check_dataset, other_classes};
use glassnet::{Error, Result};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Examples per step: enough to keep any device busy and few enough for a small one.
const BATCH: usize = 250;

/// Evaluate a model on the test set: loss, accuracy, confusion matrix
///
/// Without --dataset, uses the data set that the model was trained on, from the folder that its run used.
#[derive(Debug, Args)]
pub struct EvalArgs {
    /// The model.safetensors or checkpoint.safetensors of a run, or a ConvNetJS snapshot (.json)
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    #[command(flatten)]
    data: DataArgs,
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
    dataset: DatasetName,
    /// Why synthetic examples replace the data set, if they do.
    stand_in: Option<&'a str>,
    device: DeviceInfo,
    /// The number of crops of each image that the scores are averaged over.
    test_crops: usize,
    examples: u64,
    correct: u64,
    test_loss: f64,
    test_accuracy: f64,
    /// `confusion_matrix[label][prediction]`.
    confusion_matrix: &'a [Vec<u64>],
    classes: Vec<ClassReport>,
}

#[derive(Debug, Serialize)]
struct ClassReport {
    class: usize,
    name: String,
    examples: u64,
    correct: u64,
    /// The share of the class that is recognised; none if the class has no examples.
    accuracy: Option<f64>,
}

/// Evaluates and prints.
pub fn run(args: &EvalArgs) -> Result<ExitCode> {
    let output = args.output;
    let test_crops = args.crops.test_crops;
    check_crops(test_crops)?;
    let model = load_model(&args.model)?;
    let dataset = data_for(&model, &args.model, &args.data, output)?;
    let (network, examples) = (&model.network, &dataset.test);
    let (device, evaluation) = pollster::block_on(async {
        let device = options::device(&args.device).await?;
        let evaluation = evaluate_crops(&device, network, &model.parameters, examples, BATCH, test_crops).await?;
        Ok::<_, Error>((device, evaluation))
    })?;
    let report = Report {
        model: &args.model,
        network: &network.name,
        dataset: dataset.name,
        stand_in: dataset.stand_in_reason(),
        device: device.info(),
        test_crops,
        examples: evaluation.examples,
        correct: evaluation.correct,
        test_loss: evaluation.loss,
        test_accuracy: evaluation.accuracy,
        confusion_matrix: &evaluation.confusion,
        classes: class_reports(&evaluation, &dataset.class_names()),
    };
    output.result(&report, text(&report))?;
    options::stand_in_reminder(&dataset, output)?;
    Ok(ExitCode::SUCCESS)
}

/// The data for a model: what the command line names, otherwise that of the run that made the model. A folder of
/// pictures must have the classes that the model was trained on.
pub(super) fn data_for(model: &Model, path: &Path, asked: &DataArgs, output: Output) -> Result<Dataset> {
    let asked = with_recorded(model, path, asked)?;
    if let Some(folder) = &asked.images {
        check_classes(model, path, folder)?;
    }
    options::dataset(&asked, trained_on(model, path, &asked)?, &model.network, output)
}

/// The arguments, completed with the folder in the `config.toml` next to a run's model if the command line names none.
///
/// # Errors
/// [`Error::Settings`] if that folder no longer exists, or if the file names other data than the model.
fn with_recorded(model: &Model, path: &Path, asked: &DataArgs) -> Result<DataArgs> {
    let own = model.extra["dataset"].as_str();
    let other = asked.dataset.is_some_and(|name| Some(name.as_str()) != own);
    let files = ["model.safetensors", "checkpoint.safetensors", "best.safetensors"];
    // A link to a run's model counts as that model.
    let resolved = std::fs::canonicalize(path);
    let beside = |path: &Path| {
        let run = path.parent().map(|run| if run.as_os_str().is_empty() { Path::new(".") } else { run });
        run.filter(|run| run.join("config.toml").is_file()).map(Path::to_path_buf)
    };
    let run = beside(path).or_else(|| resolved.ok().and_then(|path| beside(&path)));
    let Some(run) = run.filter(|_| !other && asked.data_dir.is_none() && asked.images.is_none()) else {
        return Ok(asked.clone());
    };
    let run = run.as_path();
    let config = match RunFolder::read(run).and_then(|folder| folder.read_config()) {
        Ok(config) => config,
        Err(error) => {
            note(format_args!("the run's own data folder is unknown: {error}"));
            return Ok(asked.clone());
        }
    };
    // A file with another name may be an unrelated model in the same folder.
    if !files.iter().any(|file| path.ends_with(file)) && own != Some(config.dataset.as_str()) {
        return Ok(asked.clone());
    }
    check_dataset(run, &config, &model.extra)?;
    let gone = |folder: &Path, option: &str| {
        let config = run.join("config.toml");
        Error::Settings(format!(
            "the run's data is no longer in {}, which {} names; give its folder with {option}",
            folder.display(),
            config.display()
        ))
    };
    match (config.images, config.data_dir) {
        (Some(folder), _) if !folder.is_dir() => Err(gone(&folder, "--images")),
        (Some(folder), _) => Ok(DataArgs {
            images: Some(folder),
            skip_unreadable: asked.skip_unreadable || config.skip_unreadable,
            ..DataArgs::default()
        }),
        (None, Some(folder)) if !folder.is_dir() => Err(gone(&folder, "--data-dir")),
        (None, folder) => Ok(DataArgs { data_dir: folder, ..asked.clone() }),
    }
}

/// Checks that a folder's classes are those of the model, before any picture is read.
fn check_classes(model: &Model, path: &Path, folder: &Path) -> Result<()> {
    let (found, trained) = (ImageFolder::list(folder)?.classes, model.class_names());
    let (folder, path, classes) = (folder.display(), path.display(), model.network.classes());
    if trained.is_empty() && !model.network.learns_numbers() && found.len() != classes {
        let found = found.len();
        return Err(Error::Data(format!(
            "{folder} has {found} class folders, but {path} has {classes} classes; give a folder with {classes} class folders"
        )));
    }
    if trained.is_empty() || trained == found {
        return Ok(());
    }
    Err(Error::Data(format!(
        "{folder} does not have the classes of {path}: {}; give it the same class folders",
        other_classes(&trained, &found)
    )))
}

/// The data set that a model was trained on, which is the default for evaluating it.
///
/// # Errors
/// [`Error::Model`] if the model names an unknown data set and the command line names none.
fn trained_on(model: &Model, path: &Path, asked: &DataArgs) -> Result<Option<DatasetName>> {
    if asked.dataset.is_some() || asked.images.is_some() {
        return Ok(None);
    }
    let Some(name) = model.extra.get("dataset").and_then(|name| name.as_str()) else { return Ok(None) };
    if name == DatasetName::Images.as_str() {
        return Err(Error::Model(format!(
            "{} was trained on a folder of pictures; name that folder, or another with the same classes, with --images",
            path.display()
        )));
    }
    name.parse().map(Some).map_err(|error| {
        Error::Model(format!(
            "{}: its training data is unknown; choose a data set with --dataset ({error})",
            path.display()
        ))
    })
}

fn class_reports(evaluation: &Evaluation, names: &[String]) -> Vec<ClassReport> {
    let report = |(class, row): (usize, &Vec<u64>)| {
        let (examples, correct) = (row.iter().sum(), row[class]);
        let name = names.get(class).cloned().unwrap_or(class.to_string());
        let accuracy = (examples > 0).then(|| correct as f64 / examples as f64);
        ClassReport { class, name, examples, correct, accuracy }
    };
    evaluation.confusion.iter().enumerate().map(report).collect()
}

fn text(report: &Report) -> String {
    let names: Vec<String> = report.classes.iter().map(|class| class.name.clone()).collect();
    let heads = heads(&names);
    let mut header = vec!["label \\ predicted"];
    header.extend(heads.iter().map(String::as_str));
    header.push("accuracy");
    let mut table = Table::new(&header);
    for (class, row) in report.confusion_matrix.iter().enumerate() {
        let name =
            if heads[class] == names[class] { names[class].clone() } else { format!("{class} {}", names[class]) };
        let counts = row.iter().map(u64::to_string);
        let share = report.classes[class].accuracy.map_or("-".to_string(), percent);
        table.row(std::iter::once(name).chain(counts).chain([share]));
    }
    format!(
        "{} on the test set of {} ({})\n{table}\ntest loss {:.4}, accuracy {} ({} of {}){}",
        report.model.display(),
        report.dataset,
        report.device,
        report.test_loss,
        percent(report.test_accuracy),
        report.correct,
        report.examples,
        options::mean_of(report.test_crops)
    )
}

/// The column heads: the classes' names if all are short, otherwise their indices, because long names need width. A
/// name that is another class's index would be misread as that class.
fn heads(names: &[String]) -> Vec<String> {
    let stands = |(class, name): (usize, &String)| {
        name.chars().count() <= 3 && (name.parse::<f64>().is_err() || *name == class.to_string())
    };
    let short = names.iter().enumerate().all(stands);
    names.iter().enumerate().map(|(class, name)| if short { name.clone() } else { class.to_string() }).collect()
}

fn percent(share: f64) -> String {
    format!("{:.2} %", 100.0 * share)
}

#[cfg(test)]
mod tests {
    use super::heads;

    fn above(names: &[&str]) -> Vec<String> {
        heads(&names.iter().map(|name| name.to_string()).collect::<Vec<_>>())
    }

    #[test]
    fn short_names_stand_above_the_columns() {
        assert_eq!(above(&["cat", "dog"]), ["cat", "dog"]);
        assert_eq!(above(&["0", "1", "2"]), ["0", "1", "2"]);
    }

    #[test]
    fn no_two_columns_are_headed_alike() {
        for names in [["1", "1000", "2"], ["1", "2", "0"], ["bird", "cat", "1"], ["0", "1", "ship"]] {
            assert_eq!(above(&names), ["0", "1", "2"], "{names:?}");
        }
    }
}
