//! `ringlane log verify`: one line a partition, then what is wrong and what to do.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use ringlane_log::offline::verify::{self, VerifyOptions};
use ringlane_log::offline::{Directory, Finding, PartitionReport, Severity, journals};
use ringlane_runtime::{Instant, now};
use serde::Serialize;

use super::args::VerifyArgs;
use super::{by_path, is_path};
use crate::args::Format;
use crate::exit::Failed;
use crate::table::{Table, json, print};

const PROGRESS_EVERY: Duration = Duration::from_secs(5);

pub async fn run(args: &VerifyArgs) -> Result<(), Failed> {
    let mut top = Vec::new();
    let mut targets = Vec::new();
    // Locked until the command ends; two folders may lie in the same directory.
    let mut directories: BTreeMap<PathBuf, Directory> = BTreeMap::new();
    if args.partitions.is_empty() {
        let directory = Directory::open(&args.data).await?;
        top = verify::top(&directory).await;
        let (folders, _) = directory.entries().await?;
        targets.extend(folders.into_iter().map(|folder| (folder, directory.stopped_clean())));
        directories.insert(args.data.clone(), directory);
    }
    for partition in &args.partitions {
        let parent = match is_path(partition) {
            true => PathBuf::from(partition).parent().map(PathBuf::from).unwrap_or_default(),
            false => args.data.clone(),
        };
        if is_path(partition) && !directories.contains_key(&parent) {
            let (_, directory) = by_path(partition.as_ref()).await?;
            directories.extend(directory.map(|directory| (parent.clone(), directory)));
        } else if !directories.contains_key(&parent) {
            directories.insert(parent.clone(), Directory::open(&parent).await?);
        }
        let directory = directories.get(&parent);
        let folder = match directory {
            Some(directory) if !is_path(partition) => directory.partition(partition).await?,
            _ => PathBuf::from(partition),
        };
        targets.push((folder, directory.is_some_and(Directory::stopped_clean)));
    }

    let mut progress = Progress { partitions: targets.len(), done: 0, bytes: 0, told: now() };
    let mut reports = Vec::new();
    for (folder, stopped_clean) in &targets {
        let options = VerifyOptions { deep: args.deep, stopped_clean: *stopped_clean };
        reports.push(verify::partition(folder, options, &mut |bytes| progress.read(bytes)).await);
        progress.done += 1;
    }
    if args.partitions.is_empty()
        && let Some(directory) = directories.get(&args.data)
    {
        top.extend(journals(directory, &reports).await);
    }
    match args.format {
        Format::Json => print(&json(&Output::new(&top, &reports))?)?,
        Format::Text => print(&as_text(&top, &reports))?,
    };
    let unsound = reports.iter().filter(|report| !report.is_sound()).count();
    let top_is_wrong = top.iter().any(|finding| finding.severity == Severity::Wrong);
    match (unsound, top_is_wrong) {
        (0, false) => Ok(()),
        (0, true) => Err(Failed::new("something is wrong at the top of the data directory")),
        _ => Err(Failed::new(format!("something is wrong in {unsound} of {} partitions", reports.len()))),
    }
}

/// For whoever waits for a terabyte.
struct Progress {
    partitions: usize,
    done: usize,
    bytes: u64,
    told: Instant,
}

impl Progress {
    fn read(&mut self, bytes: u64) {
        self.bytes += bytes;
        if self.told.elapsed() >= PROGRESS_EVERY {
            self.told = now();
            eprintln!("{} of {} partitions, {} MB read", self.done, self.partitions, self.bytes / 1_000_000);
        }
    }
}

fn as_text(top: &[Finding], reports: &[PartitionReport]) -> String {
    let mut table = Table::new(&["PARTITION", "SEGMENTS", "BATCHES", "RECORDS", "BYTES", "OFFSETS", "RESULT"]);
    for report in reports {
        table.row([
            name(report),
            report.segments.to_string(),
            report.batches.to_string(),
            report.records.to_string(),
            report.bytes.to_string(),
            format!("{} to {}", report.start_offset, report.end_offset),
            result(report),
        ]);
    }
    let mut text = table.to_string();
    for report in reports {
        for finding in &report.findings {
            text.push_str(&line(finding));
        }
        if report.findings_left_out > 0 {
            text.push_str(&format!("wrong  {}: {} more\n", report.folder.display(), report.findings_left_out));
        }
    }
    text.extend(top.iter().map(line));
    text
}

fn line(finding: &Finding) -> String {
    format!("{:<5}  {finding}\n", severity(finding))
}

fn severity(finding: &Finding) -> &'static str {
    match finding.severity {
        Severity::Wrong => "wrong",
        Severity::Note => "note",
    }
}

fn result(report: &PartitionReport) -> String {
    let wrong = report.findings.iter().filter(|finding| finding.severity == Severity::Wrong).count();
    match wrong + report.findings_left_out {
        0 => "sound".to_owned(),
        wrong => format!("{wrong} wrong"),
    }
}

fn name(report: &PartitionReport) -> String {
    report.folder.file_name().unwrap_or(report.folder.as_os_str()).to_string_lossy().into_owned()
}

#[derive(Serialize)]
struct Output<'a> {
    sound: bool,
    directory: Vec<OutputFinding<'a>>,
    partitions: Vec<OutputPartition<'a>>,
}

#[derive(Serialize)]
struct OutputPartition<'a> {
    partition: String,
    folder: String,
    segments: usize,
    batches: u64,
    records: u64,
    bytes: u64,
    start_offset: i64,
    end_offset: i64,
    sound: bool,
    findings: Vec<OutputFinding<'a>>,
    findings_left_out: usize,
}

#[derive(Serialize)]
struct OutputFinding<'a> {
    severity: &'static str,
    path: String,
    position: Option<u64>,
    found: &'a str,
    cure: &'a str,
}

impl<'a> Output<'a> {
    fn new(top: &'a [Finding], reports: &'a [PartitionReport]) -> Output<'a> {
        let top_is_sound = top.iter().all(|finding| finding.severity == Severity::Note);
        Output {
            sound: top_is_sound && reports.iter().all(PartitionReport::is_sound),
            directory: top.iter().map(OutputFinding::from).collect(),
            partitions: reports.iter().map(OutputPartition::from).collect(),
        }
    }
}

impl<'a> From<&'a PartitionReport> for OutputPartition<'a> {
    fn from(report: &'a PartitionReport) -> OutputPartition<'a> {
        OutputPartition {
            partition: name(report),
            folder: report.folder.display().to_string(),
            segments: report.segments,
            batches: report.batches,
            records: report.records,
            bytes: report.bytes,
            start_offset: report.start_offset,
            end_offset: report.end_offset,
            sound: report.is_sound(),
            findings: report.findings.iter().map(OutputFinding::from).collect(),
            findings_left_out: report.findings_left_out,
        }
    }
}

impl<'a> From<&'a Finding> for OutputFinding<'a> {
    fn from(finding: &'a Finding) -> OutputFinding<'a> {
        OutputFinding {
            severity: severity(finding),
            path: finding.path.display().to_string(),
            position: finding.position,
            found: &finding.found,
            cure: &finding.cure,
        }
    }
}
