//! May this request run?

use super::Account;
use super::log::{Context, Denial, Reason};
use super::user::{Selector, User};
use crate::command::{Channels, CommandEntry, Flag, Found};
use crate::engine::Engine;
use crate::failure::{Failure, failure};
use crate::session::state::SessionState;
use crate::text::glob;
use resp::Request;
use std::cmp::Ordering as Order;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The reason why a user may not execute a request, from the least telling reason to the most
/// telling one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Denied {
    /// The command.
    Command,
    /// The key at this argument.
    Key(usize),
    /// The channel at this argument.
    Channel(usize),
}

impl Denied {
    /// The text of the refusal (Redis's `NOPERM …`); with `full`, the key or channel is named in it.
    pub fn text(
        self,
        user: &str,
        entry: &CommandEntry,
        request: Request<'_>,
        full: bool,
    ) -> String {
        let arg = |at| String::from_utf8_lossy(request.get(at).unwrap_or_default());
        match self {
            Denied::Command => {
                let command = &entry.full_name;
                format!("User {user} has no permissions to run the '{command}' command")
            }
            Denied::Key(at) if full => {
                format!("User {user} has no permissions to access the '{}' key", arg(at))
            }
            Denied::Key(_) => "No permissions to access a key".into(),
            Denied::Channel(at) if full => {
                format!("User {user} has no permissions to access the '{}' channel", arg(at))
            }
            Denied::Channel(_) => "No permissions to access a channel".into(),
        }
    }

    const fn reason(self) -> Reason {
        match self {
            Denied::Command => Reason::Command,
            Denied::Key(_) => Reason::Key,
            Denied::Channel(_) => Reason::Channel,
        }
    }
}

/// The arguments that are channels, and whether they are patterns.
fn channels(entry: &CommandEntry, request: Request<'_>) -> (Range<usize>, bool) {
    match entry.spec.channels {
        Channels::None => (0..0, false),
        Channels::First => (1..request.len().min(2), false),
        Channels::All => (1..request.len(), false),
        Channels::Patterns => (1..request.len(), true),
    }
}

impl Selector {
    fn may_run(&self, entry: &CommandEntry, request: Request<'_>) -> bool {
        if self.all_commands || entry.has(Flag::NoAuth) || self.commands.contains(entry.id) {
            return true;
        }
        // A container with an unknown subcommand only replies with an error.
        if !entry.subcommands.is_empty() && request.len() > 1 {
            return true;
        }
        let Some(allowed) = self.first_args.get(&entry.id) else { return false };
        let first = request.get(1).unwrap_or_default();
        request.len() > 1 && allowed.iter().any(|arg| arg.eq_ignore_ascii_case(first))
    }

    /// Whether a key may be used to read or write.
    pub fn may_use(&self, key: &[u8], read: bool, write: bool) -> bool {
        let fits = |pattern: &super::user::KeyPattern| {
            pattern.read >= read
                && pattern.write >= write
                && glob::matches(&pattern.pattern, key, false)
        };
        self.all_keys || self.keys.iter().any(fits)
    }

    /// Whether a channel may be used. A pattern must be one of the allowed patterns, literally.
    pub fn may_listen(&self, channel: &[u8], literal: bool) -> bool {
        let fits = |pattern: &Vec<u8>| match literal {
            true => pattern == channel,
            false => glob::matches(pattern, channel, false),
        };
        self.all_channels || self.channels.iter().any(fits)
    }

    fn check(
        &self,
        entry: &CommandEntry,
        request: Request<'_>,
        keys: &mut Option<Found>,
    ) -> Result<(), Denied> {
        if !self.may_run(entry, request) {
            return Err(Denied::Command);
        }
        if !self.all_keys && !entry.spec.keys.is_empty() {
            // A request whose keys cannot be determined is refused by its handler.
            let keys = keys.get_or_insert_with(|| entry.keys(request).unwrap_or_default());
            for key in keys {
                if !self.may_use(request.arg(key.index), key.is_read(), key.is_written()) {
                    return Err(Denied::Key(key.index));
                }
            }
        }
        let (mut channels, literal) = channels(entry, request);
        if let Some(at) = channels.find(|at| !self.may_listen(request.arg(*at), literal)) {
            return Err(Denied::Channel(at));
        }
        Ok(())
    }
}

impl User {
    /// Whether the user may run a request: whether one of the selectors allows all of it. If none
    /// does, the answer is that which came closest.
    ///
    /// # Errors
    /// The first thing that the user may not do.
    pub fn check(&self, entry: &CommandEntry, request: Request<'_>) -> Result<(), Denied> {
        let mut keys = None;
        let mut closest = Denied::Command;
        for selector in self.all() {
            match selector.check(entry, request, &mut keys) {
                Ok(()) => return Ok(()),
                Err(denied) if denied.cmp(&closest) == Order::Greater => closest = denied,
                Err(_) => {}
            }
        }
        Err(closest)
    }

    /// Whether one of the selectors allows a channel.
    pub fn may_listen(&self, channel: &[u8], literal: bool) -> bool {
        self.all().any(|selector| selector.may_listen(channel, literal))
    }

    /// Whether a command may read every key: what `SORT … BY` and `GET` need.
    pub fn may_read_all(&self, entry: &CommandEntry, request: Request<'_>) -> bool {
        let every = |selector: &Selector| {
            let star = |key: &super::user::KeyPattern| key.read && key.pattern == b"*";
            selector.all_keys || selector.keys.iter().any(star)
        };
        self.all().any(|selector| selector.may_run(entry, request) && every(selector))
    }
}

impl Engine {
    /// Whether the session's user may run a request, from wherever it comes: the one function to
    /// ask. A refusal is noted in `ACL LOG` and counted.
    ///
    /// # Errors
    /// The error to reply.
    #[inline]
    pub(crate) fn check_permission(
        &self,
        session: &SessionState,
        entry: &CommandEntry,
        request: Request<'_>,
        context: Context,
        now_ms: u64,
    ) -> Result<(), Failure> {
        if !session.is_restricted() {
            return Ok(());
        }
        self.denied(session, entry, request, context, now_ms).map_or(Ok(()), |denied| {
            let user = session.user_name();
            let text = denied.text(&user, entry, request, false);
            Err(Failure::text(match context {
                Context::Lua => format!("NOPERM ACL failure in script: {text}"),
                _ => format!("NOPERM {text}"),
            }))
        })
    }

    /// Whether the session's user may have a request read keys that it does not declare: if he may
    /// read every key.
    pub fn may_read_all(
        &self,
        session: &SessionState,
        entry: &CommandEntry,
        request: Request<'_>,
    ) -> bool {
        !session.is_restricted() || self.account_of(session).user().may_read_all(entry, request)
    }

    /// The account of the session's user.
    fn account_of(&self, session: &SessionState) -> Arc<Account> {
        session.account().unwrap_or_else(|| self.acl.default_account().clone())
    }

    /// As [`Engine::check_permission`], of a command that was queued before the rules changed.
    pub(crate) fn check_queued(
        &self,
        session: &SessionState,
        entry: &CommandEntry,
        request: Request<'_>,
        now_ms: u64,
    ) -> Result<(), Failure> {
        if !session.is_restricted() {
            return Ok(());
        }
        match self.denied(session, entry, request, Context::Multi, now_ms) {
            None => Ok(()),
            Some(Denied::Command) => Err(failure(
                "NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC call. This command is no longer allowed for the following reason: no permission to execute the command or subcommand",
            )),
            Some(Denied::Key(_)) => Err(failure(
                "NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC call. This command is no longer allowed for the following reason: no permission to touch the specified keys",
            )),
            Some(Denied::Channel(_)) => Err(failure(
                "NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC call. This command is no longer allowed for the following reason: no permission to access one of the channels used as arguments to the command",
            )),
        }
    }

    /// Whether the session's user may run a request; noted nowhere.
    pub(crate) fn may_run(
        &self,
        session: &SessionState,
        entry: &CommandEntry,
        request: Request<'_>,
    ) -> bool {
        !session.is_restricted() || self.account_of(session).user().check(entry, request).is_ok()
    }

    #[cold]
    fn denied(
        &self,
        session: &SessionState,
        entry: &CommandEntry,
        request: Request<'_>,
        context: Context,
        now_ms: u64,
    ) -> Option<Denied> {
        let denied = self.account_of(session).user().check(entry, request).err()?;
        let object = match denied {
            Denied::Command => entry.full_name.as_bytes(),
            Denied::Key(at) | Denied::Channel(at) => request.get(at).unwrap_or_default(),
        };
        let name = session.user_name();
        self.note_denied(session, denied.reason(), context, object, name.as_bytes(), now_ms);
        Some(denied)
    }

    /// Counts a refusal and notes it in `ACL LOG`.
    pub fn note_denied(
        &self,
        session: &SessionState,
        reason: Reason,
        context: Context,
        object: &[u8],
        user: &[u8],
        now_ms: u64,
    ) {
        self.acl.log.denied[reason as usize].fetch_add(1, Ordering::Relaxed);
        self.acl.log.add(Denial {
            count: 1,
            reason,
            context,
            object: object.to_vec(),
            user: user.to_vec(),
            client: crate::clients::describe(self, session.client(), true, now_ms),
            id: 0,
            created_ms: now_ms,
            updated_ms: now_ms,
        });
    }
}
