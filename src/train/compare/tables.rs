//! The paper's tables, its numbers beside ours, as Markdown, CSV and JSON. Percent throughout, as in the paper.

use serde::Serialize;
use serde_json::Value;

use super::figures::Figures;
use super::{Outcome, Task};
use crate::train::compare::system::System;
use crate::{Error, ErrorKind, Result};

/// The paper's numbers; null where its text gives none.
const PAPER: &str = include_str!("paper_tables.json");

/// A table of the paper.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Table {
    /// Its number in the paper.
    pub number: u8,
    /// What it shows.
    pub title: String,
    /// Names of the figures, each given twice: the paper's, then ours.
    pub columns: Vec<&'static str>,
    /// Its lines.
    pub rows: Vec<Line>,
}

/// One line of a table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Line {
    /// The system as the paper calls it; what the paper does not have keeps its name here.
    pub name: String,
    /// The paper's figures.
    pub paper: Vec<Option<f64>>,
    /// Ours, of the better setting on the validation rows.
    pub ours: Vec<Option<f64>>,
    /// Which setting that was, and whether it started from ImageNet weights.
    pub note: String,
}

/// Task and systems of a table, in the order of its lines.
///
/// # Errors
/// `BadUsage` for other numbers than 1, 2, 3, 4, 5 and 9.
pub fn systems_of(number: u8) -> Result<(Task, Vec<System>)> {
    match number {
        1 => Ok((Task::Multi, System::ablations().to_vec())),
        2 => Ok((Task::Multi, System::front_ends().into_iter().chain(System::residual_trunks()).collect())),
        3 => Ok((Task::Multi, System::fusions())),
        4 => Ok((Task::Multi, System::DETECTORS.to_vec())),
        5 => Ok((Task::Binary, System::DETECTORS.to_vec())),
        9 => Ok((Task::Binary, System::DETECTORS.into_iter().chain(System::CROSS_ONLY).collect())),
        other => {
            Err(Error::new(ErrorKind::BadUsage, format!("expected a table out of 1, 2, 3, 4, 5, 9, found {other}")))
        }
    }
}

/// Where a table stands in [`PAPER`], how many of its first columns are no figures, and the figures' names.
fn layout(number: u8) -> (&'static str, usize, Vec<&'static str>) {
    let degraded = vec!["raw", "jp60", "me5", "average"];
    match number {
        1 => ("table_I", 2, vec!["raw", "jp60", "me5"]),
        2 => ("table_II", 2, vec!["raw"]),
        3 => ("table_III", 1, vec!["jp60"]),
        4 => ("table_IV", 1, degraded),
        5 => ("table_V", 1, degraded),
        _ => ("table_IX", 2, vec![CROSS]),
    }
}

/// A table from whatever outcomes there are; systems without one have no figures of ours.
///
/// # Errors
/// As [`systems_of`].
pub fn table(number: u8, outcomes: &[Outcome]) -> Result<Table> {
    let (task, systems) = systems_of(number)?;
    let (key, names, columns) = layout(number);
    let paper: Value =
        serde_json::from_str(PAPER).map_err(|e| Error::caused(ErrorKind::Internal, "the paper's tables", e))?;
    let printed = paper[key]["rows"].as_array().cloned().unwrap_or_default();
    let mut rows = Vec::new();
    for (index, system) in systems.into_iter().enumerate() {
        let line = printed_line(number, index, system, &printed);
        let figures = |row: &Value| (0..columns.len()).map(|at| row[names + at].as_f64()).collect();
        let best = better(outcomes, task, system);
        rows.push(Line {
            name: line.map_or_else(|| system.name(), |row| name_of(number, row)),
            paper: line.map_or_else(|| vec![None; columns.len()], figures),
            ours: columns.iter().map(|column| best.and_then(|outcome| figure(outcome, column))).collect(),
            note: best.map(|outcome| note(outcome, system)).unwrap_or_default(),
        });
    }
    let title = paper[key]["title"].as_str().unwrap_or_default().to_string();
    Ok(Table { number, title, columns, rows })
}

/// The outcome of a system with the setting that did better on the validation rows.
pub fn better(outcomes: &[Outcome], task: Task, system: System) -> Option<&Outcome> {
    let name = system.name();
    let own = outcomes.iter().filter(|outcome| outcome.task == task && outcome.system == name);
    own.max_by(|a, b| a.validation_acc.total_cmp(&b.validation_acc))
}

/// The paper's line of a system: by place, except in Table IX, which lists other people's systems as well.
fn printed_line(number: u8, index: usize, system: System, printed: &[Value]) -> Option<&Value> {
    if number != 9 {
        return printed.get(index);
    }
    let wanted = match system {
        System::Meso4 => "Meso-4",
        System::MesoInception4 => "MesoInception-4",
        System::Xception => "Xception-raw",
        System::Capsule => "Capsule",
        System::GrNet(_) => "GRnet-HQ",
        System::MultiTask => "Multi-task",
        System::Fwa => "FWA",
        _ => return None,
    };
    printed.iter().find(|row| row[0] == wanted)
}

fn name_of(number: u8, row: &Value) -> String {
    let text = |at: usize| row[at].as_str().unwrap_or_default().to_string();
    match number {
        1 => {
            let with = |at: usize, name: &str| if row[at] == true { name.to_string() } else { format!("no {name}") };
            format!("{}, {}", with(0, "MTE"), with(1, "AFM"))
        }
        2 => text(1),
        _ => text(0),
    }
}

fn note(outcome: &Outcome, system: System) -> String {
    let start = match (system.recipe().imagenet, outcome.pretrained) {
        (true, false) => ", no pre-training",
        _ => "",
    };
    format!("{}{start}", outcome.setting.name())
}

/// The column of Table IX.
const CROSS: &str = "cross-data AUC";

/// What a column was read from; the average of several has nothing of its own.
pub fn measured<'a>(outcome: &'a Outcome, column: &str) -> Option<&'a Figures> {
    if column == CROSS { outcome.cross.as_ref() } else { outcome.test.get(column) }
}

/// A figure in percent.
fn figure(outcome: &Outcome, column: &str) -> Option<f64> {
    let acc = |tier: &str| measured(outcome, tier).map(|figures| 100.0 * figures.acc);
    match column {
        "average" => Some((acc("raw")? + acc("jp60")? + acc("me5")?) / 3.0),
        CROSS => measured(outcome, CROSS)?.auc.map(|auc| 100.0 * auc),
        tier => acc(tier),
    }
}

impl Table {
    /// The names of the columns.
    pub fn head(&self) -> Vec<String> {
        let pairs = self.columns.iter().flat_map(|column| [format!("{column} (paper)"), format!("{column} (ours)")]);
        std::iter::once("method".to_string()).chain(pairs).chain(["setting".to_string()]).collect()
    }

    /// The cells of a line, as many as [`Table::head`] has.
    pub fn cells(line: &Line) -> Vec<String> {
        let cell = |value: &Option<f64>| value.map_or(String::new(), |value| format!("{value:.2}"));
        let pairs = line.paper.iter().zip(&line.ours).flat_map(|(paper, ours)| [cell(paper), cell(ours)]);
        std::iter::once(line.name.clone()).chain(pairs).chain([line.note.clone()]).collect()
    }

    /// As Markdown, with a heading.
    pub fn markdown(&self) -> String {
        let row = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        let head = self.head();
        let rule = row(vec!["---".into(); head.len()]);
        let lines: String = self.rows.iter().map(|line| row(Self::cells(line))).collect();
        format!("## Table {}: {}\n\n{}{rule}{lines}", self.number, self.title, row(head))
    }

    /// As CSV.
    ///
    /// # Errors
    /// `Internal`; writing to memory does not fail.
    pub fn csv(&self) -> Result<Vec<u8>> {
        let failed = |e: csv::Error| Error::caused(ErrorKind::Internal, "a table as CSV", e);
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(self.head()).map_err(failed)?;
        for line in &self.rows {
            writer.write_record(Self::cells(line)).map_err(failed)?;
        }
        writer.into_inner().map_err(|e| Error::new(ErrorKind::Internal, format!("a table as CSV: {e}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(number: u8) -> Vec<(String, Vec<Option<f64>>)> {
        table(number, &[]).unwrap().rows.into_iter().map(|line| (line.name, line.paper)).collect()
    }

    #[test]
    fn the_papers_lines_stand_beside_the_right_systems() {
        let ablations = names(1);
        assert_eq!(ablations[0].0, "no MTE, no AFM");
        assert_eq!(ablations[3], ("MTE, AFM".into(), vec![Some(99.96), Some(96.48), Some(99.15)]));
        let fronts = ["high pass filter", "SRM filter", "constrained convolution", "AMTEN", "MTE"];
        let found = names(2);
        assert_eq!(found[..5].iter().map(|line| line.0.as_str()).collect::<Vec<_>>(), fronts);
        // ResNet-18 behind the same front ends, and alone; the paper does not have these.
        assert_eq!(found[5..].len(), 6);
        assert_eq!(found[10], ("resnet18-mte".into(), vec![None]));
        let fusions = ["max", "concatenation", "min", "sum", "AFM", "grnet-printed"];
        assert_eq!(names(3).iter().map(|line| line.0.as_str()).collect::<Vec<_>>(), fusions);
        let detectors =
            ["Meso-4", "MesoInception-4", "HighPass", "MISLnet", "XceptionNet", "Capsule", "AMTENnet", "GRnet"];
        for number in [4, 5] {
            assert_eq!(names(number).iter().map(|line| line.0.as_str()).collect::<Vec<_>>(), detectors);
        }
        assert_eq!(names(9)[0], ("Meso-4".into(), vec![Some(54.8)]));
        assert_eq!(names(9)[3], ("mislnet".into(), vec![None]));
        assert_eq!(names(9)[9], ("FWA".into(), vec![Some(56.9)]));
    }

    #[test]
    fn markdown_has_a_cell_for_every_column() {
        let text = table(4, &[]).unwrap().markdown();
        assert!(text.contains("| Meso-4 | 80.76 |  | 67.76 |  | 62.40 |  | 70.31 |  |  |"), "{text}");
        let widths: Vec<usize> = text.lines().skip(2).map(|line| line.matches('|').count()).collect();
        assert!(widths.iter().all(|width| *width == 11), "{widths:?}");
    }
}
