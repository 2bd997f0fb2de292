//! jemalloc's settings and figures by name (`DEBUG MALLCTL`).
//!
//! jemalloc accepts any bytes for any name, and trusts that they have the right type. So only names
//! on a list can be set, whose values are plain numbers; and only names whose value is a text are
//! read as a text.

use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr;

/// Names that may be set, in parts, `*` for a number.
const SETTABLE: &[&str] = &[
    "epoch",
    "background_thread",
    "max_background_threads",
    "thread.tcache.enabled",
    "thread.tcache.flush",
    "thread.idle",
    "arenas.dirty_decay_ms",
    "arenas.muzzy_decay_ms",
    "arena.*.dirty_decay_ms",
    "arena.*.muzzy_decay_ms",
    "arena.*.decay",
    "arena.*.purge",
];

/// Names whose values are texts.
const TEXTS: &[&str] = &[
    "version",
    "config.malloc_conf",
    "opt.dss",
    "opt.junk",
    "opt.metadata_thp",
    "opt.percpu_arena",
    "opt.stats_print_opts",
    "opt.thp",
    "opt.zero_realloc",
    "arena.*.dss",
];

/// The settable names that neither take nor return a value.
const ACTIONS: &[&str] = &["thread.tcache.flush", "thread.idle", "arena.*.decay", "arena.*.purge"];

fn is_one_of(name: &str, names: &[&str]) -> bool {
    let is = |pattern: &&str| {
        let (mut parts, mut wanted) = (name.split('.'), pattern.split('.'));
        loop {
            match (parts.next(), wanted.next()) {
                (None, None) => return true,
                (Some(part), Some("*")) if part.parse::<u16>().is_ok() => {}
                (Some(part), Some(word)) if part == word => {}
                _ => return false,
            }
        }
    };
    names.iter().any(is)
}

/// The system's words for an error's number.
fn words(error: i32) -> String {
    let text = std::io::Error::from_raw_os_error(error).to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

fn name_of(name: &[u8]) -> Result<(String, CString), String> {
    let text = std::str::from_utf8(name).map_err(|_| words(libc::ENOENT))?;
    let owned = CString::new(name).map_err(|_| words(libc::ENOENT))?;
    Ok((text.to_owned(), owned))
}

/// Reads a number of whatever size, after setting it to `new`. `None` for what only can be set.
pub(crate) fn number(name: &[u8], new: Option<i64>) -> Result<Option<i64>, String> {
    let (text, name) = name_of(name)?;
    if new.is_some() && !is_one_of(&text, SETTABLE) {
        return Err(words(libc::EPERM));
    }
    if new.is_some() && is_one_of(&text, ACTIONS) {
        return act(&name).map(|()| None);
    }
    for size in [8, 4, 1] {
        let (mut old, mut written) = (0_i64, size);
        let mut new = new;
        let (from, from_len) = match &mut new {
            Some(value) => (ptr::from_mut(value).cast::<c_void>(), size),
            None => (ptr::null_mut(), 0),
        };
        // SAFETY: `old` and `new` are eight bytes, of which at most `size` are used, the lowest on the
        // machines that this runs on; a size that is not that of the value is refused with EINVAL. What
        // is set is a plain number: see SETTABLE.
        let error = unsafe {
            let old = ptr::from_mut(&mut old).cast();
            tikv_jemalloc_sys::mallctl(name.as_ptr(), old, &mut written, from, from_len)
        };
        match error {
            0 => return Ok(Some(old)),
            libc::EINVAL => {}
            error => return Err(words(error)),
        }
    }
    Err(words(libc::EINVAL))
}

/// Performs an action that neither takes nor returns a value.
fn act(name: &CStr) -> Result<(), String> {
    let nothing = ptr::null_mut();
    // SAFETY: nothing is read or written; the name is one of ACTIONS, which only give memory back.
    let error =
        unsafe { tikv_jemalloc_sys::mallctl(name.as_ptr(), nothing, ptr::null_mut(), nothing, 0) };
    if error == 0 { Ok(()) } else { Err(words(error)) }
}

/// Reads a text. If `new` is empty, performs an action without a value. Texts cannot be set.
pub(crate) fn text(name: &[u8], new: Option<&[u8]>) -> Result<Option<Vec<u8>>, String> {
    let (text, name) = name_of(name)?;
    match new {
        Some(b"") if is_one_of(&text, ACTIONS) => return act(&name).map(|()| None),
        Some(_) => return Err(words(libc::EPERM)),
        None => {}
    }
    if !is_one_of(&text, TEXTS) {
        let known = number(name.as_bytes(), None);
        return Err(known.err().unwrap_or_else(|| words(libc::EINVAL)));
    }
    let mut found: *const c_char = ptr::null();
    let mut size = size_of_val(&found);
    // SAFETY: the value of these names is a pointer to a text that a zero byte ends and that lives as long
    // as the process.
    unsafe {
        let to = ptr::from_mut(&mut found).cast();
        match tikv_jemalloc_sys::mallctl(name.as_ptr(), to, &mut size, ptr::null_mut(), 0) {
            0 if found.is_null() => Err(words(libc::EINVAL)),
            0 => Ok(Some(CStr::from_ptr(found).to_bytes().to_vec())),
            error => Err(words(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart() {
        assert!(is_one_of("arena.12.purge", SETTABLE) && is_one_of("epoch", SETTABLE));
        for name in
            ["arena.x.purge", "arena.1.destroy", "arena.1", "epoch.1", "", "arena.0.extent_hooks"]
        {
            assert!(!is_one_of(name, SETTABLE), "{name}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused_in_the_systems_words() {
        assert_eq!(
            number(b"arena.0.extent_hooks", Some(7)).unwrap_err(),
            "Operation not permitted"
        );
        assert_eq!(number(b"no.such", None).unwrap_err(), "No such file or directory");
        assert_eq!(number(b"a\0b", None).unwrap_err(), "No such file or directory");
        assert_eq!(text(b"arenas.page", None).unwrap_err(), "Invalid argument");
        assert_eq!(text(b"opt.dss", Some(b"x")).unwrap_err(), "Operation not permitted");
    }

    #[test]
    fn numbers_of_every_size_and_texts_are_read() {
        let page = number(b"arenas.page", None).unwrap().unwrap();
        assert!(page.count_ones() == 1 && page >= 4096, "{page}");
        assert!(number(b"arenas.narenas", None).unwrap().unwrap() > 0);
        assert!(matches!(number(b"config.debug", None), Ok(Some(0 | 1))));
        assert!(text(b"version", None).unwrap().is_some_and(|text| text.starts_with(b"5.")));
        assert_eq!(text(b"arena.0.purge", Some(b"")), Ok(None));
        assert_eq!(
            number(b"arena.0.dirty_decay_ms", Some(5000)).map(|old| old.is_some()),
            Ok(true)
        );
        assert_eq!(number(b"arena.0.dirty_decay_ms", None), Ok(Some(5000)));
    }
}
