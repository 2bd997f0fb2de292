//! The neutral model of a decoded value.

/// A field of a decoded hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HashField {
    /// The field's name.
    pub field: Vec<u8>,
    /// Its value.
    pub value: Vec<u8>,
    /// Its own expiry, Unix milliseconds.
    pub expiry_ms: Option<u64>,
}

/// A decoded value.
#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    /// A string.
    String(Vec<u8>),
    /// A list, head first.
    List(Vec<Vec<u8>>),
    /// A set.
    Set(Vec<Vec<u8>>),
    /// A hash, in the order it was stored.
    Hash(Vec<HashField>),
    /// A sorted set, in the order it was stored.
    SortedSet(Vec<(Vec<u8>, f64)>),
}
