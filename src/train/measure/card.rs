//! The tables of MODEL_CARD.md from an evaluation: a column for each degradation, a table for each way of splitting.

use std::collections::BTreeSet;

use super::eval::{EvalRow, Evaluation};

/// Everything that was measured, as Markdown tables.
pub fn markdown(evaluation: &Evaluation) -> String {
    // The rows of a degradation stand together.
    let mut degradations: Vec<&str> = evaluation.rows.iter().map(|row| row.degrade).collect();
    degradations.dedup();
    let table = Tables { rows: &evaluation.rows, degradations };
    let mut text = table.of_all();
    let ways: BTreeSet<&str> = table.rows.iter().map(|row| row.by).filter(|by| *by != "all").collect();
    for by in &ways {
        text += &table.of_aucs(by);
    }
    for by in &ways {
        text += &table.of_calls(by);
    }
    text
}

struct Tables<'a> {
    rows: &'a [EvalRow],
    degradations: Vec<&'a str>,
}

impl<'a> Tables<'a> {
    fn row(&self, degrade: &str, by: &str, value: &str) -> Option<&'a EvalRow> {
        self.rows.iter().find(|row| row.degrade == degrade && row.by == by && row.value == value)
    }

    /// A table whose columns are the degradations; `-` where there is no figure.
    fn table(&self, title: &str, lines: &[(String, Vec<Option<String>>)]) -> String {
        let mut text = format!("| {title} |");
        text += &self.degradations.iter().map(|name| format!(" {name} |")).collect::<String>();
        text += &format!("\n|{}\n", "---|".repeat(self.degradations.len() + 1));
        for (name, cells) in lines.iter().filter(|(_, cells)| cells.iter().any(Option::is_some)) {
            let cells: String = cells.iter().map(|cell| format!(" {} |", cell.as_deref().unwrap_or("-"))).collect();
            text += &format!("| {name} |{cells}\n");
        }
        text + "\n"
    }

    fn of_all(&self) -> String {
        let line = |name: &str, cell: &dyn Fn(&EvalRow) -> Option<String>| {
            let cells = self.degradations.iter().map(|degrade| self.row(degrade, "all", "all").and_then(cell));
            (name.to_string(), cells.collect())
        };
        self.table(
            "",
            &[
                line("AUC, mean over sources", &|row| row.auc_mean_over_sources.map(number)),
                line("AUC, worst source", &|row| {
                    row.auc_worst_source.as_ref().map(|(source, auc)| format!("{auc:.3} ({source})"))
                }),
                line("AUC, mean over families", &|row| row.auc_mean_over_families.map(number)),
                line("AUC, worst family", &|row| {
                    row.auc_worst_family.as_ref().map(|(family, auc)| format!("{auc:.3} ({family})"))
                }),
                line("AUC, pooled", &auc),
                line("equal error rate", &|row| row.eer.map(number)),
                line("average precision", &|row| row.ap.map(number)),
                line("fakes found at 1 % of untouched flagged", &|row| row.tpr_at_fpr1.map(number)),
                line("calibration error", &|row| row.ece.map(number)),
                line("Brier score", &|row| row.brier.map(number)),
                line("judged: untouched + fake", &|row| Some(format!("{} + {}", row.n_real, row.n_fake))),
                line("not assessed (mostly: no face found)", &|row| Some(row.not_assessed.to_string())),
                line("untouched called `likely_fake`", &|row| share(row.called[0], row.n_real, 1)),
                line("untouched called `likely_fake`, worst family", &|row| {
                    row.called_worst_family.as_ref().map(|(family, share)| format!("{:.1} % ({family})", 100.0 * share))
                }),
                line("fakes called `likely_fake`", &|row| share(row.called[1], row.n_fake, 1)),
                line("held back as unfamiliar", &|row| share(row.unfamiliar, row.n_real + row.n_fake, 1)),
                line("untouched over the automatic threshold", &|row| {
                    row.flagged_reals.map(|share| format!("{:.1} %", 100.0 * share))
                }),
            ],
        )
    }

    fn lines(&self, by: &str, name: impl Fn(&str) -> String, cell: impl Fn(&EvalRow) -> Option<String>) -> Lines {
        let values: BTreeSet<&str> =
            self.rows.iter().filter(|row| row.by == by).map(|row| row.value.as_str()).collect();
        let line = |value: &&str| {
            let cells = self.degradations.iter().map(|degrade| self.row(degrade, by, value).and_then(&cell));
            (name(value), cells.collect())
        };
        values.iter().map(line).collect()
    }

    fn of_aucs(&self, by: &str) -> String {
        self.table(&format!("AUC by {by}"), &self.lines(by, str::to_string, auc))
    }

    fn of_calls(&self, by: &str) -> String {
        let of = |class: usize, kind: &str, count: &dyn Fn(&EvalRow) -> usize| {
            self.lines(by, |value| format!("{value} ({kind})"), |row| share(row.called[class], count(row), 0))
        };
        let mut lines = of(1, "fake", &|row| row.n_fake);
        lines.extend(of(0, "untouched", &|row| row.n_real));
        self.table(&format!("called `likely_fake`, by {by}"), &lines)
    }
}

/// Names and cells of the lines of a table.
type Lines = Vec<(String, Vec<Option<String>>)>;

fn number(value: f64) -> String {
    format!("{value:.3}")
}

fn auc(row: &EvalRow) -> Option<String> {
    let interval = row.ci95.get("auc").map_or(String::new(), |[low, high]| format!(" ({low:.2}-{high:.2})"));
    row.auc.map(|auc| format!("{auc:.3}{interval}"))
}

fn share(part: usize, whole: usize, digits: usize) -> Option<String> {
    (whole > 0).then(|| format!("{:.digits$} %", 100.0 * part as f64 / whole as f64))
}
