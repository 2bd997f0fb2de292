//! `report.html`: one file that needs nothing else, neither script nor font nor network, and is
//! legible on a phone and in the dark.

use super::figures::{self, Block, Figure, Section};
use super::report::{self, Grid};
use super::results::Results;
use crate::charts::{numbers, svg};
use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::Value;
use std::fmt::Write;
use std::path::Path;
use svg::escape;

/// The page's style sheet, besides the charts' own.
const STYLE: &str = "
*{box-sizing:border-box}
body{margin:0 auto;max-width:80rem;padding:1rem;background:var(--paper);color:var(--text);
 font:1rem/1.5 system-ui,-apple-system,\"Segoe UI\",Roboto,\"Noto Sans\",sans-serif;
 overflow-wrap:break-word}
h1{font-size:1.6rem;margin:.5rem 0}
h2{font-size:1.35rem;margin:2.5rem 0 .5rem;padding-top:.75rem;border-top:2px solid var(--rule)}
h3{font-size:1.1rem;margin:1.5rem 0 .25rem}
p{margin:.25rem 0 .75rem;max-width:45rem}
.muted,figcaption small{color:var(--muted)}
a{color:var(--s0)}
nav ul{display:flex;flex-wrap:wrap;gap:.25rem 1.25rem;list-style:none;padding:0;margin:.75rem 0}
nav a{display:inline-block;padding:.3rem 0}
.charts{display:grid;gap:1.5rem;grid-template-columns:repeat(auto-fill,minmax(min(100%,21rem),1fr))}
figure{margin:0;min-width:0;max-width:34rem}
figcaption{font-weight:600;line-height:1.3;margin-bottom:.5rem}
.chart{display:block;width:100%;height:auto}
dl{display:flex;flex-wrap:wrap;gap:.1rem 1.25rem;margin:.25rem 0 .75rem}
dt,dd{display:inline;margin:0}
dt{color:var(--muted)}
.scroll{overflow-x:auto;margin:0 0 1rem;border:1px solid var(--rule);border-radius:.4rem}
.scroll:focus-visible,summary:focus-visible{outline:2px solid var(--s0)}
table{border-collapse:collapse;width:100%;font-size:.9rem;font-variant-numeric:tabular-nums}
th,td{padding:.35rem .75rem;text-align:right;white-space:nowrap;border-bottom:1px solid var(--rule)}
.text{white-space:normal;text-align:left;min-width:12rem}
tr:last-child>*{border-bottom:0}
thead th{color:var(--muted);font-weight:600}
th:first-child{text-align:left;position:sticky;left:0;background:var(--paper)}
tbody th{font-weight:500;white-space:normal;overflow-wrap:anywhere;min-width:8.5rem;max-width:42vw}
summary{cursor:pointer;padding:.6rem 0;font-weight:600;color:var(--s0)}
li{margin:.2rem 0}
@media print{.scroll{overflow:visible}}
";

/// A longer field is text, which may be broken, and not a number.
const FIELD: usize = 24;

/// More figures than these are folded.
const FIGURES: usize = 6;

/// Writes the page of `results`, and the directory it goes to; `compared` is `--compare`'s table.
pub fn save(results: &Results, compared: Option<&Grid>, path: &Path) -> Result<()> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)?;
    }
    std::fs::write(path, page(results, compared)?).with_context(|| path.display().to_string())
}

/// The page.
fn page(results: &Results, compared: Option<&Grid>) -> Result<String> {
    let mut sections = vec![Section {
        title: "In short".into(),
        blocks: Vec::new(),
        grids: report::best(results).into_iter().chain(compared.cloned()).collect(),
    }];
    sections.extend(figures::sections(results)?);
    let mut body = head(results)?;
    body += &contents(&sections);
    for (index, section) in sections.iter().enumerate() {
        body += &section_html(index, section);
    }
    body += &notes(results);
    Ok(format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <link rel=\"icon\" href=\"data:,\">\n\
         <title>Varve bench, {}</title>\n<style>\n{}{STYLE}</style>\n</head>\n<body>\n{body}</body>\n</html>\n",
        date(results.unix_seconds),
        svg::sheet(),
    ))
}

fn head(results: &Results) -> Result<String> {
    let mut text = String::from("<header>\n<h1>Varve bench</h1>\n");
    let settings = &results.settings;
    let _ = writeln!(
        text,
        "<p class=\"muted\">{}. {}, {} of {} s, rows interleaved: medians of the \
         rounds. CPU is the server's, user and system. Ratios divide the pairs of each round, and \
         say so where the rounds disagree about which of the two is ahead.</p>",
        date(results.unix_seconds),
        several(results.rows.len() as u64, "server"),
        several(settings.rounds.into(), "round"),
        numbers::short(settings.seconds),
    );
    text += &facts("Machine", &results.machine)?;
    text += &facts("Settings", settings)?;
    Ok(text + "</header>\n")
}

/// `1 server`, `2 servers`.
fn several(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Every field of `what` that has a value, by its name.
fn facts(title: &str, what: &impl Serialize) -> Result<String> {
    let mut text = format!("<h3>{title}</h3>\n<dl>\n");
    let Value::Object(fields) = serde_json::to_value(what)? else { return Ok(String::new()) };
    for (name, value) in fields {
        let shown = match (&value, value.as_f64()) {
            (Value::Null, _) => continue,
            (_, Some(bytes)) if name.ends_with("_bytes") => numbers::bytes(bytes),
            (Value::String(text), _) => text.clone(),
            (Value::Array(items), _) => {
                items.iter().map(Value::to_string).collect::<Vec<_>>().join(", ")
            }
            (other, _) => other.to_string(),
        };
        let name = name.trim_end_matches("_bytes").replace('_', " ");
        let _ = writeln!(text, "<div><dt>{}</dt> <dd>{}</dd></div>", escape(&name), escape(&shown));
    }
    Ok(text + "</dl>\n")
}

fn contents(sections: &[Section]) -> String {
    let item = |(index, section): (usize, &Section)| {
        format!("<li><a href=\"#s{index}\">{}</a></li>\n", escape(&section.title))
    };
    let items: String = sections.iter().enumerate().map(item).collect();
    format!("<nav><ul>\n{items}<li><a href=\"#notes\">What was left out</a></li>\n</ul></nav>\n")
}

fn section_html(index: usize, section: &Section) -> String {
    let blocks: String = section.blocks.iter().map(block).collect();
    let grids: String = section.grids.iter().map(table).collect();
    format!(
        "<section id=\"s{index}\">\n<h2>{}</h2>\n{blocks}{grids}</section>\n",
        escape(&section.title)
    )
}

/// The figures of a block; if they are many, those of all pipelines but the first are folded away.
fn block(block: &Block) -> String {
    let charts = |figures: &[Figure]| {
        format!(
            "<div class=\"charts\">\n{}</div>\n",
            figures.iter().map(figure).collect::<String>()
        )
    };
    let folded = block.figures.len() > FIGURES && block.by_depth().count() > 1;
    let fold = |(index, figures): (usize, &[Figure])| {
        let depth = figures.iter().find_map(|figure| figure.depth).unwrap_or(0);
        let open = if index == 0 { " open" } else { "" };
        let what = several(figures.len() as u64, "chart");
        let summary = format!("<summary>pipeline {depth}: {what}</summary>");
        format!("<details{open}>{summary}\n{}</details>\n", charts(figures))
    };
    let all = match folded {
        true => block.by_depth().enumerate().map(fold).collect(),
        false => charts(&block.figures),
    };
    let (title, about) = (escape(&block.title), escape(&block.about));
    format!("<h3>{title}</h3>\n<p class=\"muted\">{about}</p>\n{all}")
}

fn figure(figure: &Figure) -> String {
    format!(
        "<figure><figcaption>{}</figcaption>\n{}</figure>\n",
        escape(&figure.caption),
        figure.chart.inline(&figure.label)
    )
}

/// A table; wide ones scroll, under their first column.
fn table(grid: &Grid) -> String {
    let title = escape(&grid.title);
    let class = |index: usize| {
        let long = |row: &Vec<String>| row.get(index).is_some_and(|f| f.chars().count() > FIELD);
        let text = index > 0 && grid.rows.iter().any(long);
        if text { " class=\"text\"" } else { "" }
    };
    let head = |(index, name): (usize, &String)| {
        format!("<th scope=\"col\"{}>{}</th>", class(index), escape(name))
    };
    let header: String = grid.header.iter().enumerate().map(head).collect();
    let field = |(index, text): (usize, &String)| match index {
        0 => format!("<th scope=\"row\">{}</th>", escape(text)),
        _ => format!("<td{}>{}</td>", class(index), escape(text)),
    };
    let row = |row: &Vec<String>| {
        format!("<tr>{}</tr>\n", row.iter().enumerate().map(field).collect::<String>())
    };
    let rows: String = grid.rows.iter().map(row).collect();
    format!(
        "<h3>{title}</h3>\n<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{title}\">\
         <table>\n<thead><tr>{header}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table></div>\n"
    )
}

fn notes(results: &Results) -> String {
    let notes = report::notes(results);
    let items: String = notes.iter().map(|note| format!("<li>{}</li>\n", escape(note))).collect();
    let items = if notes.is_empty() { "<li>nothing</li>\n".into() } else { items };
    format!(
        "<section id=\"notes\">\n<h2>What was left out, and what to distrust</h2>\n<ul>\n{items}</ul>\n</section>\n"
    )
}

/// Seconds since 1970 as a date and time of day in UTC.
fn date(unix_seconds: u64) -> String {
    // Days are counted from the first of March of the year 0, so that leap days come last.
    let (days, seconds) = (unix_seconds / 86_400 + 719_468, unix_seconds % 86_400);
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (day, month) = (day - (153 * month + 2) / 5 + 1, (month + 2) % 12 + 1);
    let year = era * 400 + year + u64::from(month <= 2);
    format!("{year}-{month:02}-{day:02} {:02}:{:02} UTC", seconds / 3600, seconds / 60 % 60)
}

#[cfg(test)]
mod tests {
    use super::super::figures::tests::many;
    use super::super::results::LeftOut;
    use super::super::results::tests::{example, full};
    use super::*;

    #[test]
    fn dates_of_known_seconds() {
        assert_eq!(date(0), "1970-01-01 00:00 UTC");
        assert_eq!(date(951_782_399), "2000-02-28 23:59 UTC");
        assert_eq!(date(951_782_400), "2000-02-29 00:00 UTC");
        assert_eq!(date(1_800_000_000), "2027-01-15 08:00 UTC");
    }

    #[test]
    fn the_page_needs_nothing_but_itself() {
        let page = page(&many(14), None).unwrap();
        for outside in ["<script", "src=", "http:", "https:", "url(", "@import", "<iframe"] {
            let found = page.find(outside).map(|at| &page[at..page.len().min(at + 80)]);
            assert_eq!(found, None, "{outside}");
        }
        assert!(page.contains("name=\"viewport\"") && page.contains("prefers-color-scheme:dark"));
        assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
    }

    #[test]
    fn many_charts_are_folded_and_few_are_not() {
        let folds = |count| page(&many(count), None).unwrap().matches("<details").count();
        assert_eq!((folds(4), folds(14)), (0, 3));
    }

    #[test]
    fn what_comes_from_outside_is_escaped() {
        let evil = "<script>alert(1)</script>\"'&\u{1}";
        let mut results = example();
        results.rows[1].name = evil.into();
        results.rows[1].version = Some(evil.into());
        results.rows[1].cells[0].failure = Some(evil.into());
        results.machine.cpu = Some(evil.into());
        results.settings.baseline = Some(evil.into());
        results.left_out.push(LeftOut { name: evil.into(), reason: evil.into() });
        for row in &mut results.rows {
            row.cells[0].workload = evil.into();
        }
        let page = page(&results, None).unwrap();
        assert!(!page.contains("<script") && !page.contains('\u{1}'));
        assert!(page.matches("&lt;script&gt;").count() > 5);
    }

    #[test]
    fn every_table_and_every_left_out_row_is_there() {
        let page = page(&example(), None).unwrap();
        let all = super::page(&full(), None).unwrap();
        assert!(all.contains("CPU by stage, pipeline 16"));
        for grid in report::all(&full()) {
            assert!(all.contains(&escape(&grid.title)), "{}", grid.title);
        }
        assert!(page.contains("left out: slow: not built"));
        assert!(page.contains("0.50 (0.50–0.50)"));
    }
}
