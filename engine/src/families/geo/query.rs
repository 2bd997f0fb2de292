//! The arguments of GEOSEARCH, GEORADIUS and their kin.

use super::geohash::Point;
use super::search::{Form, Shape};
use super::{member_place, point, unit};
use crate::args::{integer, is_word, parse_f64};
use crate::cx::Cx;
use crate::failure::{Failure, Outcome, SYNTAX, failure};
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

    /// Where the sorted set's key is.
    pub fn source(self) -> usize {
        if self == Command::SearchStore { 2 } else { 1 }
    }

    /// Where the options begin.
    pub fn options(self) -> usize {
        match self {
            Command::Radius { by_member: false, .. } => 6,
            Command::Radius { by_member: true, .. } => 5,
            Command::Search => 2,
            Command::SearchStore => 3,
        }
    }
}

/// In which order members are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Unsorted,
    Ascending,
    Descending,
}

/// What is asked for.
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
    /// How many members at most; 0: all.
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
        let mut at = command.options();
        while at < cx.argc() {
            at += 1 + query.option(cx, command, source, at)?;
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

    /// Reads the option at `at`; how many arguments it has.
    fn option(
        &mut self,
        cx: &mut Cx<'_>,
        command: Command,
        source: Option<&Key<'_>>,
        at: usize,
    ) -> Result<usize, Failure> {
        let word = cx.args.arg(at);
        let left = cx.argc() - at - 1;
        match word {
            _ if is_word(word, "WITHDIST") => self.with_distance = true,
            _ if is_word(word, "WITHHASH") => self.with_hash = true,
            _ if is_word(word, "WITHCOORD") => self.with_place = true,
            _ if is_word(word, "ANY") => self.any = true,
            _ if is_word(word, "ASC") => self.order = Order::Ascending,
            _ if is_word(word, "DESC") => self.order = Order::Descending,
            _ if left >= 1 && is_word(word, "COUNT") => {
                let count = integer(cx.args.arg(at + 1))?;
                let positive = usize::try_from(count).ok().filter(|&count| count > 0);
                self.count = positive.ok_or(failure("ERR COUNT must be > 0"))?;
                return Ok(1);
            }
            _ if command.is_search() => return self.search_option(cx, command, source, at),
            _ => return self.store_option(cx, command, at),
        }
        Ok(0)
    }

    /// `STORE` and `STOREDIST` of the older commands.
    fn store_option(&mut self, cx: &Cx<'_>, command: Command, at: usize) -> Result<usize, Failure> {
        let word = cx.args.arg(at);
        let distance = is_word(word, "STOREDIST");
        let may_store = matches!(command, Command::Radius { may_store: true, .. });
        if !may_store || at + 1 >= cx.argc() || !(distance || is_word(word, "STORE")) {
            return Err(SYNTAX);
        }
        self.store = Some(at + 1);
        self.store_distance = distance;
        Ok(1)
    }

    fn search_option(
        &mut self,
        cx: &mut Cx<'_>,
        command: Command,
        source: Option<&Key<'_>>,
        at: usize,
    ) -> Result<usize, Failure> {
        let word = cx.args.arg(at);
        let left = cx.argc() - at - 1;
        let from_place = self.center.is_some() && !self.from_member;
        match word {
            _ if left >= 1 && !from_place && is_word(word, "FROMMEMBER") => {
                if let Some(key) = source {
                    self.center = Some(center_at(cx, key, cx.args.arg(at + 1))?);
                }
                self.from_member = true;
                Ok(1)
            }
            _ if left >= 2 && !self.from_member && is_word(word, "FROMLONLAT") => {
                self.center = Some(point(cx.args.arg(at + 1), cx.args.arg(at + 2))?);
                Ok(2)
            }
            _ if left >= 2
                && !matches!(self.form, Some(Form::Box { .. }))
                && is_word(word, "BYRADIUS") =>
            {
                self.circle(cx, at + 1)?;
                Ok(2)
            }
            _ if left >= 3
                && !matches!(self.form, Some(Form::Circle { .. }))
                && is_word(word, "BYBOX") =>
            {
                self.rectangle(cx, at + 1)?;
                Ok(3)
            }
            _ if command == Command::SearchStore && is_word(word, "STOREDIST") => {
                self.store_distance = true;
                Ok(0)
            }
            _ => Err(SYNTAX),
        }
    }

    /// What only the options together can tell.
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
