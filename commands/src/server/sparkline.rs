//! Small graphs made of letters, for `LATENCY GRAPH`.

/// Rows of a graph.
const ROWS: u64 = 4;

/// Columns of values under one another: the height says how large a value is compared with the
/// largest, the label stands below, written downwards.
pub(super) fn draw(values: &[u64], labels: &[String]) -> String {
    let (low, high) = (values.iter().min(), values.iter().max());
    let (Some(&low), Some(&high)) = (low, high) else { return String::new() };
    // Two marks per row: a low one and a high one.
    let level = |value: u64| (value - low) * (ROWS * 2 - 1) / (high - low).max(1);
    let mut text = String::new();
    for row in (0..ROWS).rev() {
        let mark = |&value: &u64| match level(value) {
            level if level / 2 > row => '|',
            level if level / 2 == row && level % 2 == 1 => '#',
            level if level / 2 == row => '_',
            _ => ' ',
        };
        push_line(&mut text, values.iter().map(mark));
    }
    let depth = labels.iter().map(String::len).max().unwrap_or(0);
    text.push('\n');
    for row in 0..depth {
        let letter = |label: &String| label.as_bytes().get(row).map_or(' ', |&b| b as char);
        push_line(&mut text, labels.iter().map(letter));
    }
    text
}

fn push_line(text: &mut String, letters: impl Iterator<Item = char>) {
    let line: String = letters.collect();
    text.push_str(line.trim_end());
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::draw;

    #[test]
    fn heights_follow_the_values() {
        let labels = ["1m".to_owned(), "9s".to_owned(), "3s".to_owned()];
        let graph = draw(&[10, 45, 80], &labels);
        assert_eq!(graph, "  #\n  |\n #|\n_||\n\n193\nmss\n");
        assert_eq!(draw(&[5], &labels[..1]), "\n\n\n_\n\n1\nm\n");
        assert_eq!(draw(&[], &[]), "");
    }
}
