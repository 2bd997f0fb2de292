//! `INFO breakers`: the circuit breakers of what this server depends on.

use super::super::{Reading, Row};
use super::{count, level};
use crate::observe::figures::{Family, Member, Unit, Value, counter, gauge, note};
use crate::peers::breaker::State;

const BREAKER: Family = Family {
    name: "breaker_",
    label: "downstream",
    fields: &[
        note("state", ()),
        gauge("open", Unit::One, "Whether the breaker admits no attempts, or only a probe", ()),
        note("retry_ms", ()),
        counter("failures", Unit::One, "Failed attempts", ()),
        counter("opened", Unit::One, "How often the breaker opened", ()),
        counter("refused", Unit::One, "Attempts that the breaker refused", ()),
    ],
};

fn each(r: &Reading<'_>) -> Vec<Member> {
    let fields = |state: State| -> Vec<Value> {
        let retry_ms = state.wait(r.now.mono_us).as_millis() as u64;
        vec![state.name().into(), (state != State::Closed).into(), retry_ms.into()]
    };
    let all = r.engine.breakers.all().into_iter();
    all.map(|it| {
        let counts = [it.tally.failures, it.tally.opened, it.tally.refused];
        let values = fields(it.state).into_iter().chain(counts.map(Value::Whole));
        (it.name, values.collect())
    })
    .collect()
}

pub(super) const ROWS: &[Row] = &[
    level("breakers_open", "Circuit breakers that are not closed", |r| {
        let all = r.engine.breakers.all();
        all.iter().filter(|it| it.state != State::Closed).count().into()
    }),
    count("total_breakers_opened", "How often circuit breakers opened", |r| {
        r.engine.breakers.tally().opened.into()
    }),
    count("total_breakers_refused", "Attempts that circuit breakers refused", |r| {
        r.engine.breakers.tally().refused.into()
    }),
    Row::Many(&BREAKER, each),
];
