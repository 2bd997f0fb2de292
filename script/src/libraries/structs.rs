//! `struct`: values packed as C structures, with the interface of Roberto Ierusalimschy's library.

use crate::raw::{Lua, NO_MEMORY, Raise, Returns};

/// The widest integer.
const INTEGER_MAX: usize = 32;
/// The alignment that `!` alone asks for.
const NATIVE_ALIGNMENT: usize = 8;

/// Pushes the library.
pub(crate) fn push(lua: Lua) {
    lua.push_table(0, 3);
    lua.set_functions(&[("pack", pack), ("unpack", unpack), ("size", size)]);
}

/// Reads a format, option by option.
struct Format<'a> {
    rest: &'a [u8],
    big_endian: bool,
    alignment: usize,
}

/// An option of a format with the bytes it takes.
struct Item {
    option: u8,
    size: usize,
}

impl<'a> Format<'a> {
    fn new(text: &'a [u8]) -> Self {
        Format { rest: text, big_endian: cfg!(target_endian = "big"), alignment: 1 }
    }

    fn next(&mut self) -> Result<Option<Item>, Raise> {
        let Some((&option, rest)) = self.rest.split_first() else { return Ok(None) };
        self.rest = rest;
        let size = match option {
            b'b' | b'B' | b'x' => 1,
            b'h' | b'H' => 2,
            b'l' | b'L' | b'T' | b'd' => 8,
            b'f' => 4,
            b'c' => self.number(1)?,
            b'i' | b'I' => self.integer_size()?,
            _ => 0,
        };
        Ok(Some(Item { option, size }))
    }

    fn integer_size(&mut self) -> Result<usize, Raise> {
        let size = self.number(4)?;
        if size <= INTEGER_MAX {
            return Ok(size);
        }
        let text = format!("integral size {size} is larger than limit of {INTEGER_MAX}");
        Err(Raise::At(text))
    }

    /// The decimal number that follows, or `default`.
    fn number(&mut self, default: usize) -> Result<usize, Raise> {
        if !self.rest.first().is_some_and(u8::is_ascii_digit) {
            return Ok(default);
        }
        let mut number = 0_i32;
        while let Some((&digit @ b'0'..=b'9', rest)) = self.rest.split_first() {
            let next = number.checked_mul(10).and_then(|n| n.checked_add(i32::from(digit - b'0')));
            number = next.ok_or_else(|| Raise::at("integral size overflow"))?;
            self.rest = rest;
        }
        Ok(number as usize)
    }

    /// An option that changes how the rest is read.
    fn control(&mut self, option: u8) -> Result<(), Raise> {
        match option {
            b' ' => {}
            b'>' => self.big_endian = true,
            b'<' => self.big_endian = false,
            b'!' => {
                let alignment = self.number(NATIVE_ALIGNMENT)?;
                if !alignment.is_power_of_two() {
                    let text = format!("alignment {alignment} is not a power of 2");
                    return Err(Raise::At(text));
                }
                self.alignment = alignment;
            }
            other => {
                let text = format!("invalid format option '{}'", char::from(other));
                return Err(Raise::Argument(1, text));
            }
        }
        Ok(())
    }

    /// Bytes between `at` and where the item may begin.
    fn padding(&self, at: usize, item: &Item) -> usize {
        if item.size == 0 || item.option == b'c' {
            return 0;
        }
        let size = item.size.min(self.alignment);
        (size - (at & (size - 1))) & (size - 1)
    }
}

fn pack(lua: Lua) -> Returns {
    let mut format = Format::new(lua.check_text(1)?);
    // The original keeps its buffer there: the first argument that is missing is nil to it.
    lua.push_nil();
    let mut out = Vec::new();
    let mut argument = 2;
    let limit = lua.shared().budget.limit;
    while let Some(item) = format.next()? {
        lua.pass(1 + item.size / 64)?;
        out.resize(out.len() + format.padding(out.len(), &item), 0);
        match item.option {
            b'b' | b'B' | b'h' | b'H' | b'l' | b'L' | b'T' | b'i' | b'I' => {
                let number = lua.check_number(argument)?;
                pack_integer(&mut out, number, item.size, format.big_endian);
                argument += 1;
            }
            b'x' => out.push(0),
            b'f' => {
                let value = lua.check_number(argument)? as f32;
                put(&mut out, &value.to_le_bytes(), format.big_endian);
                argument += 1;
            }
            b'd' => {
                let value = lua.check_number(argument)?;
                put(&mut out, &value.to_le_bytes(), format.big_endian);
                argument += 1;
            }
            b'c' | b's' => {
                let text = lua.check_text(argument)?;
                argument += 1;
                let len = if item.size == 0 { text.len() } else { item.size };
                let Some(text) = text.get(..len) else {
                    return Err(Raise::Argument(argument, "string too short".into()));
                };
                out.extend_from_slice(text);
                if item.option == b's' {
                    out.push(0);
                }
            }
            other => format.control(other)?,
        }
        if out.len() > limit {
            return Err(Raise::Bare(NO_MEMORY.into()));
        }
    }
    lua.push_bytes(&out);
    Ok(1)
}

fn pack_integer(out: &mut Vec<u8>, number: f64, size: usize, big_endian: bool) {
    let value = if number < 0.0 { number as i64 as u64 } else { number as u64 };
    let mut bytes = [0; INTEGER_MAX];
    bytes[..8].copy_from_slice(&value.to_le_bytes());
    put(out, &bytes[..size], big_endian);
}

/// Appends bytes that are given least significant first.
fn put(out: &mut Vec<u8>, little: &[u8], big_endian: bool) {
    match big_endian {
        true => out.extend(little.iter().rev()),
        false => out.extend_from_slice(little),
    }
}

const TOO_SHORT: &str = "data string too short";

fn unpack(lua: Lua) -> Returns {
    let mut format = Format::new(lua.check_text(1)?);
    let data = lua.check_text(2)?;
    let position = match lua.kind(3) {
        crate::raw::Type::None | crate::raw::Type::Nil => 1,
        _ => lua.check_integer(3)?,
    };
    let Some(mut at) = usize::try_from(position).ok().and_then(|p| p.checked_sub(1)) else {
        return Err(Raise::Argument(3, "offset must be 1 or greater".into()));
    };
    lua.set_top(2);
    let mut count = 0;
    while let Some(mut item) = format.next()? {
        lua.pass(1)?;
        at = at.saturating_add(format.padding(at, &item));
        let slice = |at: usize, size: usize| data.get(at..at.saturating_add(size));
        let Some(mut bytes) = slice(at, item.size) else {
            return Err(Raise::Argument(2, TOO_SHORT.into()));
        };
        if !lua.has_room(2) {
            return Err(Raise::at("stack overflow (too many results)"));
        }
        match item.option {
            b'b' | b'B' | b'h' | b'H' | b'l' | b'L' | b'T' | b'i' | b'I' => {
                let signed = item.option.is_ascii_lowercase();
                lua.push_number(unpack_integer(bytes, format.big_endian, signed));
                count += 1;
            }
            b'x' => {}
            b'f' => {
                let bits = gather(bytes, format.big_endian) as u32;
                lua.push_number(f64::from(f32::from_bits(bits)));
                count += 1;
            }
            b'd' => {
                lua.push_number(f64::from_bits(gather(bytes, format.big_endian)));
                count += 1;
            }
            b'c' => {
                if item.size == 0 {
                    if count == 0 || !lua.is_number(-1) {
                        return Err(Raise::at("format 'c0' needs a previous size"));
                    }
                    // A negative size is one that no data has.
                    item.size = lua.number(-1) as i64 as usize;
                    lua.pop(1);
                    count -= 1;
                    bytes =
                        slice(at, item.size).ok_or_else(|| Raise::Argument(2, TOO_SHORT.into()))?;
                }
                lua.push_bytes(bytes);
                count += 1;
            }
            b's' => {
                let rest = &data[at..];
                let Some(end) = rest.iter().position(|&b| b == 0) else {
                    return Err(Raise::at("unfinished string in data"));
                };
                lua.push_bytes(&rest[..end]);
                item.size = end + 1;
                count += 1;
            }
            other => format.control(other)?,
        }
        at += item.size;
    }
    lua.push_number(at as f64 + 1.0);
    Ok(count + 1)
}

/// The low eight bytes of an integer.
fn gather(bytes: &[u8], big_endian: bool) -> u64 {
    let add = |value: u64, &byte: &u8| value << 8 | u64::from(byte);
    match big_endian {
        true => bytes.iter().fold(0, add),
        false => bytes.iter().rev().fold(0, add),
    }
}

fn unpack_integer(bytes: &[u8], big_endian: bool, signed: bool) -> f64 {
    let value = gather(bytes, big_endian);
    if !signed {
        return value as f64;
    }
    let unused = 64_usize.saturating_sub(bytes.len() * 8).min(63);
    ((value << unused) as i64 >> unused) as f64
}

fn size(lua: Lua) -> Returns {
    let mut format = Format::new(lua.check_text(1)?);
    let mut at = 0_usize;
    while let Some(item) = format.next()? {
        lua.pass(1)?;
        at += format.padding(at, &item);
        match item.option {
            b's' => return Err(Raise::Argument(1, "option 's' has no fixed size".into())),
            b'c' if item.size == 0 => {
                return Err(Raise::Argument(1, "option 'c0' has no fixed size".into()));
            }
            option if !option.is_ascii_alphanumeric() => format.control(option)?,
            _ => {}
        }
        at = at.saturating_add(item.size);
    }
    lua.push_number(at as f64);
    Ok(1)
}
