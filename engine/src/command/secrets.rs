//! Which arguments of a request are secret: passwords, the names that go with them, what users may
//! do.
//!
//! Rows declare it ([`Secret`]), and directives do ([`Directive::sensitive`]). Whatever shows
//! requests to others than their sender (`MONITOR`, `SLOWLOG`, `CAPTURE`) asks
//! [`CommandTable::shown`](super::CommandTable::shown) for their arguments.
//!
//! [`Directive::sensitive`]: crate::config::Directive

use super::options::Options;

/// The positions of a command's secrets.
#[derive(Clone, Copy, Debug)]
pub enum Secret {
    /// Every argument from this one on.
    From(usize),
    /// The values of some of the command's options: the options begin at this argument, and those
    /// with these words have secret values.
    Options(usize, Options, &'static [&'static str]),
    /// The values of sensitive directives, whose names stand at this argument or behind it.
    Directives(usize),
    /// The secrets of the command that begins at this argument.
    Command(usize),
}

#[cfg(test)]
mod tests {
    #[test]
    fn directives_that_hold_a_password_say_so() {
        for directive in crate::config::all() {
            let named = ["pass", "auth", "user"].iter().any(|word| directive.name.ends_with(word));
            let limit = directive.name.starts_with("rate-limit-");
            assert!(directive.sensitive || limit || !named, "{}", directive.name);
        }
    }
}
