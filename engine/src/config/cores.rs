//! Lists of cores, as in `server_cpulist`: `0,2`, `0-3`, `0-7:2`.

/// The number of cores that a list can name, as many as a set of the kernel's has by default.
const CORES_MAX: usize = 1024;

/// The cores that a list names, in ascending order; none for an empty list.
///
/// # Errors
/// Fails if the list is not in Redis's form, or names a core from 1024 on.
pub fn parse(text: &str) -> Result<Vec<usize>, &'static str> {
    let mut cores = Vec::new();
    for part in text.split(',').filter(|_| !text.trim().is_empty()) {
        cores.extend(range(part.trim()).ok_or("must be cores such as 0-2,4 or 0-7:2")?);
    }
    cores.sort_unstable();
    cores.dedup();
    match cores.last() {
        Some(CORES_MAX..) => Err("cores are below 1024"),
        _ => Ok(cores),
    }
}

/// `first`, `first-last`, or `first-last:step`.
fn range(part: &str) -> Option<impl Iterator<Item = usize>> {
    let (range, step) = match part.split_once(':') {
        Some((range, step)) => {
            (range, number(step).filter(|step| *step > 0 && range.contains('-'))?)
        }
        None => (part, 1),
    };
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let (first, last) = (number(first)?, number(last)?);
    // One more than there can be is enough to notice that it is too many.
    (first <= last).then(|| (first..=last).step_by(step).take(CORES_MAX + 1))
}

fn number(text: &str) -> Option<usize> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// Checks a list.
pub(super) fn check(text: &str) -> Result<(), &'static str> {
    parse(text).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_those_of_redis() {
        for (text, cores) in [
            ("", &[][..]),
            ("0", &[0]),
            ("0-2,4", &[0, 1, 2, 4]),
            ("0-7:2", &[0, 2, 4, 6]),
            ("5, 3-3 ,3", &[3, 5]),
            ("1023", &[1023]),
        ] {
            assert_eq!(parse(text).as_deref(), Ok(cores), "{text}");
        }
        for wrong in [",", "0,", "a", "-1", "1-", "3-2", "0-3:0", "0:2", "+1", "1024", "0-99999999"]
        {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
