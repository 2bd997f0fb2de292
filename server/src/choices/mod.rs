//! The implementations that a configuration chooses by name: runtimes and storages.
//!
//! Promises: adding one takes a line in a table and a function. The error for one that was not
//! compiled in differs from that for an unknown one, and names the cargo feature.
//!
//! The module knows nothing of how the chosen parts are used.
//!
//! | module | what |
//! | --- | --- |
//! | [`runtimes`] | the runtimes, and how many threads one gets |
//! | [`storages`] | the storages, and how each is opened |

use crate::StartError;

/// A [`Plugin`] that exists only with its feature: `plugin!("name", "feature", function)`.
macro_rules! plugin {
    ($name:literal, $feature:tt, $make:expr) => {
        $crate::choices::Plugin {
            name: $name,
            feature: $feature,
            #[cfg(feature = $feature)]
            make: Some($make),
            #[cfg(not(feature = $feature))]
            make: None,
        }
    };
}

pub(crate) mod runtimes;
pub(crate) mod storages;

/// An implementation that can be chosen by name.
struct Plugin<Make: 'static> {
    /// Its name in the configuration.
    name: &'static str,
    /// The cargo feature that compiles it in; empty if it always is.
    feature: &'static str,
    /// Creates one; `None` if it is not compiled in.
    make: Option<Make>,
}

/// Finds the implementation that a directive names. If it was not configured (`given` is false),
/// the first one that is compiled in replaces a default that is not.
fn choose<Make: Copy>(
    all: &[Plugin<Make>],
    directive: &'static str,
    value: &str,
    given: bool,
) -> Result<(&'static str, Make), StartError> {
    let named = all.iter().find(|plugin| plugin.name == value);
    let available = || all.iter().filter_map(|plugin| plugin.make.map(|make| (plugin.name, make)));
    let found = named.and_then(|plugin| plugin.make.map(|make| (plugin.name, make)));
    let found = found.or_else(|| if given { None } else { available().next() });
    found.ok_or_else(|| StartError::NotCompiledIn {
        directive,
        value: value.to_owned(),
        feature: named.map(|plugin| plugin.feature),
        available: available().map(|(name, _)| name).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: &[Plugin<u8>] = &[
        Plugin { name: "out", feature: "with-out", make: None },
        Plugin { name: "in", feature: "with-in", make: Some(7) },
    ];

    #[test]
    fn a_default_gives_way_but_a_wish_does_not() {
        assert_eq!(choose(ALL, "layer", "out", false).unwrap(), ("in", 7));
        assert_eq!(choose(ALL, "layer", "in", true).unwrap(), ("in", 7));
        let error = choose(ALL, "layer", "out", true).unwrap_err().to_string();
        assert!(error.contains("--features with-out"), "{error}");
        let error = choose(ALL, "layer", "later", true).unwrap_err().to_string();
        assert_eq!(error, "layer 'later' is not part of this version, or choose in");
    }
}
