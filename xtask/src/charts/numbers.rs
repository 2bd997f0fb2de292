//! Numbers as short texts.

/// Three significant digits: `0.123`, `12.3`, `1234`.
pub fn short(value: f64) -> String {
    if value.abs() >= 1e7 {
        return format!("{value:.2e}");
    }
    let decimals = match value.abs() {
        v if v >= 99.95 || v == 0.0 => 0,
        v if v >= 9.995 => 1,
        v if v >= 0.9995 => 2,
        _ => 3,
    };
    let text = format!("{value:.decimals$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').into(),
        false => text,
    }
}

/// A count: `950`, `187k`, `8.39M`.
pub fn count(value: f64) -> String {
    scaled(value, 1000.0, &["", "k", "M", "G", "T"])
}

/// Microseconds: `259 µs`, `3.55 ms`, `1.2 s`.
pub fn micros(value: f64) -> String {
    scaled(value, 1000.0, &[" µs", " ms", " s"])
}

/// Milliseconds: `4.2 ms`, `1.2 s`.
pub fn millis(value: f64) -> String {
    scaled(value, 1000.0, &[" ms", " s"])
}

/// Bytes, in powers of 1024: `176 B`, `1.5 MiB`.
pub fn bytes(value: f64) -> String {
    scaled(value, 1024.0, &[" B", " KiB", " MiB", " GiB", " TiB"])
}

fn scaled(mut value: f64, step: f64, units: &[&str]) -> String {
    let mut unit = 0;
    while value.abs() >= step * 0.9995 && unit + 1 < units.len() {
        value /= step;
        unit += 1;
    }
    short(value) + units[unit]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_and_a_unit() {
        assert_eq!(short(0.0), "0");
        assert_eq!(short(0.3186), "0.319");
        assert_eq!(short(1.5), "1.5");
        assert_eq!(short(12.34), "12.3");
        assert_eq!(short(1234.5), "1234");
        assert_eq!(count(8_386_200.0), "8.39M");
        assert_eq!(count(999_990.0), "1M");
        assert_eq!(micros(3551.0), "3.55 ms");
        assert_eq!(micros(259.0), "259 µs");
        assert_eq!(millis(0.5), "0.5 ms");
        assert_eq!(bytes(1536.0), "1.5 KiB");
        assert_eq!(bytes(1e30), "9.09e17 TiB");
    }
}
