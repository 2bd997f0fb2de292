//! The suite that every [`LogStore`](crate::LogStore) passes, and a disk to run it on.

mod disk;
mod numbers;
mod suite;

pub use disk::Disk;
pub use numbers::Numbers;
pub use suite::{Rig, apart, as_written, bases, crashes, overwritten, removed, voted};

/// Runs the suite as tests in a module named `$name`, on the stores that `$rig` opens.
#[macro_export]
macro_rules! log_store_suite {
    ($name:ident, $rig:expr) => {
        mod $name {
            #[allow(unused_imports)]
            use super::*;

            $crate::log_store_suite!(@test $rig, as_written, apart, overwritten, bases, voted, removed, crashes);
        }
    };
    (@test $rig:expr, $($test:ident),*) => {
        $(
            #[test]
            fn $test() {
                $crate::testing::$test(&mut $rig);
            }
        )*
    };
}
