//! Access control: who may run which command on which keys and channels.
//!
//! | module | what |
//! | --- | --- |
//! | [`user`] | users and selectors, and the rules that change them |
//! | `describe` | a user as the rules that make it (`ACL LIST`, `ACL GETUSER`) |
//! | `check` | may this request run? |
//! | [`log`] | what was refused (`ACL LOG`) |
//! | `file` | users in an `aclfile` or in a redis.conf |
//!
//! A [`User`] never changes: a change makes another, and puts it into the [`Account`] that sessions
//! hold. A session whose user may do everything has no mark at all, so that its requests are not
//! looked at. Those of others carry `special::RESTRICTED`; a change of a user sends
//! [`Event::UserChanged`] to its clients, which look again before their next request.

mod check;
mod describe;
mod file;
pub mod log;
pub mod user;

pub use check::{Context, Denied};
pub use describe::user_line;
pub use user::{RuleError, User};

use crate::clients::{Client, Event};
use crate::config::{Id, Value};
use crate::engine::Engine;
use crate::pubsub::Space;
use log::AclLog;
use parking_lot::{Mutex, RwLock};
use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Weak};

/// The user of clients that have not said who they are.
pub const DEFAULT_USER: &str = "default";

/// A user's place: what it is called, and what it may do now.
pub struct Account {
    /// The name as `CLIENT LIST` shows it.
    pub name: String,
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
        Arc::new(Account { name, current: RwLock::new(Arc::new(user)) })
    }

    /// What the user may do now.
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
    /// What was refused.
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

impl Engine {
    /// `ACL SETUSER`: all rules or none; the user is made if need be.
    ///
    /// # Errors
    /// The rule that is wrong, and why.
    pub fn set_user(&self, name: &[u8], rules: &[Vec<u8>]) -> Result<(), (Vec<u8>, RuleError)> {
        let _one = self.acl.changing.lock();
        let account = self.acl.find(name);
        let before = account.as_ref().map(|account| account.user());
        let mut user = match &before {
            Some(user) => User::clone(user),
            None => User::new(self.channels_by_default()),
        };
        for rule in rules {
            user.apply(rule, self).map_err(|error| (rule.clone(), error))?;
        }
        match account {
            Some(account) => self.put_user(&account, user),
            None => {
                let account = Account::new(name, user);
                self.acl.accounts.write().insert(name.to_vec(), account);
            }
        }
        Ok(())
    }

    /// `acl-pubsub-default`: whether new users may use all channels.
    pub(crate) fn channels_by_default(&self) -> bool {
        self.config.choice(Id::AclPubsubDefault) == "allchannels"
    }

    /// Replaces what a user may do, and tells its clients.
    fn put_user(&self, account: &Account, user: User) {
        let user = Arc::new(user);
        *account.current.write() = user.clone();
        self.end_forbidden_subscriptions(&account.name, &user);
        // Whoever has not authenticated yet depends on the default user, too.
        let all = account.name == DEFAULT_USER;
        for client in self.clients.list() {
            if all || client.names.lock().user == account.name {
                client.send(Event::UserChanged, 0);
            }
        }
    }

    /// Ends clients that listen to what their user may no longer listen to.
    fn end_forbidden_subscriptions(&self, name: &str, user: &User) {
        for space in [Space::Channel, Space::Pattern, Space::Shard] {
            let literal = space == Space::Pattern;
            let forbidden = |channel: &[u8]| !user.may_listen(channel, literal);
            for client in self.pubsub.listeners_where(space, forbidden) {
                if client.names.lock().user == name {
                    client.kill();
                }
            }
        }
    }

    /// `ACL DELUSER`: whether there was such a user; its clients are disconnected, except `me`,
    /// for whom true is the second answer.
    pub fn delete_user(&self, name: &[u8], me: &Arc<Client>) -> (bool, bool) {
        let _one = self.acl.changing.lock();
        let removed = self.acl.accounts.write().remove(name);
        let mut myself = false;
        if let Some(account) = &removed {
            for client in self.clients.list() {
                if client.names.lock().user == account.name {
                    match client.id == me.id {
                        true => myself = true,
                        false => client.kill(),
                    }
                }
            }
        }
        (removed.is_some(), myself)
    }

    /// Replaces all users by these. Users that go are disconnected; without a `default` among them
    /// that one is as it was at first.
    pub(crate) fn replace_users(&self, users: Vec<(Vec<u8>, User)>) {
        let _one = self.acl.changing.lock();
        let mut new: BTreeMap<Vec<u8>, User> = users.into_iter().collect();
        new.entry(DEFAULT_USER.as_bytes().to_vec()).or_insert_with(User::all_powerful);
        let old = std::mem::take(&mut *self.acl.accounts.write());
        let mut gone: HashSet<String> = HashSet::new();
        let mut kept = Vec::new();
        let mut accounts = Accounts::new();
        for (name, account) in old {
            match new.remove(&name) {
                Some(user) => {
                    kept.push((account.clone(), user));
                    accounts.insert(name, account);
                }
                None => drop(gone.insert(account.name.clone())),
            }
        }
        accounts.extend(new.into_iter().map(|(name, user)| {
            let account = Account::new(&name, user);
            (name, account)
        }));
        *self.acl.accounts.write() = accounts;
        kept.into_iter().for_each(|(account, user)| self.put_user(&account, user));
        for client in self.clients.list() {
            if gone.contains(&client.names.lock().user) {
                client.kill();
            }
        }
    }
}

/// Follows `requirepass` and `acllog-max-len`, now and at every later change.
pub(crate) fn follow(engine: &Arc<Engine>) {
    if !engine.config.text(Id::Requirepass).is_empty() {
        set_default_password(engine, &engine.config.text(Id::Requirepass));
    }
    engine.acl.log.set_max_len(engine.config.integer(Id::AcllogMaxLen) as usize);
    let weak: Weak<Engine> = Arc::downgrade(engine);
    engine.config.on_change(Box::new(move |id, value: &Value| {
        if let Some(engine) = weak.upgrade() {
            match (id, value) {
                (Id::Requirepass, Value::Text(password)) => set_default_password(&engine, password),
                (Id::AcllogMaxLen, Value::Number(n)) => engine.acl.log.set_max_len(*n as usize),
                _ => {}
            }
        }
        Ok(())
    }));
}

/// `requirepass` is the default user's only password; an empty one means none is needed.
fn set_default_password(engine: &Engine, password: &str) {
    let new = match password {
        "" => b"nopass".to_vec(),
        password => [b">", password.as_bytes()].concat(),
    };
    if let Err((_, error)) = engine.set_user(DEFAULT_USER.as_bytes(), &[b"resetpass".to_vec(), new])
    {
        tracing::error!(error = error.text(), "requirepass could not be applied");
    }
}
