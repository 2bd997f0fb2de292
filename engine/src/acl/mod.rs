//! Access control: which users may run which commands on which keys and channels.
//!
//! | module | contents |
//! | --- | --- |
//! | [`user`] | users and selectors |
//! | `rules` | the rules that change them (`ACL SETUSER`) |
//! | `describe` | a user as the rules that make it (`ACL LIST`, `ACL GETUSER`) |
//! | `changes` | users as they are made, changed and deleted, and whom that concerns |
//! | `check` | whether a request may run |
//! | [`log`] | the refusals (`ACL LOG`) |
//! | `file` | users in an `aclfile` or in a redis.conf |
//!
//! A [`User`] never changes: a change creates another one, and puts it into the [`Account`] that
//! sessions hold. A session whose user may do everything has no mark, so that its requests are not
//! checked. Other sessions have `Special::RESTRICTED`. A change of a user sends
//! [`Event::UserChanged`] to its clients, which update the mark before their next request.

mod changes;
mod check;
mod describe;
mod file;
pub mod log;
mod rules;
pub mod user;

pub use changes::UserChanges;
pub use check::Denied;
pub use describe::user_line;
pub use log::Context;
pub use rules::{RuleError, merge_selectors};
pub use user::User;

use crate::clients::rate_limits::Buckets;
use log::AclLog;
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The user of clients that have not authenticated.
pub const DEFAULT_USER: &str = "default";

/// A user's name, with its current permissions.
pub struct Account {
    /// The name as `CLIENT LIST` shows it.
    pub name: String,
    /// The rate limiter's buckets for requests made in its name; used only where a limit is set.
    pub(crate) buckets: Buckets,
    current: RwLock<Arc<User>>,
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Rules hold hashes of passwords: not for logs.
        f.debug_struct("Account").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Account {
    fn new(name: &[u8], user: User) -> Arc<Self> {
        let name = String::from_utf8_lossy(name).into_owned();
        let (buckets, current) = (Buckets::default(), RwLock::new(Arc::new(user)));
        Arc::new(Account { name, buckets, current })
    }

    /// The user's permissions as they are now; a later change makes another `User`.
    pub fn user(&self) -> Arc<User> {
        self.current.read().clone()
    }
}

/// All users by name.
type Accounts = BTreeMap<Vec<u8>, Arc<Account>>;

/// The users of a server.
pub struct Acl {
    accounts: RwLock<Accounts>,
    default: Arc<Account>,
    /// Changes happen one after the other.
    changing: Mutex<()>,
    /// `ACL LOG`.
    pub log: AclLog,
}

impl Default for Acl {
    fn default() -> Self {
        let default = Account::new(DEFAULT_USER.as_bytes(), User::all_powerful());
        let accounts = BTreeMap::from([(DEFAULT_USER.as_bytes().to_vec(), default.clone())]);
        Acl {
            accounts: RwLock::new(accounts),
            default,
            changing: Mutex::new(()),
            log: AclLog::default(),
        }
    }
}

impl Acl {
    /// The user called `name`.
    pub fn find(&self, name: &[u8]) -> Option<Arc<Account>> {
        self.accounts.read().get(name).cloned()
    }

    /// The account of `default`.
    pub fn default_account(&self) -> &Arc<Account> {
        &self.default
    }

    /// Whether clients may do without AUTH.
    pub fn is_open(&self) -> bool {
        let user = self.default.current.read();
        user.enabled && user.nopass
    }

    /// Whether the default user needs a password.
    pub fn has_default_password(&self) -> bool {
        !self.default.current.read().nopass
    }

    /// All users, by name.
    pub fn list(&self) -> Vec<(Vec<u8>, Arc<User>)> {
        let accounts = self.accounts.read();
        accounts.iter().map(|(name, account)| (name.clone(), account.user())).collect()
    }

    /// The account for these credentials, if they are right and the user is not `off`.
    pub fn authenticate(&self, name: &[u8], password: &[u8]) -> Option<Arc<Account>> {
        let account = self.find(name)?;
        account.user().admits(password).then_some(account)
    }
}
