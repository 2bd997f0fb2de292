//! The arguments of GEOSEARCH, GEORADIUS and their kin.

use super::geohash::Point;
use super::search::{Form, Shape};
use super::{member_place, point, unit};
use engine::command::Takes::Exactly;
use engine::command::{Found, Given, KeyPosition, KeySpec, NoOption, Options};
use engine::cx::Cx;
use engine::failure::{Failure, Outcome, SYNTAX, failure};
use engine::text::args::{integer, parse_f64};
use resp::Request;
use storage::Key;

/// Which command the grammar is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// GEORADIUS and GEORADIUSBYMEMBER, or their `_RO` forms.
    Radius { by_member: bool, may_store: bool },
    /// GEOSEARCH.
    Search,
    /// GEOSEARCHSTORE.
    SearchStore,
}

impl Command {
    /// Whether centre and form are options.
    fn is_search(self) -> bool {
        !matches!(self, Command::Radius { .. })
    }

    /// Whether one of its options names a destination.
    fn may_store(self) -> bool {
        matches!(self, Command::Radius { may_store: true, .. })
    }

    /// The position of the sorted set's key.
    pub fn source(self) -> usize {
        if self == Command::SearchStore { 2 } else { 1 }
    }

    /// The options, and where they begin.
    fn options(self) -> (Options, usize) {
        match self {
            Command::Radius { by_member: false, .. } => (RADIUS, 6),
            Command::Radius { by_member: true, .. } => (RADIUS, 5),
            Command::Search => (SEARCH, 2),
            Command::SearchStore => (SEARCH, 3),
        }
    }

    /// The keys of an older command: of several destinations the last one counts.
    fn keys(self, specs: &'static [KeySpec], request: Request<'_>) -> Option<Found> {
        let (options, from) = self.options();
        let stores = |given: &Given| matches!(given.word, "STORE" | "STOREDIST");
        let store = options.walk(request, from).flatten().filter(stores).last();
        let source = KeyPosition { index: self.source(), flags: specs[0].flags };
        let store = store.map(|given| KeyPosition { index: given.at, flags: specs[1].flags });
        Some([source].into_iter().chain(store).collect())
    }
}

/// The keys of GEORADIUS.
pub fn radius_keys(specs: &'static [KeySpec], request: Request<'_>) -> Option<Found> {
    Command::Radius { by_member: false, may_store: true }.keys(specs, request)
}

/// The keys of GEORADIUSBYMEMBER.
pub fn radius_by_member_keys(specs: &'static [KeySpec], request: Request<'_>) -> Option<Found> {
    Command::Radius { by_member: true, may_store: true }.keys(specs, request)
}

/// The options of a command: those of all, and its own.
macro_rules! options {
    ($($own:expr),* $(,)?) => {
        Options(&[
            ("WITHDIST", Exactly(0)),
            ("WITHHASH", Exactly(0)),
            ("WITHCOORD", Exactly(0)),
            ("ANY", Exactly(0)),
            ("ASC", Exactly(0)),
            ("DESC", Exactly(0)),
            ("COUNT", Exactly(1)),
            $($own),*
        ])
    };
}

const RADIUS: Options = options![("STORE", Exactly(1)), ("STOREDIST", Exactly(1))];

const SEARCH: Options = options![
    ("FROMMEMBER", Exactly(1)),
    ("FROMLONLAT", Exactly(2)),
    ("BYRADIUS", Exactly(2)),
    ("BYBOX", Exactly(3)),
    ("STOREDIST", Exactly(0)),
];

/// In which order members are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Unsorted,
    Ascending,
    Descending,
}

/// The parsed arguments of a geospatial search.
#[derive(Clone, Copy, Debug)]
pub struct Query {
    center: Option<Point>,
    form: Option<Form>,
    /// The centre was given as a member, which a missing sorted set does not have.
    from_member: bool,
    /// Metres in the unit of distances.
    pub conversion: f64,
    pub with_distance: bool,
    pub with_hash: bool,
    pub with_place: bool,
    pub order: Order,
    /// The highest number of members; 0 means all.
    pub count: usize,
    /// The first `count` that are met will do.
    pub any: bool,
    /// The argument that names the destination.
    pub store: Option<usize>,
    /// Distances instead of geohashes are stored.
    pub store_distance: bool,
}

impl Query {
    /// Reads all arguments. `source` says whether the sorted set exists.
    pub fn parse(
        cx: &mut Cx<'_>,
        command: Command,
        source: Option<&Key<'_>>,
    ) -> Result<Self, Failure> {
        let mut query = Query {
            center: None,
            form: None,
            from_member: false,
            conversion: 1.0,
            with_distance: false,
            with_hash: false,
            with_place: false,
            order: Order::Unsorted,
            count: 0,
            any: false,
            store: (command == Command::SearchStore).then_some(1),
            store_distance: false,
        };
        if let Command::Radius { by_member, .. } = command {
            query.fixed(cx, by_member, source)?;
        }
        let (options, from) = command.options();
        for given in options.walk(cx.args, from) {
            let given = given.map_err(|NoOption| SYNTAX)?;
            query.option(cx, command, source, given)?;
        }
        query.check(cx, command)?;
        Ok(query)
    }

    /// The area, unless there is nothing to search.
    pub fn shape(&self) -> Option<Shape> {
        Some(Shape { center: self.center?, form: self.form? })
    }

    /// Centre and radius of the older commands.
    fn fixed(&mut self, cx: &mut Cx<'_>, by_member: bool, source: Option<&Key<'_>>) -> Outcome {
        match (by_member, source) {
            (false, _) => self.center = Some(point(cx.args.arg(2), cx.args.arg(3))?),
            (true, Some(key)) => self.center = Some(center_at(cx, key, cx.args.arg(2))?),
            // Not even the radius is looked at.
            (true, None) => return Ok(()),
        }
        let at = if by_member { 3 } else { 4 };
        self.circle(cx, at)
    }

    fn circle(&mut self, cx: &Cx<'_>, at: usize) -> Outcome {
        let radius = number(cx.args.arg(at), "ERR need numeric radius")?;
        if radius < 0.0 {
            return Err(failure("ERR radius cannot be negative"));
        }
        self.conversion = unit(cx.args.arg(at + 1))?;
        self.form = Some(Form::Circle { radius: radius * self.conversion });
        Ok(())
    }

    fn rectangle(&mut self, cx: &Cx<'_>, at: usize) -> Outcome {
        let width = number(cx.args.arg(at), "ERR need numeric width")?;
        let height = number(cx.args.arg(at + 1), "ERR need numeric height")?;
        if width < 0.0 || height < 0.0 {
            return Err(failure("ERR height or width cannot be negative"));
        }
        self.conversion = unit(cx.args.arg(at + 2))?;
        let (width, height) = (width * self.conversion, height * self.conversion);
        self.form = Some(Form::Box { width, height });
        Ok(())
    }

    fn option(
        &mut self,
        cx: &mut Cx<'_>,
        command: Command,
        source: Option<&Key<'_>>,
        Given { word, at }: Given,
    ) -> Outcome {
        match word {
            "WITHDIST" => self.with_distance = true,
            "WITHHASH" => self.with_hash = true,
            "WITHCOORD" => self.with_place = true,
            "ANY" => self.any = true,
            "ASC" => self.order = Order::Ascending,
            "DESC" => self.order = Order::Descending,
            "COUNT" => {
                let count = integer(cx.args.arg(at))?;
                let positive = usize::try_from(count).ok().filter(|&count| count > 0);
                self.count = positive.ok_or(failure("ERR COUNT must be > 0"))?;
            }
            _ if command.is_search() => return self.search_option(cx, command, source, word, at),
            _ if command.may_store() => {
                self.store = Some(at);
                self.store_distance = word == "STOREDIST";
            }
            _ => return Err(SYNTAX),
        }
        Ok(())
    }

    fn search_option(
        &mut self,
        cx: &mut Cx<'_>,
        command: Command,
        source: Option<&Key<'_>>,
        word: &str,
        at: usize,
    ) -> Outcome {
        let from_place = self.center.is_some() && !self.from_member;
        match (word, self.form) {
            ("FROMMEMBER", _) if !from_place => {
                if let Some(key) = source {
                    self.center = Some(center_at(cx, key, cx.args.arg(at))?);
                }
                self.from_member = true;
            }
            ("FROMLONLAT", _) if !self.from_member => {
                self.center = Some(point(cx.args.arg(at), cx.args.arg(at + 1))?);
            }
            ("BYRADIUS", None | Some(Form::Circle { .. })) => self.circle(cx, at)?,
            ("BYBOX", None | Some(Form::Box { .. })) => self.rectangle(cx, at)?,
            ("STOREDIST", _) if command == Command::SearchStore => self.store_distance = true,
            _ => return Err(SYNTAX),
        }
        Ok(())
    }

    /// Refuses options that do not go together.
    fn check(&self, cx: &Cx<'_>, command: Command) -> Outcome {
        let name = String::from_utf8_lossy(cx.args.arg(0));
        let with = self.with_distance || self.with_hash || self.with_place;
        if self.store.is_some() && with {
            let what = match command {
                Command::SearchStore => "GEOSEARCHSTORE",
                _ => "STORE option in GEORADIUS",
            };
            return Err(Failure::text(format!(
                "ERR {what} is not compatible with WITHDIST, WITHHASH and WITHCOORD options"
            )));
        }
        if command.is_search() && self.center.is_none() && !self.from_member {
            return Err(Failure::text(format!(
                "ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for {name}"
            )));
        }
        if command.is_search() && self.form.is_none() {
            return Err(Failure::text(format!(
                "ERR exactly one of BYRADIUS and BYBOX can be specified for {name}"
            )));
        }
        if self.any && self.count == 0 {
            return Err(failure("ERR the ANY argument requires COUNT argument"));
        }
        Ok(())
    }
}

fn number(text: &[u8], error: &'static str) -> Result<f64, Failure> {
    parse_f64(text).ok_or(failure(error))
}

/// The place of the member that is the centre.
fn center_at(cx: &mut Cx<'_>, key: &Key<'_>, member: &[u8]) -> Result<Point, Failure> {
    let place = member_place(cx, key, member)?;
    place.ok_or(failure("ERR could not decode requested zset member"))
}
