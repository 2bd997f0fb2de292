//! Checks the flags that a script declares, before it runs.

use super::Scripting;
use crate::command::{CommandEntry, Flag, Flags, RunsScript};
use resp::Request;
use script::Sha;
use script::shebang::{self, ScriptFlags};

impl Scripting {
    /// The flags of a request: those of its row, unless it calls a script that has flags of its
    /// own. Source: Redis's `getCommandFlags` and `scriptFlagsToCmdFlags`.
    pub(crate) fn request_flags(&self, entry: &CommandEntry, request: Request<'_>) -> Flags {
        match self.script_flags(entry, request) {
            Some(script) if !script.contains(ScriptFlags::COMPATIBLE) => {
                as_command(entry.flags, script)
            }
            _ => entry.flags,
        }
    }

    /// The flags of the script or function that a request calls, if it does and they are known.
    fn script_flags(&self, entry: &CommandEntry, request: Request<'_>) -> Option<ScriptFlags> {
        let how = entry.spec.runs_script?;
        let script = request.get(1)?;
        match how {
            RunsScript::Text => Some(shebang::script(script).ok()?.0),
            RunsScript::Digest => self.flags_of(&Sha::parse(script)?),
            RunsScript::Function => {
                let libraries = self.libraries.read();
                libraries.function(script).map(|(_, function)| function.flags)
            }
        }
    }
}

/// A row's flags as changed by those of a script.
fn as_command(row: Flags, script: ScriptFlags) -> Flags {
    let changed = [Flag::Stale, Flag::DenyOom, Flag::Write, Flag::MayReplicate];
    let row = changed.iter().fold(row, |row, flag| row.difference(flag.set()));
    let has = |any| script.intersects(any);
    let given = [
        (Flag::DenyOom, !has(ScriptFlags::ALLOW_OOM | ScriptFlags::NO_WRITES)),
        (Flag::Write, !has(ScriptFlags::NO_WRITES)),
        (Flag::Stale, has(ScriptFlags::ALLOW_STALE)),
    ];
    given.iter().filter(|(_, given)| *given).fold(row, |row, (flag, _)| row | flag.set())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_without_flags_writes_and_grows() {
        let row = Flag::MayReplicate.set() | Flag::Stale.set() | Flag::NoScript.set();
        let writes = Flag::NoScript.set() | Flag::Write.set();
        assert_eq!(as_command(row, ScriptFlags::empty()), writes | Flag::DenyOom.set());
        assert_eq!(as_command(row, ScriptFlags::ALLOW_OOM), writes);
        assert_eq!(as_command(row, ScriptFlags::NO_WRITES), Flag::NoScript.set());
    }
}
