//! Users as they are made, changed and deleted, and whom that concerns.

use super::{Account, Accounts, Acl, DEFAULT_USER, RuleError, User};
use crate::clients::{Client, Clients, Event};
use crate::command::CommandTable;
use crate::config::{ConfigStore, Id};
use crate::engine::Engine;
use crate::host::Host;
use crate::notify::pubsub::{PubSub, Space};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// Changes of users, with all that they concern.
pub struct UserChanges<'e> {
    acl: &'e Acl,
    pub(super) commands: &'e CommandTable,
    clients: &'e Clients,
    pubsub: &'e PubSub,
    pub(super) config: &'e ConfigStore,
    pub(super) host: &'e dyn Host,
}

impl<'e> UserChanges<'e> {
    /// Changes of an engine's users.
    pub fn of(engine: &'e Engine) -> Self {
        let Engine { acl, commands, clients, config, .. } = engine;
        let (pubsub, host) = (&engine.notify.pubsub, &*engine.environment.host);
        UserChanges { acl, commands, clients, pubsub, config, host }
    }

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
            user.apply(rule, self.commands, self.channels_by_default())
                .map_err(|error| (rule.clone(), error))?;
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

    /// Replaces a user's permissions, and notifies its clients.
    fn put_user(&self, account: &Account, user: User) {
        let user = Arc::new(user);
        *account.current.write() = user.clone();
        self.end_forbidden_subscriptions(&account.name, &user);
        // Clients that have not authenticated yet depend on the default user, too.
        let all = account.name == DEFAULT_USER;
        for client in self.clients.list() {
            if all || client.names.lock().user == account.name {
                client.send(Event::UserChanged, 0);
            }
        }
    }

    /// Closes clients that are subscribed to channels which their user may no longer use.
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
