//! Charts of few, of many, of strange numbers and names.

use super::*;

/// Charts of every kind, with `rows` rows named `name` and growing values.
fn charts(rows: usize, name: &str) -> Vec<Chart> {
    let name = |n: usize| format!("{name} {n}");
    let value = |n: usize| 10f64.powi(n as i32 % 12) * 0.01;
    let lines = (0..rows).map(|n| Line {
        name: name(n),
        ink: Ink::Series(n),
        points: vec![(1.0, value(n)), (16.0, value(n + 1)), (64.0, value(n + 2))],
    });
    let bars = (0..rows).map(|n| Bar {
        name: name(n),
        number: numbers::short(value(n)),
        values: vec![value(n), value(n) / 2.0, value(n)],
        range: Some((value(n), value(n) * 3.0)),
    });
    let dots = (0..rows).map(|n| DotRow {
        name: name(n),
        number: numbers::micros(value(n)),
        values: vec![value(n), value(n) * 2.0],
    });
    let text = |text: &str| text.to_string();
    vec![
        Lines {
            x: text("x"),
            y: text("y"),
            number: numbers::count,
            also: Vec::new(),
            lines: lines.collect(),
        }
        .chart()
        .unwrap(),
        Bars {
            parts: vec![text("user"), text("system")],
            rest: text("other"),
            bars: bars.collect(),
        }
        .chart()
        .unwrap(),
        Dots {
            marks: vec![text("p50"), text("p99")],
            number: numbers::micros,
            rows: dots.collect(),
        }
        .chart()
        .unwrap(),
    ]
}

/// Every number of attributes called `name` in `svg`.
fn numbers_of(svg: &str, name: &str) -> Vec<f64> {
    let start = format!(" {name}=\"");
    svg.split(&start).skip(1).filter_map(|rest| rest.split('"').next()?.parse().ok()).collect()
}

#[test]
fn every_colour_is_a_variable() {
    for chart in charts(20, "row") {
        let svg = chart.inline("label");
        assert!(!svg.contains("=\"#"), "{svg}");
        let sheet = svg::sheet();
        for class in svg.split("class=\"").skip(1).filter_map(|rest| rest.split('"').next()) {
            for class in class.split(' ').filter(|class| *class != "chart") {
                assert!(sheet.contains(&format!(".{class}{{")), "{class} has no rule");
            }
        }
    }
}

#[test]
fn everything_is_inside_from_no_row_to_forty() {
    for rows in [0, 1, 3, 20, 40] {
        for chart in charts(rows, "epoll-inline memory aof=everysec") {
            let svg = chart.inline("label");
            let (_, size) = svg.split_once("viewBox=\"0 0 720 ").unwrap();
            let height: f64 = size.split('"').next().unwrap().parse().unwrap();
            for (names, end) in [(["x", "cx", "x2"], f64::from(WIDTH)), (["y", "cy", "y2"], height)]
            {
                for value in names.iter().flat_map(|name| numbers_of(&svg, name)) {
                    assert!((0.0..=end).contains(&value), "{value} of {end}, {rows} rows: {svg}");
                }
            }
        }
    }
}

#[test]
fn names_are_escaped_and_cut_where_there_is_no_room() {
    let long = format!("<b>\"'&\u{7}{}", "x".repeat(300));
    for chart in charts(2, &long) {
        let svg = chart.standalone(&long, &long);
        assert!(!svg.contains("<b>") && !svg.contains('\u{7}'));
        assert!(svg.contains("&lt;b&gt;&quot;") && svg.contains('…'));
    }
    assert_eq!(fit("abc", 1000), "abc");
    assert_eq!(fit("abcdef", text_width("abcd")), "abc…");
}

#[test]
fn numbers_that_cannot_be_shown_are_no_reason_to_fail() {
    for value in [f64::NAN, f64::INFINITY, -1.0, 0.0, 1e300, 1e-300] {
        let line =
            Line { name: "x".into(), ink: Ink::Text, points: vec![(value, value), (1.0, 1.0)] };
        let lines = vec![line];
        let also = vec![value];
        let (x, y) = (String::new(), String::new());
        Lines { x, y, number: numbers::count, also, lines }.chart().unwrap();
        let bar = Bar {
            name: "x".into(),
            number: numbers::bytes(value),
            values: vec![value],
            range: Some((value, value)),
        };
        Bars { parts: vec!["p".into()], rest: String::new(), bars: vec![bar] }.chart().unwrap();
        let row = DotRow { name: "x".into(), number: numbers::millis(value), values: vec![value] };
        let marks = vec!["p50".into()];
        Dots { marks, number: numbers::micros, rows: vec![row] }.chart().unwrap();
    }
}

#[test]
fn a_file_brings_its_paper_and_its_colours() {
    let svg = charts(1, "row")[1]
        .standalone("A title that is long enough to need two lines of text", "l");
    assert!(svg.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\""));
    assert!(svg.contains("prefers-color-scheme:dark") && svg.contains("f-paper"));
    assert_eq!(svg.matches("font-weight=\"600\"").count(), 2);
    assert!(svg.trim_end().ends_with("</svg>"));
}
