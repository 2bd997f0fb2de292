//! [`Settings`] of `cjson`.

/// Options that scripts can set (`cjson.encode_max_depth` and its kin). In Redis it stays set for all scripts
/// that follow, so the host keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    pub(super) sparse_convert: bool,
    pub(super) sparse_ratio: i64,
    pub(super) sparse_safe: i64,
    pub(super) encode_depth: i64,
    pub(super) decode_depth: i64,
    pub(super) precision: i64,
    pub(super) keep_buffer: bool,
    pub(super) encode_invalid: Invalid,
    pub(super) decode_invalid: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            sparse_convert: false,
            sparse_ratio: 2,
            sparse_safe: 10,
            encode_depth: DEPTH_MAX,
            decode_depth: DEPTH_MAX,
            precision: 14,
            keep_buffer: true,
            encode_invalid: Invalid::Refuse,
            decode_invalid: true,
        }
    }
}

/// The deepest nesting, by default. Scripts may ask for less; more would be this thread's stack.
pub(super) const DEPTH_MAX: i64 = 1000;

/// The encoding of infinities and NaN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Invalid {
    Refuse,
    Allow,
    Null,
}
