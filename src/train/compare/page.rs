//! The comparison as one page of HTML for people: the tables, their bars, ROC curves and reliability diagrams, every figure
//! that was measured, and how it all came about. Self-contained, without script.

use std::collections::{BTreeMap, BTreeSet};

use super::Outcome;
use super::figures::Figures;
use super::tables::{Table, better, measured, systems_of};
use crate::Result;
use crate::report::evidence::{document, escaped};
use crate::train::measure::plots::{self, Curve, Points};

const STYLE: &str = "body{font:16px/1.45 system-ui,sans-serif;max-width:76rem;margin:1.5rem auto;padding:0 1rem;color:#1b1b1f;\
    background:#fff}table{border-collapse:collapse;margin:.8rem 0}th,td{padding:.2rem .6rem;border-bottom:1px solid #ccc;\
    text-align:left;font-variant-numeric:tabular-nums}figure{display:inline-block;margin:.4rem;vertical-align:top}svg{max-width:100%;height:auto}\
    .wide{overflow-x:auto}code{overflow-wrap:anywhere}";

/// The page of some tables and all outcomes behind them; `command` is what made them.
///
/// # Errors
/// `BadUsage` for a table that the paper does not have, `Internal` when drawing fails.
pub fn page(tables: &[Table], outcomes: &[Outcome], command: &str) -> Result<String> {
    let mut body = String::from("<h1>grnet compare: the paper's tables on these data</h1>\n");
    body += &origin(outcomes, command);
    for table in tables {
        body += &format!("<section><h2>Table {}: {}</h2>\n", table.number, escaped(&table.title));
        let rows: Vec<Vec<String>> = table.rows.iter().map(Table::cells).collect();
        body += &html_table(&table.head(), &rows);
        body += &bars(table)?;
        body += &curves(table, outcomes)?;
        body += "</section>\n";
    }
    body += "<section><h2>Every figure</h2>\n";
    body += &every_figure(outcomes);
    body += &confusions(outcomes);
    body += "</section>\n";
    Ok(document("grnet compare", STYLE, &body))
}

/// Command, commit, budget and data.
fn origin(outcomes: &[Outcome], command: &str) -> String {
    let mut rows = vec![["command".to_string(), command.to_string()]];
    let mut row = |name: &str, of: &dyn Fn(&Outcome) -> String| {
        // One value for all, unless the folder was filled by several versions.
        let values: BTreeSet<String> = outcomes.iter().map(of).filter(|value| !value.is_empty()).collect();
        rows.push([name.to_string(), values.into_iter().collect::<Vec<_>>().join(", ")]);
    };
    row("commit", &|outcome| outcome.commit.clone());
    row("budget of each system", &|outcome| outcome.protocol.budget.to_string());
    row("input", &|outcome| format!("{0} x {0} px", outcome.protocol.side_px));
    row("seed", &|outcome| outcome.protocol.seed.to_string());
    row("test rows of each source and label", &|outcome| format!("at most {}", outcome.protocol.per_source));
    row("validation rows of each", &|outcome| format!("at most {}", outcome.protocol.validation_per_source));
    row("SHA-256 of the data's manifests", &|outcome| outcome.data_sha256.join(" "));
    let rows: String = rows
        .iter()
        .map(|[name, value]| {
            format!("<tr><th scope=\"row\">{name}</th><td><code>{}</code></td></tr>\n", escaped(value))
        })
        .collect();
    format!(
        "<p>Each system learnt on the same pictures with the same budget. The paper's figures are of other data and longer \
        training: compare orders, not values. Percent throughout the tables; ours is of the setting that did better on the \
        validation rows.</p>\n<table>\n{rows}</table>\n"
    )
}

fn html_table(head: &[String], rows: &[Vec<String>]) -> String {
    let head: String = head.iter().map(|cell| format!("<th scope=\"col\">{}</th>", escaped(cell))).collect();
    let line = |cells: &Vec<String>| {
        let cells: String = cells.iter().map(|cell| format!("<td>{}</td>", escaped(cell))).collect();
        format!("<tr>{cells}</tr>\n")
    };
    let rows: String = rows.iter().map(line).collect();
    format!("<div class=\"wide\"><table>\n<tr>{head}</tr>\n{rows}</table></div>\n")
}

fn figure(svg: &str) -> String {
    format!("<figure>{svg}</figure>\n")
}

/// One chart a column, the paper's bars beside ours.
fn bars(table: &Table) -> Result<String> {
    let names: Vec<String> = table.rows.iter().map(|line| line.name.clone()).collect();
    let chart = |(at, column): (usize, &&str)| {
        let paper = table.rows.iter().map(|line| line.paper[at]).collect();
        let ours = table.rows.iter().map(|line| line.ours[at]).collect();
        plots::bars(&format!("Table {}, {column}, %", table.number), &names, &[("paper", paper), ("ours", ours)])
            .map(|svg| figure(&svg))
    };
    table.columns.iter().enumerate().map(chart).collect()
}

/// ROC curves and reliability diagrams, one pair a column that was measured.
fn curves(table: &Table, outcomes: &[Outcome]) -> Result<String> {
    let (task, systems) = systems_of(table.number)?;
    let mut html = String::new();
    for column in &table.columns {
        let found = || {
            let best = systems.iter().filter_map(|system| better(outcomes, task, *system));
            best.filter_map(|outcome| Some((outcome, measured(outcome, column)?)))
        };
        let pick = |points: &dyn Fn(&Figures) -> Points| -> Vec<Curve> {
            let all = found().map(|(outcome, figures)| (outcome.system.clone(), points(figures)));
            all.filter(|(_, points)| !points.is_empty()).collect()
        };
        let (rocs, reliabilities) =
            (pick(&|figures| figures.roc.clone()), pick(&|figures| plots::reliability_points(&figures.reliability)));
        let title = |what: &str| format!("Table {}, {column}: {what}", table.number);
        if !rocs.is_empty() {
            html += &figure(&plots::roc(&title("ROC"), &rocs)?);
        }
        if !reliabilities.is_empty() {
            html += &figure(&plots::reliability(&title("reliability"), &reliabilities)?);
        }
    }
    Ok(html)
}

/// Degradations and figures of an outcome; those of the other data last.
fn measurements(outcome: &Outcome) -> impl Iterator<Item = (&str, &Figures)> {
    let tiers = outcome.test.iter().map(|(tier, figures)| (tier.as_str(), figures));
    tiers.chain(outcome.cross.iter().map(|figures| ("other data", figures)))
}

const EVERY: [&str; 18] = [
    "system",
    "task",
    "setting",
    "parameters",
    "pictures learnt",
    "seconds",
    "degraded",
    "ACC",
    "AUC",
    "EER",
    "AP",
    "TPR at 1 % FPR",
    "ECE",
    "Brier",
    "ACC by group",
    "AUC by group",
    "AUC by source, the worst first",
    "AUC by generator, the worst first",
];

fn every_figure(outcomes: &[Outcome]) -> String {
    let number = |value: Option<f64>| value.map_or(String::new(), |value| format!("{value:.3}"));
    let with_interval = |value: Option<f64>, interval: Option<[f64; 2]>| {
        let interval = interval.map_or(String::new(), |[low, high]| format!(" ({low:.3} to {high:.3})"));
        number(value) + &interval
    };
    let mut rows = Vec::new();
    for outcome in outcomes {
        for (tier, figures) in measurements(outcome) {
            let known = |value: Option<f64>, name: &str| with_interval(value, figures.ci95.get(name).copied());
            rows.push(vec![
                outcome.system.clone(),
                outcome.task.name().to_string(),
                outcome.setting.name().to_string(),
                outcome.parameters.to_string(),
                outcome.pictures.to_string(),
                format!("{:.0}", outcome.seconds),
                tier.to_string(),
                with_interval(Some(figures.acc), figures.acc_ci95),
                with_interval(figures.auc, figures.auc_ci95),
                known(figures.eer, "eer"),
                known(figures.ap, "ap"),
                known(figures.tpr_at_fpr1, "tpr_at_fpr1"),
                known(figures.ece, "ece"),
                known(figures.brier, "brier"),
                number(Some(figures.acc_by_group)),
                number(figures.auc_by_group),
                worst_first(&figures.auc_by_source),
                worst_first(&figures.auc_by_generator),
            ]);
        }
    }
    let head = EVERY.map(String::from);
    format!("<p>In brackets: bootstrap 95 % intervals.</p>\n{}", html_table(&head, &rows))
}

fn worst_first(by_name: &BTreeMap<String, f64>) -> String {
    let mut all: Vec<(&String, &f64)> = by_name.iter().collect();
    all.sort_by(|a, b| a.1.total_cmp(b.1));
    all.into_iter().map(|(name, auc)| format!("{name} {auc:.3}")).collect::<Vec<_>>().join(", ")
}

/// Confusion matrices on pictures that were not degraded.
fn confusions(outcomes: &[Outcome]) -> String {
    let mut html = String::new();
    for outcome in outcomes {
        let Some(figures) = outcome.test.get("raw") else { continue };
        let head: Vec<String> =
            std::iter::once("is, called").chain(outcome.classes.iter().map(String::as_str)).map(String::from).collect();
        let line = |(truth, called): (&String, &Vec<usize>)| {
            std::iter::once(truth.clone()).chain(called.iter().map(usize::to_string)).collect()
        };
        let rows: Vec<Vec<String>> = outcome.classes.iter().zip(&figures.confusion).map(line).collect();
        let Outcome { system, task, setting, .. } = outcome;
        let name = format!("{system}, {}, {} settings, raw: confusion matrix", task.name(), setting.name());
        html += &format!("<details><summary>{}</summary>\n{}</details>\n", escaped(&name), html_table(&head, &rows));
    }
    html
}
