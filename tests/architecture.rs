//! Keeps the house in order: who may import whom, what may touch the world outside, how files look.
//!
//! It reads the sources as text. The rules are tables below, so that a change of the architecture is
//! a change of one line here, made on purpose. What the compiler and clippy can keep is theirs.

#[path = "support/source.rs"]
mod source;

use source::{Source, is_within};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A row of the table of layers.
struct Layer {
    name: &'static str,
    /// Modules of this crate that it may import; `module::Item` allows that item only.
    imports: &'static [&'static str],
    /// Crates from outside that it may use, besides those that every module may.
    crates: &'static [&'static str],
}

const fn layer(
    name: &'static str,
    imports: &'static [&'static str],
    crates: &'static [&'static str],
) -> Layer {
    Layer {
        name,
        imports,
        crates,
    }
}

/// From the words at the bottom up to the two shells. Unit tests may also use whatever stands above
/// their module here, but nothing below it.
const LAYERS: &[Layer] = &[
    layer("ids", &[], &[]),
    layer("limits", &[], &[]),
    layer("sanitize", &[], &[]),
    layer("time", &[], &[]),
    layer("memory", &["ids", "limits"], &["nix"]),
    layer(
        "procfs",
        &["ids", "limits", "memory::RemoteAddr", "time"],
        &["nix"],
    ),
    layer("elf", &["memory::RemoteAddr"], &["goblin"]),
    layer("graph", &["ids", "limits", "time"], &[]),
    layer(
        "cpython",
        &[
            "memory",
            "elf",
            "procfs",
            "ids",
            "limits",
            "graph::NewFrame",
            "graph::Via",
        ],
        &[],
    ),
    layer(
        "asyncio",
        &[
            "cpython",
            "graph",
            "memory",
            "ids",
            "limits",
            "procfs::Maps",
        ],
        &[],
    ),
    layer(
        "process",
        &[
            "asyncio", "cpython", "elf", "procfs", "memory", "graph", "ids", "limits",
        ],
        &["nix"],
    ),
    layer("analysis", &["graph", "ids", "time", "limits"], &[]),
    layer(
        "spans",
        &["graph", "analysis", "ids", "sanitize", "time"],
        &[],
    ),
    layer(
        "render",
        &["graph", "analysis", "spans", "ids", "sanitize", "time"],
        &["unicode_width"],
    ),
    layer(
        "metrics",
        &["graph", "analysis", "ids", "limits", "sanitize", "time"],
        &[],
    ),
    layer(
        "export",
        &["metrics", "spans", "ids", "sanitize", "time"],
        &[
            "prometheus",
            "opentelemetry",
            "opentelemetry_sdk",
            "opentelemetry_proto",
            "prost",
        ],
    ),
    layer(
        "protocol",
        &["graph", "analysis", "ids", "time", "limits", "sanitize"],
        &["serde", "serde_json", "serde_path_to_error"],
    ),
    layer(
        "config",
        &["ids", "limits", "sanitize", "time"],
        &[
            "serde",
            "serde_yaml",
            "serde_path_to_error",
            "regex",
            "percent_encoding",
        ],
    ),
    layer(
        "targets",
        &["config", "process", "procfs", "ids", "limits", "sanitize"],
        &[],
    ),
    layer(
        "diagnosis",
        &[
            "graph", "protocol", "config", "targets", "process", "procfs", "ids",
        ],
        &[],
    ),
    layer(
        "agent",
        &[
            "ids",
            "limits",
            "time",
            "memory",
            "procfs",
            "elf",
            "graph",
            "cpython",
            "asyncio",
            "process",
            "analysis",
            "render",
            "metrics",
            "spans",
            "export",
            "protocol",
            "config",
            "sanitize",
            "targets",
            "diagnosis",
        ],
        &[
            "nix",
            "tokio",
            "hyper",
            "hyper_util",
            "tokio_rustls",
            "bcrypt",
            "base64",
            "percent_encoding",
            "prometheus",
            "opentelemetry",
            "opentelemetry_sdk",
            "opentelemetry_otlp",
            "opentelemetry_http",
            "opentelemetry_proto",
            "flate2",
            "tonic",
            "tonic_types",
            "prost",
            "httpdate",
            "hyper_rustls",
            "sd_notify",
            "tracing",
            "tracing_subscriber",
            "tracing_appender",
            "clap",
            "regex",
        ],
    ),
    layer(
        "cli",
        &[
            "protocol",
            "render",
            "analysis",
            "graph",
            "process",
            "procfs",
            "config",
            "ids",
            "limits",
            "sanitize",
            "targets",
            "diagnosis",
            "time",
            "spans",
            // Only the agent knows what the files of its configuration should hold.
            "agent::check_files",
            // The manual page of the daemon and its completions.
            "agent::command",
            // And only it has an exporter.
            "agent::TraceSender",
            "agent::AgentError",
            "agent::SendError",
            "agent::TracedProcess",
        ],
        &[
            "clap",
            "clap_complete",
            "clap_mangen",
            "terminal_size",
            "regex",
            "tracing",
            // Flags of open(2).
            "nix",
        ],
    ),
];

/// Crates that hold nothing but words of Rust: derives and a hash function.
const CRATES_FOR_ALL: &[&str] = &["thiserror", "rustc_hash"];

/// Crates of the unit tests.
const CRATES_FOR_TESTS: &[&str] = &["expect_test", "proptest", "tempfile", "serde_json"];

/// What reaches out of the process, and the places (a module, or one file) that may use it.
const REACHES_OUT: &[(&[&str], &[&str])] = &[
    (
        // Addresses are values; only what opens a socket or asks a name server reaches out.
        &[
            "std::fs",
            "std::process",
            "std::os",
            "std::net::TcpListener",
            "std::net::TcpStream",
            "std::net::UdpSocket",
            "std::net::ToSocketAddrs",
        ],
        &[
            "procfs",
            "memory/process_vm.rs",
            "memory/tape.rs",
            "config/load.rs",
            "agent",
            "cli",
            "bin",
        ],
    ),
    // ptrace(2) knows a tracer as a thread, and it has to keep the limit of a pause. A process that
    // executes another program is given a moment for it.
    (
        &["std::thread"],
        &["agent", "cli", "process/freeze", "process/image.rs"],
    ),
    (&["std::env"], &["config/load.rs", "agent", "cli", "bin"]),
    (
        &["std::time::Instant", "std::time::SystemTime"],
        &["agent/clock.rs", "cli", "process/freeze"],
    ),
];

const VAGUE_NAMES: &[&str] = &["util", "utils", "helper", "helpers", "common", "misc"];

const LINES_PER_FILE_MAX: usize = 700;

#[test]
fn modules_import_only_what_their_layer_may() {
    let mut offences = Vec::new();
    for source in sources_of_library() {
        let layer = layer_of(&source);
        for path in source.paths() {
            let Some(rest) = path.text.strip_prefix("crate::") else {
                continue;
            };
            let module = rest.split("::").next().unwrap_or(rest);
            let allowed = module == layer.name
                || module == "*" && source.shown == "src/lib.rs"
                || layer.imports.iter().any(|import| is_within(rest, import))
                || path.in_tests && stands_before(module, layer);
            if !allowed {
                offences.push(format!(
                    "{}: `{}` may not import `{rest}`",
                    path.at, layer.name
                ));
            }
        }
    }
    assert_none(
        &offences,
        "imports against the layers (see the table in this test)",
    );
}

#[test]
fn modules_use_only_the_crates_of_their_layer() {
    let dependencies = dependencies();
    let mut offences = Vec::new();
    for source in sources_of_library() {
        let layer = layer_of(&source);
        for path in source.paths() {
            let first = path.text.split("::").next().unwrap_or_default();
            let allowed = !dependencies.contains(first)
                || layer.crates.contains(&first)
                || CRATES_FOR_ALL.contains(&first)
                || path.in_tests && CRATES_FOR_TESTS.contains(&first);
            if !allowed {
                offences.push(format!(
                    "{}: `{}` may not use `{first}`",
                    path.at, layer.name
                ));
            }
        }
    }
    assert_none(
        &offences,
        "crates used outside their layer (see the table in this test)",
    );
}

#[test]
fn only_the_edges_reach_out() {
    let mut offences = Vec::new();
    for source in sources_below("src") {
        let place = source.shown.trim_start_matches("src/");
        for path in source.paths().iter().filter(|path| !path.in_tests) {
            for (reaching, places) in REACHES_OUT {
                let reaches = reaching.iter().any(|prefix| is_within(&path.text, prefix));
                let allowed = places
                    .iter()
                    .any(|allowed| Path::new(place).starts_with(allowed));
                if reaches && !allowed {
                    offences.push(format!(
                        "{}: `{}` is not for this place",
                        path.at, path.text
                    ));
                }
            }
        }
    }
    assert_none(&offences, "I/O, environment or clocks where none belong");
}

#[test]
fn every_module_of_the_library_has_its_row() {
    let rows: BTreeSet<&str> = LAYERS.iter().map(|layer| layer.name).collect();
    let library = fs::read_to_string(root().join("src/lib.rs")).expect("src/lib.rs");
    let mut offences = Vec::new();
    for line in library.lines() {
        if let Some(module) = line.trim().strip_prefix("pub mod ") {
            let module = module.trim_end_matches(';');
            if !rows.contains(module) {
                offences.push(format!("src/lib.rs: `{module}` is in no row of the table"));
            }
        } else if !line.is_empty() && !line.starts_with("//") && !line.starts_with("#[cfg(") {
            offences.push(format!("src/lib.rs: more than `pub mod` lines: {line}"));
        }
    }
    assert_none(&offences, "modules outside the architecture");
}

#[test]
fn binaries_only_call_the_library() {
    let mut offences = Vec::new();
    for source in sources_below("src/bin") {
        if source.code.lines().any(|line| {
            let line = line.trim_start();
            line.starts_with("mod ") || line.starts_with("pub mod ")
        }) {
            offences.push(format!("{}: declares a module", source.shown));
        }
        for path in source.paths() {
            if let Some(rest) = path.text.strip_prefix("asyncio_agent::")
                && !is_within(rest, "agent")
                && !is_within(rest, "cli")
            {
                offences.push(format!("{}: `{}` is for the library", path.at, path.text));
            }
        }
        if source.n_lines > 60 {
            offences.push(format!(
                "{}: {} lines, at most 60",
                source.shown, source.n_lines
            ));
        }
    }
    assert_none(&offences, "binaries that do more than call");
}

#[test]
fn files_are_short_headed_and_named_for_what_they_hold() {
    let mut offences = Vec::new();
    for path in files_below("src").into_iter().chain(files_below("tests")) {
        let shown = shown(&path);
        let extension = path
            .extension()
            .and_then(|e| e.to_str())
            .unwrap_or_default();
        if !["rs", "py", "sh"].contains(&extension) {
            continue;
        }
        let text = fs::read_to_string(&path).expect("a source file is UTF-8");
        let n_lines = text.lines().count();
        if n_lines > LINES_PER_FILE_MAX {
            offences.push(format!(
                "{shown}: {n_lines} lines, at most {LINES_PER_FILE_MAX}"
            ));
        }
        let header = match extension {
            "rs" => "//! ",
            "py" => "\"\"\"",
            _ => "#!/",
        };
        if !text.starts_with(header) {
            offences.push(format!("{shown}: does not open with a `{header}` header"));
        }
        for part in path.iter().filter_map(|part| part.to_str()) {
            let stem = part.split('.').next().unwrap_or(part);
            if VAGUE_NAMES.contains(&stem) && shown.contains(part) {
                offences.push(format!("{shown}: `{stem}` says nothing of what is in it"));
            }
        }
    }
    assert_none(&offences, "files against the house style");
}

#[test]
fn no_test_is_switched_off_and_no_getter_says_get() {
    let mut offences = Vec::new();
    for source in sources_below("src")
        .into_iter()
        .chain(sources_below("tests"))
    {
        for (number, line) in source.code.lines().enumerate() {
            let at = format!("{}:{}", source.shown, number + 1);
            if line.contains("#[ignore") {
                offences.push(format!(
                    "{at}: an ignored test; assert what is so today and say why"
                ));
            }
            if source.shown.starts_with("src/") && line.contains("fn get_") {
                offences.push(format!("{at}: a getter is named for what it gives"));
            }
            for name in VAGUE_NAMES {
                if line.contains(&format!("mod {name} ")) || line.contains(&format!("mod {name};"))
                {
                    offences.push(format!("{at}: a module named `{name}`"));
                }
            }
        }
    }
    assert_none(&offences, "house rules broken");
}

/// Whether a module has its row before that of `layer`.
fn stands_before(module: &str, layer: &Layer) -> bool {
    LAYERS
        .iter()
        .take_while(|row| row.name != layer.name)
        .any(|row| row.name == module)
}

fn layer_of(source: &Source) -> &'static Layer {
    let name = source.module();
    LAYERS
        .iter()
        .find(|layer| layer.name == name)
        .unwrap_or_else(|| {
            panic!(
                "{}: module `{name}` is in no row of the table",
                source.shown
            )
        })
}

/// The names by which the sources would call the crates of `Cargo.toml`.
fn dependencies() -> BTreeSet<String> {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("Cargo.toml");
    let mut inside = false;
    let mut names = BTreeSet::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line.contains("dependencies");
        } else if inside
            && !line.starts_with('#')
            && let Some((name, _)) = line.split_once('=')
        {
            names.insert(name.trim().replace('-', "_"));
        }
    }
    assert!(
        names.contains("nix") && names.contains("tokio"),
        "Cargo.toml was misread"
    );
    names
}

fn sources_of_library() -> Vec<Source> {
    let mut sources = sources_below("src");
    sources.retain(|source| !source.shown.starts_with("src/bin/") && source.shown != "src/lib.rs");
    assert!(sources.len() > 5, "the sources were not found");
    sources
}

fn sources_below(folder: &str) -> Vec<Source> {
    files_below(folder)
        .into_iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| {
            let text = fs::read_to_string(&path).expect("a source file is UTF-8");
            Source::parse(shown(&path), &text)
        })
        .collect()
}

fn files_below(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the repository") {
            let path = entry.expect("an entry of a folder").path();
            if !path.is_dir() {
                found.push(path);
            } else if !["target", "__pycache__"]
                .iter()
                .any(|name| path.ends_with(name))
            {
                folders.push(path);
            }
        }
    }
    found.sort();
    found
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn shown(path: &Path) -> String {
    let below_root = path.strip_prefix(root()).unwrap_or(path);
    below_root.to_string_lossy().into_owned()
}

fn assert_none(offences: &[String], what: &str) {
    assert!(
        offences.is_empty(),
        "{what}:\n  {}\n",
        offences.join("\n  ")
    );
}
