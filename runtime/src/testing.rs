//! The suite every runtime passes: one line per runtime, `runtime::suite!(name, || runtime)`.
//!
//! It drives a runtime over real sockets on 127.0.0.1 with a toy line protocol ([`Toy`]) and
//! checks everything the seam promises: bytes, back-pressure, wake-ups, deadlines, draining,
//! panics, and that every connection is told of its end exactly once. Those cases that a filter might get in the
//! way of run a second time behind a toy filter ([`Veil`]), with some that only a filter has.
//!
//! Filters have a suite of their own ([`filters`]).

pub mod cases;
pub mod descriptors;
pub mod filters;
pub mod fixed;
pub mod growing;
mod harness;
mod toy;
mod veil;
pub mod veiled_cases;

use crate::Runtime;
use std::sync::Arc;

pub use harness::{Client, Running, Subject, eventually};
pub use toy::{OUTPUT_MAX, Toy};
pub use veil::{Veil, VeilPeer};

/// The result of a suite's closure: a runtime, or nothing where the system cannot have it.
pub trait Made {
    /// The runtime.
    type Runtime: Runtime + 'static;

    /// The runtime, if there is one.
    fn made(self) -> Option<Arc<Self::Runtime>>;
}

impl<R: Runtime + 'static> Made for R {
    type Runtime = R;

    fn made(self) -> Option<Arc<R>> {
        Some(Arc::new(self))
    }
}

impl<R: Runtime + 'static> Made for Option<R> {
    type Runtime = R;

    fn made(self) -> Option<Arc<R>> {
        self.map(Arc::new)
    }
}

/// Generates one `#[test]` per case of the suite in a module `$name`. `$make` is a closure that
/// makes a runtime, in the configuration to prove, or an `Option` of one, where not every system can have it.
#[macro_export]
macro_rules! suite {
    ($name:ident, $make:expr) => {
        mod $name {
            #[allow(unused_imports)]
            use super::*;
            $crate::suite_cases! { plain, $make;
                cases::two_thousand_connections,
                cases::slow_reader_of_a_pipeline,
                cases::client_vanishes_mid_request,
                cases::waiting_costs_nothing,
                cases::shutdown_gives_up_on_the_stuck,
                cases::wakes_from_other_threads,
                cases::wake_after_close_is_harmless,
                cases::deadline_moves_and_is_cancelled,
                cases::many_deadlines,
                cases::panic_in_connect,
                cases::large_input_does_not_starve_others,
                cases::long_calls_hold_nobody_else,
                cases::shutdown_during_a_long_call,
                cases::unix_socket,
                cases::resize_while_serving,
                growing::growing_twice_forgets_nobody,
                growing::shutdown_while_growing,
                cases::refusal_is_delivered,
            }
            $crate::both_ways! { plain, $make }
            mod filtered {
                #[allow(unused_imports)]
                use super::*;
                $crate::both_ways! { veiled, $make }
                $crate::suite_cases! { veiled, $make;
                    veiled_cases::beginning_is_bounded,
                    veiled_cases::nonsense_gets_last_words,
                    veiled_cases::output_waits_inside,
                    veiled_cases::goodbye_ends_input,
                }
            }
        }
    };
}

/// The cases that run a second time behind a filter: what it might get in the way of.
#[doc(hidden)]
#[macro_export]
macro_rules! both_ways {
    ($subject:ident, $make:expr) => {
        $crate::suite_cases! { $subject, $make;
            cases::one_byte_at_a_time,
            cases::slow_reader_is_held_back,
            cases::peer_that_writes_before_it_reads,
            cases::thousands_pipelined,
            cases::client_vanishes_while_parked,
            cases::client_vanishes_behind_unread_bytes,
            cases::shutdown_with_requests_in_flight,
            cases::shutdown_ends_parked_and_idle,
            cases::wakes_race_with_requests,
            cases::deadline_fires,
            cases::panic_takes_one_connection,
            cases::half_close_gets_answers,
            cases::half_close_behind_a_parked_request,
            cases::abort_drops_output,
        }
    };
}

/// One test each.
#[doc(hidden)]
#[macro_export]
macro_rules! suite_cases {
    ($subject:ident, $make:expr; $($module:ident::$case:ident,)*) => {
        $(
            #[test]
            fn $case() {
                let Some(runtime) = $crate::testing::Made::made(($make)()) else { return };
                $crate::testing::$module::$case($crate::testing::Subject::$subject(runtime));
            }
        )*
    };
}
