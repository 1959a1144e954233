//! TypeScript, which knows what others take for a manifest or a dashboard.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const COMPILER: &[&str] = &[
    "--noEmit",
    "--strict",
    "--skipLibCheck",
    "--module",
    "nodenext",
    "--target",
    "es2022",
];

/// Has it look at modules, each with its name: whether all are good, and what it says of them.
pub fn compile<N: AsRef<str>>(modules: &[(N, String)]) -> (bool, String) {
    let packages = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/node_packages");
    let compiler = packages.join("node_modules/typescript/bin/tsc");
    assert!(
        compiler.exists(),
        "{} is missing: run `make node_packages`, which brings it (`make test` does)",
        compiler.display()
    );
    // Packages are looked for in the folders above.
    let folder = tempfile::tempdir_in(&packages).expect("a folder of our own");
    let paths = modules.iter().map(|(name, module)| {
        let path = folder.path().join(format!("{}.mts", name.as_ref()));
        fs::write(&path, module).expect("our own folder");
        path
    });
    let paths: Vec<PathBuf> = paths.collect();
    let output = Command::new("node")
        .arg(&compiler)
        .args(COMPILER)
        .args(paths)
        .output()
        .expect("node starts: apt-get install nodejs");
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.success(), told)
}
