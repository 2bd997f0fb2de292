//! `EVAL`, `EVALSHA` and their read-only forms.

use engine::cx::Cx;
use engine::failure::Outcome;
use engine::scripting::eval::{by_sha, by_text};

pub(super) fn eval(cx: &mut Cx<'_>) -> Outcome {
    by_text(cx, false)
}

pub(super) fn eval_ro(cx: &mut Cx<'_>) -> Outcome {
    by_text(cx, true)
}

pub(super) fn evalsha(cx: &mut Cx<'_>) -> Outcome {
    by_sha(cx, false)
}

pub(super) fn evalsha_ro(cx: &mut Cx<'_>) -> Outcome {
    by_sha(cx, true)
}
