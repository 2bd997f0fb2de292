//! Rules about the Debian package that `cargo deb` makes of `server/Cargo.toml`: everything in it exists, and the
//! unit finds what it starts.

use super::tree::{Tree, Violation};
use toml::{Table, Value};

const MANIFEST: &str = "server/Cargo.toml";

/// The folder where cargo puts binaries; `cargo deb` builds them.
const BUILT: &str = "target/release/";

/// The files of the package are there, and the unit's program and configuration are among them.
pub fn debian(tree: &Tree) -> Vec<Violation> {
    let objections = match Package::read(tree) {
        Ok(package) => package.objections(tree),
        Err(what) => vec![what],
    };
    let violation = |what| Violation::new(MANIFEST, 1, "package", what);
    objections.into_iter().map(violation).collect()
}

/// The part of `package.metadata.deb` that names files.
struct Package {
    /// The source of each file, from the project's root, its folder or path when installed, and its mode.
    assets: Vec<[String; 3]>,
    /// Folders and files that are read when the package is made.
    sources: Vec<String>,
    conf_files: Vec<String>,
    binaries: Vec<String>,
    unit: String,
}

/// A path in the manifest, from the project's root.
fn from_root(path: &str) -> String {
    match path.strip_prefix("../") {
        Some(outside) => outside.to_owned(),
        None if path.starts_with(BUILT) => path.to_owned(),
        None => format!("server/{path}"),
    }
}

fn texts(value: Option<&Value>) -> Vec<String> {
    let list = value.and_then(Value::as_array).into_iter().flatten();
    list.filter_map(|text| text.as_str().map(str::to_owned)).collect()
}

impl Package {
    fn read(tree: &Tree) -> Result<Package, String> {
        let text = &tree.file(MANIFEST).ok_or("there is no such file")?.text;
        let manifest: Table = text.parse().map_err(|error| format!("{error}"))?;
        let deb = manifest.get("package").and_then(|it| it.get("metadata")?.get("deb"));
        let deb = deb.ok_or("has no package.metadata.deb")?;
        let text = |key: &str| deb.get(key).and_then(Value::as_str).unwrap_or_default();
        let units = deb.get("systemd-units").and_then(|units| units.get("unit-scripts")?.as_str());
        let units = from_root(units.ok_or("has no systemd-units.unit-scripts")?);
        let licence = texts(deb.get("license-file")).into_iter().take(1);
        let sources = licence.chain([text("maintainer-scripts").to_owned()]);
        let unit = format!("{units}{}.service", text("name"));
        let bins = manifest.get("bin").and_then(Value::as_array).into_iter().flatten();
        let binary = |bin: &Value| Some(bin.get("name")?.as_str()?.to_owned());
        let assets = deb.get("assets").and_then(Value::as_array).into_iter().flatten();
        let asset = |asset: &Value| <[String; 3]>::try_from(texts(Some(asset)));
        let assets: Result<Vec<_>, _> = assets.map(asset).collect();
        Ok(Package {
            assets: assets.map_err(|asset| format!("{asset:?} is not source, target and mode"))?,
            sources: sources.map(|path| from_root(&path)).chain([unit.clone()]).collect(),
            conf_files: texts(deb.get("conf-files")),
            binaries: bins.filter_map(binary).collect(),
            unit,
        })
    }

    fn objections(&self, tree: &Tree) -> Vec<String> {
        let sources = self.assets.iter().map(|[source, ..]| from_root(source));
        let missing = sources.chain(self.sources.iter().cloned());
        let missing = missing.filter(|source| !self.is_there(source, tree));
        let mut found: Vec<String> =
            missing.map(|source| format!("there is no {source} for the package")).collect();
        let modes = self.assets.iter().filter(|[.., mode]| u32::from_str_radix(mode, 8).is_err());
        found.extend(modes.map(|[source, _, mode]| format!("{source}: {mode} is no mode")));
        let installed = self.installed();
        let lacks = |path: &&String| !installed.contains(path);
        let conf_files = self.conf_files.iter().filter(lacks);
        found.extend(conf_files.map(|path| format!("{path} is not among the assets")));
        let unit = tree.file(&self.unit).map_or("", |file| &file.text);
        let started = unit.lines().find_map(|line| line.strip_prefix("ExecStart="));
        let paths = started.unwrap_or_default().split(' ').take(2).map(str::to_owned);
        let lost = paths.filter(|path| !installed.contains(path));
        found.extend(lost.map(|path| format!("{}: '{path}' is not installed", self.unit)));
        found
    }

    fn is_there(&self, source: &str, tree: &Tree) -> bool {
        match source.strip_prefix(BUILT) {
            Some(binary) => self.binaries.iter().any(|name| name == binary),
            None => !source.is_empty() && tree.exists(source),
        }
    }

    /// The paths of all assets once the package is installed.
    fn installed(&self) -> Vec<String> {
        let path = |[source, target, _]: &[String; 3]| {
            let name = source.rsplit('/').next().unwrap_or_default();
            let file = if target.ends_with('/') { name } else { "" };
            format!("/{target}{file}")
        };
        self.assets.iter().map(path).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tree::File;

    const GOOD: &str = r#"
        [[bin]]
        name = "varve"
        [package.metadata.deb]
        name = "varve"
        license-file = ["../LICENSE", "0"]
        assets = [["target/release/varve", "usr/bin/", "755"], ["../a.toml", "etc/a.toml", "644"]]
        conf-files = ["/etc/a.toml"]
        maintainer-scripts = "../scripts/"
        [package.metadata.deb.systemd-units]
        unit-scripts = "../units/"
    "#;

    /// The objections of the rule to this manifest.
    fn said(manifest: &str, unit: &str) -> Vec<String> {
        let file = |path: &str, text: &str| File { path: path.into(), text: text.into() };
        let mut files: Vec<File> =
            ["LICENSE", "a.toml", "scripts/postinst"].iter().map(|path| file(path, "")).collect();
        files.push(file(MANIFEST, manifest));
        files.push(file("units/varve.service", unit));
        debian(&Tree { files }).into_iter().map(|violation| violation.what).collect()
    }

    #[test]
    fn what_is_in_the_package_must_exist_and_fit_together() {
        const UNIT: &str = "[Service]\nExecStart=/usr/bin/varve /etc/a.toml --dir /d\n";
        assert_eq!(said(GOOD, UNIT), [""; 0]);
        let one = |from: &str, to: &str| said(&GOOD.replace(from, to), UNIT).join("; ");
        assert_eq!(one("../a.toml", "../b.toml"), "there is no b.toml for the package");
        assert!(one("release/varve", "release/other").contains("there is no target/release/other"));
        assert_eq!(one("../LICENSE", "LICENSE"), "there is no server/LICENSE for the package");
        assert_eq!(one("../scripts", "../none"), "there is no none/ for the package");
        assert_eq!(one("644", "rw"), "../a.toml: rw is no mode");
        assert_eq!(one("[\"/etc/a", "[\"/etc/b"), "/etc/b.toml is not among the assets");
        assert!(one("../units", "../others").contains("there is no others/varve.service"));
        assert!(one("\"usr/bin/\", ", "").contains("is not source, target and mode"));
        assert_eq!(one("metadata.deb", "metadata.rpm"), "has no package.metadata.deb");
        let elsewhere = said(GOOD, "ExecStart=/usr/local/bin/varve /etc/a.toml\n");
        assert_eq!(elsewhere, ["units/varve.service: '/usr/local/bin/varve' is not installed"]);
    }
}
