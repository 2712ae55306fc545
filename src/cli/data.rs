//! `glassnet data`: downloads, verifies and lists data sets.

use super::notices::DownloadProgress;
use super::output::{self, Output, Table, note};
use clap::{Args, Subcommand};
use glassnet::data::{self, DatasetName, FileReport, Listing, Request, Sources, Verdict};
use glassnet::machine::mib;
use glassnet::{Error, Result};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Download, verify or list data sets
#[derive(Debug, Args)]
pub struct DataCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Download into the user's cache folder, or into a subfolder of --data-dir, and verify the checksums
    Fetch(DataSetArgs),
    /// Compare the files that exist with the published checksums
    Verify(DataSetArgs),
    /// Show every data set, where its files are, and whether they are the published ones
    List(ListArgs),
}

#[derive(Debug, Args)]
struct DataSetArgs {
    /// mnist, fashion-mnist, kmnist or cifar10 [default: all of them]
    #[arg(long, value_name = "NAME")]
    dataset: Option<DatasetName>,
    #[command(flatten)]
    list: ListArgs,
}

#[derive(Debug, Args)]
struct ListArgs {
    /// Folder with data sets, instead of the one in GLASSNET_DATA and the user's cache folder
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Serialize)]
struct SetReport {
    dataset: DatasetName,
    /// The folder with its files; `None` if they were not found, and for the synthetic sets, which have no files.
    #[serde(serialize_with = "output::optional_path")]
    folder: Option<PathBuf>,
    /// `built-in`, `missing`, `verified`, `differs`, or `unverifiable` if no published checksum covers the files.
    state: &'static str,
    files: Vec<FileLine>,
}

#[derive(Debug, Serialize)]
struct FileLine {
    file: &'static str,
    #[serde(serialize_with = "output::optional_path")]
    path: Option<PathBuf>,
    bytes: u64,
    /// `verified`, `differs`, `unverifiable`, `unreadable` or `missing`.
    verdict: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

/// Runs the action.
pub fn run(command: &DataCommand) -> Result<ExitCode> {
    match &command.action {
        Action::Fetch(args) => fetch(args),
        Action::Verify(args) => verify(args),
        Action::List(args) => list(args),
    }
}

/// The requested sets: one, or all that have files.
fn names(args: &DataSetArgs) -> Vec<DatasetName> {
    let all = DatasetName::ALL.into_iter().filter(|name| !name.is_synthetic());
    args.dataset.map_or(all.collect(), |name| vec![name])
}

/// Stops at the first set that cannot be obtained; without a network, each set would wait in vain.
fn fetch(args: &DataSetArgs) -> Result<ExitCode> {
    let mut reports = Vec::new();
    for name in names(args) {
        let folder = data::download_folder(name, args.list.data_dir.as_deref())?;
        let sources = Sources::published(name).ok_or_else(built_in)?;
        let mut progress = DownloadProgress::new();
        data::fetch(name, &folder, &sources, &mut |event| progress.show(event))?;
        progress.clear();
        note(format_args!("{name} is in {}", folder.display()));
        let files = data::verify(name, &folder);
        reports.push(set_report(name, Some(folder), files));
    }
    finish(&reports, args.list.output)
}

fn verify(args: &DataSetArgs) -> Result<ExitCode> {
    if args.dataset.is_some_and(DatasetName::is_synthetic) {
        return Err(built_in());
    }
    let listings = find(&args.list)?;
    let mut reports = Vec::new();
    for Listing { name, folder, files } in listings.into_iter().filter(|l| args.dataset.is_none_or(|n| n == l.name)) {
        match (folder, &args.list.data_dir) {
            (Some(folder), _) => reports.push(set_report(name, Some(folder), files)),
            // For an incomplete copy, the report says which files are missing.
            (None, Some(folder)) if args.dataset.is_some() => {
                reports.push(set_report(name, Some(folder.clone()), data::verify(name, folder)));
            }
            (None, _) => {}
        }
    }
    if reports.is_empty() {
        let (what, option) = match args.dataset {
            Some(name) => (name.to_string(), format!(" --dataset {name}")),
            None => ("a data set".to_string(), String::new()),
        };
        return Err(Error::Data(format!(
            "there is no complete copy of {what} in {}; `glassnet data fetch{option}` downloads one",
            places(args.list.data_dir.as_deref())
        )));
    }
    finish(&reports, args.list.output)
}

fn list(args: &ListArgs) -> Result<ExitCode> {
    let report = |listing: Listing| set_report(listing.name, listing.folder, listing.files);
    let mut reports: Vec<SetReport> = find(args)?.into_iter().map(report).collect();
    let built_in = DatasetName::ALL.into_iter().filter(|name| name.is_synthetic());
    reports.extend(built_in.map(|name| set_report(name, None, Vec::new())));
    let mut table = Table::new(&["data set", "state", "size", "folder"]);
    for report in &reports {
        let bytes: u64 = report.files.iter().map(|file| file.bytes).sum();
        let size = if bytes == 0 { "-".to_string() } else { mib(bytes) };
        let folder = report.folder.as_deref().map_or("-".to_string(), |folder| folder.display().to_string());
        table.row([report.dataset.to_string(), report.state.to_string(), size, folder]);
    }
    args.output.result(&reports, table)?;
    Ok(ExitCode::SUCCESS)
}

/// Every set that has files, with what was found.
fn find(args: &ListArgs) -> Result<Vec<Listing>> {
    if let Some(folder) = args.data_dir.as_deref().filter(|folder| !folder.is_dir()) {
        return Err(Error::Data(format!(
            "folder {} does not exist; correct --data-dir or create the folder",
            folder.display()
        )));
    }
    let environment = data::environment();
    Ok(data::list(&Request { data_dir: args.data_dir.clone(), environment, ..Request::default() }))
}

fn built_in() -> Error {
    Error::Settings("the synthetic sets are built in; there are no files to download or verify".into())
}

/// The folders that were searched, as text.
fn places(data_dir: Option<&Path>) -> String {
    let defaults = || data::environment().into_iter().chain(data::cache_folder()).collect();
    let folders: Vec<PathBuf> = data_dir.map_or_else(defaults, |folder| vec![folder.to_path_buf()]);
    let folders: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
    if folders.is_empty() { "any known folder".to_string() } else { folders.join(" or ") }
}

fn set_report(dataset: DatasetName, folder: Option<PathBuf>, files: Vec<FileReport>) -> SetReport {
    let state = match &folder {
        _ if dataset.is_synthetic() => "built-in",
        None => "missing",
        Some(_) if files.iter().all(|file| file.verdict == Verdict::Verified) => "verified",
        Some(_) if files.iter().all(|file| matches!(file.verdict, Verdict::Verified | Verdict::Unverifiable)) => {
            "unverifiable"
        }
        Some(_) => "differs",
    };
    SetReport { dataset, folder, state, files: files.into_iter().map(|file| file_line(dataset, file)).collect() }
}

fn file_line(dataset: DatasetName, report: FileReport) -> FileLine {
    let FileReport { file, path, bytes, verdict } = report;
    let (verdict, detail) = match verdict {
        Verdict::Verified => ("verified", None),
        Verdict::Differs { sha256 } => ("differs", Some(format!("not the published file: its SHA-256 is {sha256}"))),
        Verdict::Unverifiable => {
            let packed = match dataset.files() {
                [archive] if *archive != file => format!("{archive}.gz"),
                _ => "the gzipped file".to_string(),
            };
            ("unverifiable", Some(format!("only the checksum of {packed} is published; keep that file")))
        }
        Verdict::Unreadable(why) => ("unreadable", Some(why)),
        Verdict::Missing => ("missing", None),
    };
    FileLine { file, path, bytes, verdict, detail }
}

/// Prints the files; any verdict other than `verified` makes the command fail.
fn finish(reports: &[SetReport], output: Output) -> Result<ExitCode> {
    let mut table = Table::new(&["file", "verdict", "bytes"]);
    let mut details = String::new();
    for report in reports {
        for line in &report.files {
            table.row([format!("{}/{}", report.dataset, line.file), line.verdict.to_string(), line.bytes.to_string()]);
            if let Some(detail) = &line.detail {
                details += &format!("\n{}/{}: {detail}", report.dataset, line.file);
            }
        }
    }
    output.result(&reports, format_args!("{table}{details}"))?;
    let failed = reports.iter().any(|report| report.state != "verified");
    if reports.iter().any(|report| !["verified", "unverifiable"].contains(&report.state)) {
        let own = |file: &FileLine| file.path.as_deref().is_some_and(|path| !data::in_cache(path));
        let theirs =
            reports.iter().flat_map(|report| &report.files).any(|file| file.verdict != "verified" && own(file));
        note(match theirs {
            true => {
                "error: not all files are the published ones; `glassnet data fetch --data-dir FOLDER` downloads those"
            }
            false => "error: not all files are the published ones; remove those and run `glassnet data fetch`",
        });
    } else if failed {
        note("error: not all files have a published checksum; `glassnet data fetch` downloads those that do");
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
