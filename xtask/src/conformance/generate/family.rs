//! [`Family`]: the subject of a program.

use engine::command::Group;

/// Groups of commands that programs are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
#[allow(missing_docs, reason = "each is the family of its name")]
pub enum Family {
    String,
    Generic,
    List,
    Set,
    Hash,
    Zset,
    Stream,
    Bitmap,
    Hyperloglog,
    Geo,
    Sort,
    Transactions,
    Scripting,
    Scan,
    /// Names that are words of options, options twice and late; and which keys a command says it has.
    Options,
    /// A user who may use some of the keys, some of them only to read or to write.
    Acl,
    /// Keys that expire while they are watched.
    Expiry,
}

impl Family {
    /// Every family.
    pub const ALL: [Family; 17] = [
        Family::String,
        Family::Generic,
        Family::List,
        Family::Set,
        Family::Hash,
        Family::Zset,
        Family::Stream,
        Family::Bitmap,
        Family::Hyperloglog,
        Family::Geo,
        Family::Sort,
        Family::Transactions,
        Family::Scripting,
        Family::Scan,
        Family::Options,
        Family::Acl,
        Family::Expiry,
    ];

    /// Its name, as `--family` takes it.
    pub fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }

    /// The number of names in a hundred that are words of options.
    pub fn hostility(self) -> u64 {
        match self {
            Family::Options => 20,
            Family::Acl => 8,
            _ => 0,
        }
    }

    /// The group whose rows it is made of; `None`: of all of them.
    pub fn group(self) -> Option<Group> {
        Some(match self {
            Family::String => Group::String,
            Family::Generic => Group::Generic,
            Family::List => Group::List,
            Family::Set => Group::Set,
            Family::Hash => Group::Hash,
            Family::Zset => Group::SortedSet,
            Family::Stream => Group::Stream,
            Family::Bitmap => Group::Bitmap,
            Family::Hyperloglog => Group::HyperLogLog,
            Family::Geo => Group::Geo,
            Family::Sort | Family::Transactions | Family::Scripting | Family::Scan => return None,
            Family::Options | Family::Acl | Family::Expiry => return None,
        })
    }
}

/// The letter that names of keys of a group's type begin with; a digit follows.
pub fn key_letter(group: Group) -> Option<char> {
    Some(match group {
        Group::String | Group::Bitmap => 's',
        Group::List => 'l',
        Group::Set => 'e',
        Group::Hash => 'h',
        Group::SortedSet => 'z',
        Group::Stream => 'x',
        Group::HyperLogLog => 'p',
        Group::Geo => 'g',
        _ => return None,
    })
}

/// Letters of all types.
pub const KEY_LETTERS: [char; 8] = ['s', 'l', 'e', 'h', 'z', 'x', 'p', 'g'];
