//! The suite every runtime passes. See `suite!` once written.
