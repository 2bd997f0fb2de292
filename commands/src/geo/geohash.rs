//! Geohashes: a place as 52 bits, latitude and longitude by turns, and the cells around it.

/// Longitudes that can be stored, degrees.
pub const LONGITUDE_MAX: f64 = 180.0;
/// Latitudes that can be stored, degrees: those of the Web Mercator projection.
pub const LATITUDE_MAX: f64 = 85.051_128_78;
/// Halvings of each axis in a score.
pub const STEP_MAX: u32 = 26;
/// One more than the largest score that can be an integer of 64 bits.
const SCORES_END: f64 = 18_446_744_073_709_551_616.0;
const EARTH_RADIUS: f64 = 6_372_797.560_856;
/// Half the equator in the Mercator projection, metres.
const MERCATOR_MAX: f64 = 20_037_726.37;
const RADIANS: f64 = std::f64::consts::PI / 180.0;

/// A place, degrees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    pub longitude: f64,
    pub latitude: f64,
}

/// One of the `4^step` cells that the world is divided into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    pub latitude: u32,
    pub longitude: u32,
    pub step: u32,
}

/// An area, degrees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Area {
    pub west: f64,
    pub south: f64,
    pub east: f64,
    pub north: f64,
}

/// Moves each bit of `x` to twice its place.
fn spread(x: u32) -> u64 {
    let mut x = u64::from(x);
    x = (x | x << 16) & 0x0000_ffff_0000_ffff;
    x = (x | x << 8) & 0x00ff_00ff_00ff_00ff;
    x = (x | x << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    x = (x | x << 2) & 0x3333_3333_3333_3333;
    (x | x << 1) & 0x5555_5555_5555_5555
}

/// The inverse of [`spread`]; odd bits do not matter.
fn gather(x: u64) -> u32 {
    let mut x = x & 0x5555_5555_5555_5555;
    x = (x | x >> 1) & 0x3333_3333_3333_3333;
    x = (x | x >> 2) & 0x0f0f_0f0f_0f0f_0f0f;
    x = (x | x >> 4) & 0x00ff_00ff_00ff_00ff;
    x = (x | x >> 8) & 0x0000_ffff_0000_ffff;
    (x | x >> 16) as u32
}

impl Cell {
    /// The cell of a place, in a world of latitudes up to `latitude_max`.
    pub fn of(point: Point, latitude_max: f64, step: u32) -> Self {
        let cells = (1u64 << step) as f64;
        let share = |value: f64, max: f64| ((value + max) / (max + max) * cells) as u32;
        Cell {
            latitude: share(point.latitude, latitude_max),
            longitude: share(point.longitude, LONGITUDE_MAX),
            step,
        }
    }

    /// The cell that a score encodes.
    pub fn of_score(score: f64) -> Self {
        // Scores that are not geohashes may be negative or too large. Redis takes the two's
        // complement of the former, and zero for the latter.
        let bits = match score {
            _ if score < 0.0 => score as i64 as u64,
            _ if score >= SCORES_END => 0,
            _ => score as u64,
        };
        Cell { latitude: gather(bits), longitude: gather(bits >> 1), step: STEP_MAX }
    }

    /// Latitude and longitude bits by turns.
    pub fn bits(self) -> u64 {
        spread(self.latitude) | spread(self.longitude) << 1
    }

    /// The scores within: the first, and one past the last.
    pub fn scores(self) -> (f64, f64) {
        let shift = 2 * (STEP_MAX - self.step);
        ((self.bits() << shift) as f64, ((self.bits() + 1) << shift) as f64)
    }

    pub fn area(self) -> Area {
        let cells = (1u64 << self.step) as f64;
        let place = |index: u32, max: f64| -max + f64::from(index) / cells * (max + max);
        Area {
            west: place(self.longitude, LONGITUDE_MAX),
            south: place(self.latitude, LATITUDE_MAX),
            east: place(self.longitude.wrapping_add(1), LONGITUDE_MAX),
            north: place(self.latitude.wrapping_add(1), LATITUDE_MAX),
        }
    }

    /// The cell's centre.
    pub fn center(self) -> Point {
        let area = self.area();
        let clamp = |value: f64, max: f64| value.clamp(-max, max);
        Point {
            longitude: clamp((area.west + area.east) / 2.0, LONGITUDE_MAX),
            latitude: clamp((area.south + area.north) / 2.0, LATITUDE_MAX),
        }
    }

    /// The cell at this distance in cells to the east and to the north, around the world if
    /// necessary.
    pub fn neighbour(self, east: i32, north: i32) -> Self {
        let around = |index: u32, by: i32| match by {
            0 => index,
            _ => index.wrapping_add_signed(by) & ((1u64 << self.step) - 1) as u32,
        };
        let (latitude, longitude) = (around(self.latitude, north), around(self.longitude, east));
        Cell { latitude, longitude, step: self.step }
    }
}

/// The score of a place.
pub fn score(point: Point) -> u64 {
    Cell::of(point, LATITUDE_MAX, STEP_MAX).bits()
}

/// The eleven letters of a standard geohash. It divides all latitudes up to the poles, and its last
/// letter is more precise than a score.
pub fn text(point: Point) -> [u8; 11] {
    const ALPHABET: &[u8; 32] = b"0123456789bcdefghjkmnpqrstuvwxyz";
    let bits = Cell::of(point, 90.0, STEP_MAX).bits();
    let mut letters = [ALPHABET[0]; 11];
    for (nth, letter) in letters.iter_mut().take(10).enumerate() {
        *letter = ALPHABET[(bits >> (52 - 5 * (nth + 1)) & 0x1f) as usize];
    }
    letters
}

/// Metres between two latitudes.
pub fn latitude_distance(a: f64, b: f64) -> f64 {
    EARTH_RADIUS * (b * RADIANS - a * RADIANS).abs()
}

/// Metres between two places, on a sphere.
pub fn distance(a: Point, b: Point) -> f64 {
    let v = ((b.longitude * RADIANS - a.longitude * RADIANS) / 2.0).sin();
    if v == 0.0 {
        return latitude_distance(a.latitude, b.latitude);
    }
    let (from, to) = (a.latitude * RADIANS, b.latitude * RADIANS);
    let u = ((to - from) / 2.0).sin();
    let a = u * u + from.cos() * to.cos() * v * v;
    2.0 * EARTH_RADIUS * a.sqrt().asin()
}

/// The finest cells of which nine cover everything within `radius` metres.
pub fn step_for(radius: f64, latitude: f64) -> u32 {
    if radius == 0.0 {
        return STEP_MAX;
    }
    let (mut step, mut radius) = (-1, radius);
    while radius < MERCATOR_MAX {
        radius *= 2.0;
        step += 1;
    }
    // Towards the poles cells are narrower.
    step -= i32::from(latitude.abs() > 66.0) + i32::from(latitude.abs() > 80.0);
    step.clamp(1, STEP_MAX as i32) as u32
}

/// The area within `width` metres to either side and `height` metres up and down, roughly.
pub fn bounds(center: Point, width: f64, height: f64) -> Area {
    let up = height / EARTH_RADIUS / RADIANS;
    // Meridians are nearest to each other at the side that is away from the equator.
    let far = if center.latitude < 0.0 { center.latitude - up } else { center.latitude + up };
    let aside = width / EARTH_RADIUS / (far * RADIANS).cos() / RADIANS;
    Area {
        west: center.longitude - aside,
        south: center.latitude - up,
        east: center.longitude + aside,
        north: center.latitude + up,
    }
}

#[cfg(test)]
mod tests {
    use super::{Cell, LATITUDE_MAX, Point, distance, score, text};

    const PALERMO: Point = Point { longitude: 13.361389, latitude: 38.115556 };
    const CATANIA: Point = Point { longitude: 15.087269, latitude: 37.502669 };

    #[test]
    fn the_example_of_the_documentation() {
        assert_eq!(score(PALERMO), 3_479_099_956_230_698);
        assert_eq!(score(CATANIA), 3_479_447_370_796_909);
        assert_eq!(&text(PALERMO), b"sqc8b49rny0");
        let stored = |point| Cell::of_score(score(point) as f64).center();
        let metres = distance(stored(PALERMO), stored(CATANIA));
        assert_eq!(format!("{metres:.4}"), "166274.1516");
    }

    #[test]
    fn neighbours_go_around_the_world() {
        let cell = Cell::of(Point { longitude: -179.9, latitude: 85.0 }, LATITUDE_MAX, 4);
        let west = cell.neighbour(-1, 0);
        assert_eq!((cell.longitude, west.longitude), (0, 15));
        assert_eq!(cell.neighbour(0, 1).latitude, 0);
        assert_eq!(west.neighbour(1, 0), cell);
    }
}
