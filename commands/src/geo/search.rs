//! The members of a sorted set within a circle or a box.

use super::geohash::{
    Area, Cell, LATITUDE_MAX, Point, bounds, distance, latitude_distance, step_for,
};
use storage::Result;
use storage::types::{ScoreBound, SortedSet, ZRange};

/// The form of the area to search, in metres.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Form {
    Circle { radius: f64 },
    Box { width: f64, height: f64 },
}

/// The area that is searched: its centre and its form.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    pub center: Point,
    pub form: Form,
}

/// A member that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    pub member: Vec<u8>,
    pub score: f64,
    pub place: Point,
    /// Metres from the centre.
    pub distance: f64,
}

impl Shape {
    /// The distance of a place from the centre; `None` if it is outside.
    fn distance(&self, place: Point) -> Option<f64> {
        match self.form {
            Form::Circle { radius } => {
                let distance = distance(self.center, place);
                (distance <= radius).then_some(distance)
            }
            Form::Box { width, height } => {
                let aside = Point { latitude: place.latitude, ..self.center };
                let inside = latitude_distance(place.latitude, self.center.latitude)
                    <= height / 2.0
                    && distance(place, aside) <= width / 2.0;
                inside.then(|| distance(self.center, place))
            }
        }
    }

    /// The radius of the circle around it all.
    fn reach(&self) -> f64 {
        match self.form {
            Form::Circle { radius } => radius,
            Form::Box { width, height } => {
                ((width / 2.0) * (width / 2.0) + (height / 2.0) * (height / 2.0)).sqrt()
            }
        }
    }

    fn bounds(&self) -> Area {
        match self.form {
            Form::Circle { radius } => bounds(self.center, radius, radius),
            Form::Box { width, height } => bounds(self.center, width / 2.0, height / 2.0),
        }
    }

    /// The cell of the centre and its neighbours, as far as they are needed, in the order Redis
    /// visits them: it shows in unsorted replies.
    fn cells(&self) -> impl Iterator<Item = Cell> {
        const AROUND: [(i32, i32); 9] =
            [(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1)];
        let wanted = self.bounds();
        let mut step = step_for(self.reach(), self.center.latitude);
        if step > 1 && !covers(self.cell(step), wanted) {
            step -= 1;
        }
        let cell = self.cell(step);
        let area = cell.area();
        let needed = move |&(east, north): &(i32, i32)| {
            step < 2
                || !(north < 0 && area.south < wanted.south
                    || north > 0 && area.north > wanted.north
                    || east < 0 && area.west < wanted.west
                    || east > 0 && area.east > wanted.east)
        };
        AROUND.into_iter().filter(needed).map(move |(east, north)| cell.neighbour(east, north))
    }

    fn cell(&self, step: u32) -> Cell {
        Cell::of(self.center, LATITUDE_MAX, step)
    }
}

/// Whether a cell and its neighbours reach as far as is wanted.
fn covers(cell: Cell, wanted: Area) -> bool {
    cell.neighbour(0, 1).area().north >= wanted.north
        && cell.neighbour(0, -1).area().south <= wanted.south
        && cell.neighbour(1, 0).area().east >= wanted.east
        && cell.neighbour(-1, 0).area().west <= wanted.west
}

/// The members within `shape`, in the order they are met; no more than `limit`.
pub fn search(zset: &mut dyn SortedSet, shape: &Shape, limit: usize) -> Result<Vec<Found>> {
    let mut all = Vec::new();
    let mut last = None;
    for (nth, cell) in shape.cells().enumerate() {
        // In a world of few cells neighbours on both sides are the same.
        if last == Some(cell) {
            continue;
        }
        if all.len() >= limit {
            break;
        }
        within(zset, shape, cell, limit, &mut all)?;
        if nth > 0 {
            last = Some(cell);
        }
    }
    Ok(all)
}

fn within(
    zset: &mut dyn SortedSet,
    shape: &Shape,
    cell: Cell,
    limit: usize,
    all: &mut Vec<Found>,
) -> Result<()> {
    let (first, end) = cell.scores();
    let range = ZRange::Score {
        min: ScoreBound { score: first, exclusive: false },
        max: ScoreBound { score: end, exclusive: true },
    };
    zset.range(&range, false, 0, u64::MAX, &mut |member, score| {
        let place = Cell::of_score(score).center();
        if let Some(distance) = shape.distance(place) {
            all.push(Found { member: member.to_vec(), score, place, distance });
        }
        all.len() < limit
    })
}
