//! [`Program`]: commands, and who answers them in which protocol.

use super::arguments::fill;
use super::catalog::{Catalog, Form};
use super::family::Family;
use super::pools::Pools;
use super::{Command, expiring, may_be_simplified, special};
use crate::conformance::side::CLIENTS;
use crate::load::rng::Rng;
use engine::command::Group;

/// Scenes of a program about keys that expire: each waits for some of them.
const SCENES_MAX: u64 = 3;

/// Lengths of programs.
const COMMANDS_MIN: u64 = 20;
const COMMANDS_MAX: u64 = 60;

/// Groups whose commands fill keys.
const DATA: [Group; 9] = [
    Group::String,
    Group::List,
    Group::Set,
    Group::Hash,
    Group::SortedSet,
    Group::Stream,
    Group::Bitmap,
    Group::HyperLogLog,
    Group::Geo,
];

/// A program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// The protocol, 2 or 3.
    pub protocol: u8,
    /// The commands, in their order.
    pub commands: Vec<Command>,
}

/// The program of this family that follows from `seed`.
pub fn generate(catalog: &Catalog, family: Family, seed: u64) -> Program {
    let mut rng = Rng::new(seed ^ (family as u64) << 56);
    let protocol = 2 + rng.below(2) as u8;
    let odd = rng.below(8);
    let length = COMMANDS_MIN + rng.below(COMMANDS_MAX - COMMANDS_MIN);
    let hostile = family.hostility();
    let mut author = Author { catalog, family, pools: Pools { rng: &mut rng, odd, hostile } };
    let mut commands = Vec::new();
    if family == Family::Expiry {
        for _ in 0..1 + author.pools.below(SCENES_MAX) {
            expiring::scene(&mut author.pools, &mut commands);
        }
        return Program { protocol, commands };
    }
    if family == Family::Transactions && author.pools.chance(30) {
        commands.push(Command { client: 1, ..Command::new(&["AUTH", special::LIMITED, "any"]) });
    }
    if author.pools.chance(40) {
        commands.push(Command { client: 0, args: special::limit(&mut author.pools) });
    }
    if family == Family::Acl {
        commands.extend(special::user(&mut author.pools));
    }
    while (commands.len() as u64) < length {
        author.next(&mut commands);
    }
    Program { protocol, commands }
}

/// The commands before every program: no data, no state of clients, limits as usual.
pub fn preparation(protocol: u8) -> Vec<Command> {
    let mut commands = Vec::new();
    for client in 0..CLIENTS {
        let protocol = protocol.to_string();
        for words in [&["RESET"][..], &["HELLO", &protocol]] {
            commands.push(Command { client, ..Command::new(words) });
        }
    }
    commands.push(Command::new(&["FLUSHALL"]));
    commands.push(Command::new(&["ACL", "DELUSER", special::USER]));
    commands.push(Command { client: 0, args: special::limits_as_usual() });
    // What expires is deleted where it is met, and not some time.
    commands.push(Command::new(&["DEBUG", "SET-ACTIVE-EXPIRE", "0"]));
    commands.push(Command { client: 0, args: special::limited_user() });
    commands
}

struct Author<'a> {
    catalog: &'a Catalog,
    family: Family,
    pools: Pools<'a>,
}

impl Author<'_> {
    /// The next command, or a few that belong together.
    fn next(&mut self, commands: &mut Vec<Command>) {
        match self.family {
            Family::Transactions => return self.transaction(commands),
            _ if self.pools.chance(2) => self.queue(0, commands),
            _ => {}
        }
        let client = usize::from(self.family == Family::Acl && self.pools.chance(75));
        let args = self.command();
        self.say(client, args, commands);
    }

    /// Adds a command, if the reference side supports it, with the commands that must precede it.
    fn say(&mut self, client: usize, args: Vec<Vec<u8>>, commands: &mut Vec<Command>) {
        let mut said = vec![Command { client, args }];
        if !self.catalog.newer {
            let makers = special::consumers_of(&said[0].args);
            // A user who may only read may not create consumers.
            let maker = if self.family == Family::Acl { 0 } else { client };
            said.splice(0..0, makers.into_iter().map(|args| Command { client: maker, args }));
            if !special::suits_older(&said) {
                return;
            }
        }
        commands.extend(said);
    }

    fn command(&mut self) -> Vec<Vec<u8>> {
        match self.family {
            Family::Sort => match self.pools.below(10) {
                0..=3 => special::sort(&mut self.pools),
                4..=6 => special::sort_weight(&mut self.pools),
                _ => {
                    let group = *self.pools.pick(&[&Group::List, &Group::Set, &Group::SortedSet]);
                    self.of_group(group)
                }
            },
            Family::Scan => match self.pools.below(10) {
                0..=3 => special::scan(&mut self.pools),
                _ => {
                    let groups = [&Group::Hash, &Group::Set, &Group::SortedSet, &Group::Generic];
                    let group = *self.pools.pick(&groups);
                    self.of_group(group)
                }
            },
            Family::Scripting => self.script(),
            Family::Options | Family::Acl => self.confusing(),
            Family::Generic if self.pools.chance(5) => special::database(&mut self.pools),
            Family::Stream if self.pools.chance(5) => special::stream_info(&mut self.pools),
            family => match family.group() {
                Some(group) if self.pools.chance(85) => self.of_group(group),
                _ => self.of_any_group(),
            },
        }
    }

    /// A command whose keys are not easily found; or the question which they are.
    fn confusing(&mut self) -> Vec<Vec<u8>> {
        let mut args = match self.pools.below(10) {
            0..=1 => special::sort(&mut self.pools),
            2..=3 => self.of_group(Group::Stream),
            4 => self.of_group(Group::Geo),
            _ => self.of_any_group(),
        };
        if !special::finds_keys_as_we_do(&args) {
            return special::sort_weight(&mut self.pools);
        }
        let asks = self.pools.chance(if self.family == Family::Options { 30 } else { 5 });
        if asks && args.len() > 1 {
            args.splice(0..0, [b"COMMAND".to_vec(), b"GETKEYS".to_vec()]);
        }
        args
    }

    fn of_any_group(&mut self) -> Vec<Vec<u8>> {
        let group = match self.pools.chance(15) {
            true => Group::Generic,
            false => DATA[self.pools.below(DATA.len() as u64) as usize],
        };
        self.of_group(group)
    }

    fn of_group(&mut self, group: Group) -> Vec<Vec<u8>> {
        if group == Group::SortedSet && self.pools.chance(8) {
            return special::lexical_members(&mut self.pools);
        }
        let catalog = self.catalog;
        let total: usize = catalog.of(group).map(|form| form.weight).sum();
        let mut left = self.pools.below(total as u64) as usize;
        let chosen = catalog.of(group).find(|form| match left.checked_sub(form.weight) {
            Some(rest) => {
                left = rest;
                false
            }
            None => true,
        });
        chosen.map_or_else(|| vec![b"PING".to_vec()], |form| self.of_form(form))
    }

    fn of_form(&mut self, form: &Form) -> Vec<Vec<u8>> {
        let mut args = special::lexical(fill(form, &mut self.pools));
        special::without_negative_zero(&mut args);
        if let Some(args) = special::random_pick(&args, &mut self.pools) {
            return args;
        }
        if self.pools.chance(4) && may_be_simplified(&args) {
            args = self.spoiled(args);
            special::without_negative_zero(&mut args);
        }
        args
    }

    /// Something is wrong with it now, mostly.
    fn spoiled(&mut self, mut args: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
        let at = 1 + self.pools.below(args.len() as u64) as usize;
        match self.pools.below(4) {
            0 if args.len() > 1 => drop(args.pop()),
            1 => args.insert(at, self.pools.element()),
            2 if at < args.len() => drop(args.remove(at)),
            _ if at < args.len() => args[at] = self.pools.odd_value(),
            _ => args.push(b"extra".to_vec()),
        }
        args
    }

    /// `MULTI`, commands, `EXEC`; sometimes one end is missing.
    fn queue(&mut self, client: usize, commands: &mut Vec<Command>) {
        if self.pools.chance(95) {
            self.say(client, vec![b"MULTI".to_vec()], commands);
        }
        for _ in 0..1 + self.pools.below(5) {
            if self.family == Family::Transactions && self.pools.chance(5) {
                let args = special::refused(&mut self.pools);
                self.say(client, args, commands);
            }
            let args = match self.family {
                Family::Transactions => self.of_any_group(),
                _ => self.command(),
            };
            self.say(client, args, commands);
        }
        let end =
            self.pools.pick(&["EXEC", "EXEC", "EXEC", "EXEC", "EXEC", "EXEC", "DISCARD", "MULTI"]);
        self.say(client, vec![end.into()], commands);
        if end == "MULTI" {
            self.say(client, vec![b"EXEC".to_vec()], commands);
        }
    }

    /// One client watches, the other may write, the first tries.
    fn transaction(&mut self, commands: &mut Vec<Command>) {
        if self.pools.chance(60) {
            let group = DATA[self.pools.below(DATA.len() as u64) as usize];
            let key = self.pools.key(group);
            commands.push(Command::of("WATCH", &[&key]));
            for _ in 0..self.pools.below(3) {
                let (client, args) = (self.pools.below(2) as usize, self.of_group(group));
                self.say(client, args, commands);
            }
            if self.pools.chance(10) {
                commands.push(Command::new(&["UNWATCH"]));
            }
        }
        let client = usize::from(self.pools.chance(30));
        self.queue(client, commands);
        for _ in 0..self.pools.below(3) {
            let args = self.of_any_group();
            let client = self.pools.below(2) as usize;
            self.say(client, args, commands);
        }
    }

    fn script(&mut self) -> Vec<Vec<u8>> {
        let inner = self.of_any_group();
        if self.pools.chance(25) {
            return inner;
        }
        // What looks like a key is declared as one.
        let is_key = |arg: &&Vec<u8>| {
            arg.len() == 2 && arg[0].is_ascii_lowercase() && (b'1'..=b'3').contains(&arg[1])
        };
        let keys: Vec<Vec<u8>> = inner.iter().filter(is_key).cloned().collect();
        special::script(inner, &keys, &mut self.pools)
    }
}
