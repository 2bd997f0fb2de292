//! The suite every runtime passes: one line per runtime, `runtime::suite!(name, || runtime)`.
//!
//! It drives a runtime over real sockets on 127.0.0.1 with a toy line protocol ([`Toy`]) and
//! checks everything the seam promises: bytes, back-pressure, wake-ups, deadlines, draining,
//! panics, and that every connection is told of its end exactly once.

pub mod cases;
pub mod descriptors;
pub mod fixed;
mod harness;
mod toy;

pub use harness::{Client, Running, eventually};
pub use toy::{OUTPUT_MAX, Toy};

/// Generates one `#[test]` per case of the suite in a module `$name`. `$make` is a closure that
/// makes a runtime, in the configuration to prove.
#[macro_export]
macro_rules! suite {
    ($name:ident, $make:expr) => {
        mod $name {
            #[allow(unused_imports)]
            use super::*;
            $crate::suite_cases! { $make;
                one_byte_at_a_time,
                slow_reader_is_held_back,
                slow_reader_of_a_pipeline,
                peer_that_writes_before_it_reads,
                thousands_pipelined,
                client_vanishes_mid_request,
                client_vanishes_while_parked,
                client_vanishes_behind_unread_bytes,
                waiting_costs_nothing,
                two_thousand_connections,
                shutdown_with_requests_in_flight,
                shutdown_ends_parked_and_idle,
                shutdown_gives_up_on_the_stuck,
                wakes_from_other_threads,
                wakes_race_with_requests,
                wake_after_close_is_harmless,
                deadline_fires,
                deadline_moves_and_is_cancelled,
                many_deadlines,
                panic_takes_one_connection,
                panic_in_connect,
                refusal_is_delivered,
                half_close_gets_answers,
                half_close_behind_a_parked_request,
                abort_drops_output,
                large_input_does_not_starve_others,
                long_calls_hold_nobody_else,
                shutdown_during_a_long_call,
                unix_socket,
                resize_while_serving,
            }
        }
    };
}

/// The list behind [`suite!`].
#[doc(hidden)]
#[macro_export]
macro_rules! suite_cases {
    ($make:expr; $($case:ident,)*) => {
        $(
            #[test]
            fn $case() {
                $crate::testing::cases::$case(std::sync::Arc::new(($make)()));
            }
        )*
    };
}
