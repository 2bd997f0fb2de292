//! Bounds that directives of several topics share.

/// C's `INT_MAX`, the bound of many of Redis's integers; it shows in error texts.
pub(super) const INT_MAX: i64 = i32::MAX as i64;
/// C's `INT_MIN`.
pub(super) const INT_MIN: i64 = i32::MIN as i64;
/// C's `LONG_MAX`, as a size.
pub(super) const LONG_MAX: u64 = i64::MAX as u64;
/// From 0 to `INT_MAX`.
pub(super) const NATURAL: (i64, i64) = (0, INT_MAX);
/// From 0 to `LONG_MAX`.
pub(super) const NATURAL_LONG: (i64, i64) = (0, i64::MAX);
/// 1 MiB.
pub(super) const MB: u64 = 1 << 20;
