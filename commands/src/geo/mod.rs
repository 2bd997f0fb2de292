//! Geospatial commands: sorted sets whose scores are geohashes.
//!
//! | module | what |
//! | --- | --- |
//! | [`geohash`] | places, scores, cells, distances |
//! | [`search`] | the members within a circle or box |
//! | [`query`] | the arguments of the searching commands |

mod geohash;
mod query;
mod rows;
mod search;

use crate::sorted_set::update::{Options, add};
use crate::sorted_set::{Scored, store};
use engine::cx::Cx;
use engine::failure::{Failure, Outcome, SYNTAX, failure};
use engine::text::args::{float, is_word};
use geohash::{Cell, LATITUDE_MAX, LONGITUDE_MAX, Point};
use query::{Command, Order, Query};
use search::Found;
use storage::{Key, Open};

pub use rows::COMMANDS;

/// The place that two arguments give.
fn point(longitude: &[u8], latitude: &[u8]) -> Result<Point, Failure> {
    let (longitude, latitude) = (float(longitude)?, float(latitude)?);
    if longitude.abs() > LONGITUDE_MAX || latitude.abs() > LATITUDE_MAX {
        return Err(Failure::text(format!(
            "ERR invalid longitude,latitude pair {longitude:.6},{latitude:.6}"
        )));
    }
    Ok(Point { longitude, latitude })
}

/// Metres in a unit.
fn unit(word: &[u8]) -> Result<f64, Failure> {
    let all = [("M", 1.0), ("KM", 1000.0), ("FT", 0.3048), ("MI", 1609.34)];
    let found = all.into_iter().find(|(name, _)| is_word(word, name));
    found
        .map(|(_, metres)| metres)
        .ok_or(failure("ERR unsupported unit provided. please use M, KM, FT, MI"))
}

/// The position of a member.
fn member_place(cx: &mut Cx<'_>, key: &Key<'_>, member: &[u8]) -> Result<Option<Point>, Failure> {
    let Some(mut zset) = cx.tx.sorted_set(key, Open::Existing)? else { return Ok(None) };
    Ok(zset.score(member)?.map(|score| Cell::of_score(score).center()))
}

/// A coordinate: 17 digits behind the point, without the zeros at the end.
fn reply_coordinate(cx: &mut Cx<'_>, value: f64) {
    let text = format!("{value:.17}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    cx.reply.double_text(if text == "-0" { "0" } else { text });
}

fn reply_place(cx: &mut Cx<'_>, place: Point) {
    cx.reply.array(2);
    reply_coordinate(cx, place.longitude);
    reply_coordinate(cx, place.latitude);
}

fn reply_distance(cx: &mut Cx<'_>, distance: f64) {
    cx.reply.bulk(format!("{distance:.4}").as_bytes());
}

fn geoadd(cx: &mut Cx<'_>) -> Outcome {
    let args = cx.args;
    let (options, at) = Options::parse_some(args, &["NX", "XX", "CH"]);
    if !(args.len() - at).is_multiple_of(3) {
        return Err(SYNTAX);
    }
    if options.check(1).is_err() {
        return Err(SYNTAX);
    }
    let mut scores = Vec::with_capacity((args.len() - at) / 3);
    for index in (at..args.len()).step_by(3) {
        scores.push(geohash::score(point(args.arg(index), args.arg(index + 1))?) as f64);
    }
    let changes = add(cx, options, &scores, |nth| args.arg(at + 3 * nth + 2))?;
    if changes.count() > 0 {
        log_as_zadd(cx, at, &scores);
    }
    cx.reply.integer(options.reported(changes) as i64);
    Ok(())
}

/// Logs what Redis logs: the same sorted set commands would make.
fn log_as_zadd(cx: &mut Cx<'_>, at: usize, scores: &[f64]) {
    if cx.engine.journal().is_none() {
        return;
    }
    let args = cx.args;
    let texts: Vec<String> = scores.iter().map(|score| (*score as u64).to_string()).collect();
    let mut effect: Vec<&[u8]> = vec![b"ZADD"];
    effect.extend((1..at).map(|index| args.arg(index)));
    for (nth, text) in texts.iter().enumerate() {
        effect.extend([text.as_bytes(), args.arg(at + 3 * nth + 2)]);
    }
    cx.log(&effect);
}

fn geodist(cx: &mut Cx<'_>) -> Outcome {
    let args = cx.args;
    let conversion = match args.len() {
        4 => 1.0,
        5 => unit(args.arg(4))?,
        _ => return Err(SYNTAX),
    };
    let key = cx.key(1);
    let found = cx.tx.sorted_set(&key, Open::Existing)?.is_some();
    cx.looked_up(&key, found);
    let from = member_place(cx, &key, args.arg(2))?;
    let to = member_place(cx, &key, args.arg(3))?;
    match (from, to) {
        (Some(from), Some(to)) => reply_distance(cx, geohash::distance(from, to) / conversion),
        _ => cx.reply.null(),
    }
    Ok(())
}

/// Replies with every member's position in some form.
fn each_place(cx: &mut Cx<'_>, answer: impl Fn(&mut Cx<'_>, Option<Point>)) -> Outcome {
    let key = cx.key(1);
    let found = cx.tx.sorted_set(&key, Open::Existing)?.is_some();
    cx.looked_up(&key, found);
    let args = cx.args;
    cx.reply.array(args.len() - 2);
    for member in args.iter().skip(2) {
        let place = member_place(cx, &key, member)?;
        answer(cx, place);
    }
    Ok(())
}

fn geohash(cx: &mut Cx<'_>) -> Outcome {
    each_place(cx, |cx, place| match place {
        Some(place) => cx.reply.bulk(&geohash::text(place)),
        None => cx.reply.null(),
    })
}

fn geopos(cx: &mut Cx<'_>) -> Outcome {
    each_place(cx, |cx, place| match place {
        Some(place) => reply_place(cx, place),
        None => cx.reply.null_array(),
    })
}

fn georadius(cx: &mut Cx<'_>) -> Outcome {
    run(cx, Command::Radius { by_member: false, may_store: true })
}

fn georadius_ro(cx: &mut Cx<'_>) -> Outcome {
    run(cx, Command::Radius { by_member: false, may_store: false })
}

fn georadiusbymember(cx: &mut Cx<'_>) -> Outcome {
    run(cx, Command::Radius { by_member: true, may_store: true })
}

fn georadiusbymember_ro(cx: &mut Cx<'_>) -> Outcome {
    run(cx, Command::Radius { by_member: true, may_store: false })
}

fn geosearch(cx: &mut Cx<'_>) -> Outcome {
    run(cx, Command::Search)
}

fn geosearchstore(cx: &mut Cx<'_>) -> Outcome {
    run(cx, Command::SearchStore)
}

fn run(cx: &mut Cx<'_>, command: Command) -> Outcome {
    let key = cx.key(command.source());
    let exists = cx.tx.sorted_set(&key, Open::Existing)?.is_some();
    cx.looked_up(&key, exists);
    let query = Query::parse(cx, command, exists.then_some(&key))?;
    let found = find(cx, &key, &query)?;
    match query.store {
        Some(at) => {
            let destination = cx.key(at);
            let event = match command {
                Command::SearchStore => "geosearchstore",
                _ => "georadiusstore",
            };
            store(cx, &destination, &stored(found, &query), event)
        }
        None => {
            reply_found(cx, &found, &query);
            Ok(())
        }
    }
}

/// The members to answer or to store, in order.
fn find(cx: &mut Cx<'_>, key: &Key<'_>, query: &Query) -> Result<Vec<Found>, Failure> {
    let count = if query.count == 0 { usize::MAX } else { query.count };
    let limit = if query.any { count } else { usize::MAX };
    let mut found = match (cx.tx.sorted_set(key, Open::Existing)?, query.shape()) {
        (Some(mut zset), Some(shape)) => search::search(&mut *zset, &shape, limit)?,
        _ => return Ok(Vec::new()),
    };
    // A count asks for the nearest, unless any will do.
    let order = match query.order {
        Order::Unsorted if query.count > 0 && !query.any => Order::Ascending,
        order => order,
    };
    match order {
        Order::Unsorted => {}
        Order::Ascending => found.sort_by(|a, b| a.distance.total_cmp(&b.distance)),
        Order::Descending => found.sort_by(|a, b| b.distance.total_cmp(&a.distance)),
    }
    found.truncate(count);
    Ok(found)
}

fn stored(found: Vec<Found>, query: &Query) -> Vec<Scored> {
    let score = |found: &Found| match query.store_distance {
        true => found.distance / query.conversion,
        false => found.score,
    };
    found.into_iter().map(|found| (score(&found), found.member)).map(|(s, m)| (m, s)).collect()
}

fn reply_found(cx: &mut Cx<'_>, found: &[Found], query: &Query) {
    let parts = [query.with_distance, query.with_hash, query.with_place];
    let extra = parts.iter().filter(|part| **part).count();
    cx.reply.array(found.len());
    for one in found {
        if extra > 0 {
            cx.reply.array(extra + 1);
        }
        cx.reply.bulk(&one.member);
        if query.with_distance {
            reply_distance(cx, one.distance / query.conversion);
        }
        if query.with_hash {
            cx.reply.integer(one.score as i64);
        }
        if query.with_place {
            reply_place(cx, one.place);
        }
    }
}
