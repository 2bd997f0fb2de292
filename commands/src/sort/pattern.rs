//! The patterns of `BY` and `GET`: how an element becomes the name of a key, or of a hash's field.

use engine::cx::Cx;
use engine::failure::Failure;
use storage::{Error, Open};

/// A pattern.
pub(super) enum Pattern<'a> {
    /// `#`: the element itself.
    Element,
    /// Without `*`: names nothing.
    Fixed,
    /// `before*after`, or `before*after->field`.
    Key {
        /// The bytes before the element.
        before: &'a [u8],
        /// The bytes behind it.
        after: &'a [u8],
        /// The field of a hash.
        field: Option<&'a [u8]>,
    },
}

impl<'a> Pattern<'a> {
    pub fn new(pattern: &'a [u8]) -> Self {
        if pattern == b"#" {
            return Pattern::Element;
        }
        let Some(star) = memchr::memchr(b'*', pattern) else { return Pattern::Fixed };
        let (before, rest) = (&pattern[..star], &pattern[star + 1..]);
        // An arrow with nothing behind it is part of the name.
        match memchr::memmem::find(rest, b"->") {
            Some(arrow) if arrow + 2 < rest.len() => {
                Pattern::Key { before, after: &rest[..arrow], field: Some(&rest[arrow + 2..]) }
            }
            _ => Pattern::Key { before, after: rest, field: None },
        }
    }

    /// Whether elements make it names of keys.
    pub fn names_keys(&self) -> bool {
        matches!(self, Pattern::Key { .. })
    }

    /// The value it finds for an element; keys of the wrong type are as good as none.
    pub fn look_up(&self, cx: &mut Cx<'_>, element: &[u8]) -> Result<Option<Vec<u8>>, Failure> {
        let (before, after, field) = match *self {
            Pattern::Element => return Ok(Some(element.to_vec())),
            Pattern::Fixed => return Ok(None),
            Pattern::Key { before, after, field } => (before, after, field),
        };
        let name = [before, element, after].concat();
        let key = cx.key_of(&name);
        let found = match field {
            None => cx.tx.string(&key).map(|value| value.map(|value| value.as_bytes().to_vec())),
            Some(field) => match cx.tx.hash(&key, Open::Existing) {
                Ok(Some(mut hash)) => hash.get(field).map(|value| value.map(<[u8]>::to_vec)),
                Ok(None) => Ok(None),
                Err(error) => Err(error),
            },
        };
        match found {
            Err(Error::WrongType) => Ok(None),
            found => Ok(found?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Pattern;

    #[test]
    fn arrows_need_a_field() {
        let field = |pattern| match Pattern::new(pattern) {
            Pattern::Key { before, after, field } => Some((before, after, field)),
            _ => None,
        };
        assert_eq!(field(b"w_*"), Some((&b"w_"[..], &b""[..], None)));
        assert_eq!(field(b"*:x->f->g"), Some((&b""[..], &b":x"[..], Some(&b"f->g"[..]))));
        assert_eq!(field(b"a*->"), Some((&b"a"[..], &b"->"[..], None)));
        assert_eq!(field(b"a->*"), Some((&b"a->"[..], &b""[..], None)));
        assert_eq!(field(b"nosort"), None);
        assert_eq!(field(b"#"), None);
    }
}
