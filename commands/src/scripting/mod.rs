//! Scripts and functions: EVAL, SCRIPT, FCALL, FUNCTION. How a script runs is `engine::scripting`.

mod eval;
mod functions;
mod rows;
mod scripts;

pub use rows::COMMANDS;
