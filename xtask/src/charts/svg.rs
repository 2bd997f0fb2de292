//! From what `plotters` writes to SVG that takes its colours from the page, or brings its own.

use super::{EM, HUES, WIDTH};

/// A chart, drawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chart {
    body: String,
    height: i32,
}

/// Variables on light paper; the eight hues last.
const LIGHT: [&str; 5 + HUES] = [
    "#ffffff", "#1b1f24", "#57606a", "#d5dae0", "#8c959f", "#2468c9", "#d2650a", "#18803f",
    "#8a4cc0", "#c22f56", "#0b818c", "#846422", "#5a5f9e",
];

/// The same on dark paper.
const DARK: [&str; 5 + HUES] = [
    "#14181d", "#e9ecef", "#a9b2bc", "#353c45", "#7d8792", "#72aaff", "#ffa256", "#58cc76",
    "#c79bff", "#ff8099", "#4fcfda", "#d8b765", "#a5abf5",
];

/// Names of the variables before those of the hues.
const NAMES: [&str; 5] = ["paper", "text", "muted", "rule", "reference"];

/// Inks that are not of a series, in the order of their codes.
const PLAIN: [&str; 4] = ["text", "muted", "rule", "reference"];

/// In a chart that is a file: its width where there is room, pixels; height of a title's line and
/// size of its text, units.
const FILE_WIDTH: i32 = 400;
const TITLE_LINE: i32 = 40;
const TITLE_SIZE: i32 = 28;
/// Around a chart that is a file, units.
const PADDING: i32 = 24;

impl Chart {
    /// Takes the output of `plotters`.
    pub(super) fn new(drawn: &str, height: i32) -> Chart {
        let start = drawn.find('\n').map_or(0, |at| at + 1);
        let end = drawn.rfind("</svg>").unwrap_or(drawn.len());
        Chart { body: named(drawn.get(start..end).unwrap_or("")), height }
    }

    /// For a page that contains [`sheet`]. `label` describes the chart in a sentence.
    pub fn inline(&self, label: &str) -> String {
        format!(
            "<svg class=\"chart\" viewBox=\"0 0 {WIDTH} {}\" role=\"img\" aria-label=\"{}\">\n{}</svg>\n",
            self.height,
            escape(label),
            self.body
        )
    }

    /// A file of its own, with its title and a background, so that text and background always have
    /// the same colour scheme.
    pub fn standalone(&self, title: &str, label: &str) -> String {
        let lines = wrapped(title);
        let head = lines.len() as i32 * TITLE_LINE + 8;
        let (x, y) = (-PADDING, -PADDING - head);
        let (w, h) = (WIDTH + 2 * PADDING, self.height + head + 2 * PADDING);
        let mut text = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"chart\" width=\"{FILE_WIDTH}\" \
             height=\"{}\" viewBox=\"{x} {y} {w} {h}\" role=\"img\" aria-label=\"{}\">\n\
             <style>{}</style>\n\
             <rect class=\"f-paper\" x=\"{x}\" y=\"{y}\" width=\"{w}\" height=\"{h}\" rx=\"16\"/>\n",
            FILE_WIDTH * h / w,
            escape(label),
            sheet(),
        );
        for (n, line) in lines.iter().enumerate() {
            let y = n as i32 * TITLE_LINE - head + TITLE_LINE / 2;
            text += &format!(
                "<text class=\"f-text\" x=\"0\" y=\"{y}\" dy=\"0.35em\" font-size=\"{TITLE_SIZE}\" \
                 font-weight=\"600\">{}</text>\n",
                escape(line)
            );
        }
        text + &self.body + "</svg>\n"
    }
}

/// A title in as many lines as it needs.
fn wrapped(title: &str) -> Vec<String> {
    let most = (f64::from(WIDTH) / (f64::from(TITLE_SIZE) * EM)) as usize;
    let mut lines: Vec<String> = Vec::new();
    for word in title.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= most => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.chars().take(most).collect()),
        }
    }
    lines
}

/// The style sheet of charts: the variables for light and dark, and the classes.
pub fn sheet() -> String {
    let variables = |values: &[&str]| -> String {
        let hues = (0..HUES).map(|n| format!("s{n}"));
        let names = NAMES.iter().map(|name| name.to_string()).chain(hues);
        names.zip(values).map(|(name, value)| format!("--{name}:{value};")).collect()
    };
    let mut text = format!(
        ":root{{color-scheme:light dark;{}}}\n\
         @media (prefers-color-scheme:dark){{:root{{{}}}}}\n\
         .chart text{{font-family:system-ui,-apple-system,\"Segoe UI\",Roboto,\"Noto Sans\",sans-serif}}\n\
         .chart polyline{{stroke-linejoin:round;stroke-linecap:round}}\n\
         .d1{{stroke-dasharray:14 9}}.d2{{stroke-dasharray:3 9}}\n",
        variables(&LIGHT),
        variables(&DARK)
    );
    let hues = (0..HUES).map(|n| format!("s{n}"));
    for name in NAMES.iter().map(|name| name.to_string()).chain(hues) {
        text += &format!(".f-{name}{{fill:var(--{name})}}.l-{name}{{stroke:var(--{name})}}");
    }
    text + "\n"
}

/// The colours of [`super::Ink`] as classes.
fn named(drawn: &str) -> String {
    let mut text = String::with_capacity(drawn.len());
    let mut rest = drawn;
    while let Some(at) = rest.find("=\"#01") {
        let (before, from) = rest.split_at(at);
        let code = from.get(5..9).and_then(class).filter(|_| from.get(9..10) == Some("\""));
        let attribute = ["fill", "stroke"].into_iter().find(|name| before.ends_with(name));
        match attribute.zip(code) {
            Some((attribute, (name, dash))) => {
                text += &before[..before.len() - attribute.len()];
                let kind = if attribute == "fill" { "f" } else { "l" };
                text += &format!("class=\"{kind}-{name}{dash}\"");
                rest = &from[10..];
            }
            None => {
                text += before;
                text += &from[..5];
                rest = &from[5..];
            }
        }
    }
    text + rest
}

/// Class of the code `KKII`, and the class of its dashes.
fn class(code: &str) -> Option<(String, &'static str)> {
    let kind = usize::from_str_radix(code.get(..2)?, 16).ok()?;
    let index = usize::from_str_radix(code.get(2..)?, 16).ok()?;
    match kind {
        0 => PLAIN.get(index).map(|name| (name.to_string(), "")),
        1..=3 if index < HUES => Some((format!("s{index}"), ["", " d1", " d2"][kind - 1])),
        _ => None,
    }
}

/// Text that is neither tag nor entity nor the end of an attribute.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c if c.is_control() && c != '\n' => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}
