//! What is in `deploy/` for containers: the manifests have the types that Kubernetes and the Prometheus Operator say
//! they have, give the agent one privilege, and fit each other, the image and the configuration.
#![cfg(feature = "agent")]

mod support;

use asyncio_agent::config::parse;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use support::typescript::compile;

/// The manifests, and where in `kubernetes-models` or beside it their type is.
const MANIFESTS: &[(&str, &str, &str)] = &[
    ("namespace", "kubernetes-models/v1", "INamespace"),
    ("configmap", "kubernetes-models/v1", "IConfigMap"),
    ("daemonset", "kubernetes-models/apps/v1", "IDaemonSet"),
    (
        "networkpolicy",
        "kubernetes-models/networking.k8s.io/v1",
        "INetworkPolicy",
    ),
    (
        "podmonitor",
        "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1",
        "IPodMonitor",
    ),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: &str) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn manifest(name: &str) -> Value {
    let path = format!("deploy/kubernetes/{name}.yaml");
    serde_yaml::from_str(&text(&path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn module_of(manifest: &Value, from: &str, of: &str) -> String {
    format!("import type {{ {of} }} from '{from}';\n({manifest}) satisfies {of};\n")
}

#[test]
fn manifests_are_what_kubernetes_takes_for_one() {
    let modules = MANIFESTS.iter().map(|(name, from, of)| {
        let manifest = manifest(name);
        (*name, module_of(&manifest, from, of))
    });
    let (is_good, told) = compile(&modules.collect::<Vec<_>>());
    assert!(is_good, "{told}");
}

#[test]
fn a_slip_in_a_manifest_is_found() {
    let slips = [
        ("hostPId", json!(true)),
        ("hostPID", json!("yes")),
        ("containers", json!([{"image": "without a name"}])),
    ];
    let (_, from, of) = MANIFESTS[2];
    let modules = slips.iter().enumerate().map(|(n, (key, value))| {
        let mut manifest = manifest("daemonset");
        manifest["spec"]["template"]["spec"][key] = value.clone();
        (format!("slip-{n}"), module_of(&manifest, from, of))
    });
    let modules: Vec<_> = modules.collect();
    let (_, told) = compile(&modules);
    for (name, _) in &modules {
        assert!(told.contains(&**name), "{name} is not in {told}");
    }
}

fn container() -> Value {
    manifest("daemonset")["spec"]["template"]["spec"]["containers"][0].clone()
}

#[test]
fn the_pod_has_one_privilege() {
    let pod = manifest("daemonset")["spec"]["template"]["spec"].clone();
    assert_eq!(pod["containers"].as_array().map(Vec::len), Some(1));
    assert_eq!(pod["hostPID"], true);
    for key in ["hostNetwork", "hostIPC", "automountServiceAccountToken"] {
        assert_eq!(pod[key], false, "{key}");
    }
    assert_eq!(pod["serviceAccountName"], Value::Null);
    let volumes = pod["volumes"].as_array().expect("a list");
    assert!(volumes.iter().all(|it| it.get("hostPath").is_none()));
    let context = &container()["securityContext"];
    assert_eq!(
        context["capabilities"],
        json!({"drop": ["ALL"], "add": ["SYS_PTRACE"]})
    );
    for (key, value) in [
        ("privileged", false),
        ("allowPrivilegeEscalation", false),
        ("readOnlyRootFilesystem", true),
    ] {
        assert_eq!(context[key], value, "{key}");
    }
    assert_eq!(context["seccompProfile"]["type"], "RuntimeDefault");
    assert!(container()["resources"]["limits"]["memory"].is_string());
    let level = &manifest("namespace")["metadata"]["labels"]["pod-security.kubernetes.io/enforce"];
    assert_eq!(level, "privileged");
}

#[test]
fn manifests_fit_each_other() {
    let daemon_set = manifest("daemonset");
    let labels = &daemon_set["spec"]["template"]["metadata"]["labels"];
    assert_eq!(&daemon_set["spec"]["selector"]["matchLabels"], labels);
    let policy = manifest("networkpolicy")["spec"].clone();
    assert_eq!(&policy["podSelector"]["matchLabels"], labels);
    let monitor = manifest("podmonitor")["spec"].clone();
    assert_eq!(&monitor["selector"]["matchLabels"], labels);
    // What the rules call the job is the value of that label: those of the pod's count (the operator's `jobLabel`).
    let job = &labels[monitor["jobLabel"].as_str().expect("a label")];
    let asked = text("dashboards/rules.yaml");
    let asked: Vec<_> = asked.split("job=\"").skip(1).collect();
    assert!(!asked.is_empty());
    for rest in asked {
        let asked = rest.split('"').next();
        assert_eq!(asked, job.as_str(), "{rest}");
    }
    let port = &container()["ports"][0]["name"];
    assert_eq!(&policy["ingress"][0]["ports"][0]["port"], port);
    assert_eq!(&monitor["podMetricsEndpoints"][0]["port"], port);
    for probe in ["livenessProbe", "readinessProbe"] {
        assert_eq!(&container()[probe]["httpGet"]["port"], port, "{probe}");
    }
    let namespace = &manifest("namespace")["metadata"]["name"];
    for (name, ..) in &MANIFESTS[1..] {
        assert_eq!(
            &manifest(name)["metadata"]["namespace"],
            namespace,
            "{name}"
        );
    }
    let listed = manifest("kustomization")["resources"].clone();
    for (name, ..) in MANIFESTS {
        let file = format!("{name}.yaml");
        let listed = listed.as_array().expect("a list");
        assert!(listed.iter().any(|it| *it == *file), "{file} is not listed");
    }
}

/// Documents that those of the package refer to are in it, where they are looked for.
#[test]
fn documents_that_are_referred_to_are_shipped() {
    let assets = text("Cargo.toml");
    let path = regex::Regex::new(r"deploy/[\w/]+\.md|docs/opentelemetry\.md").expect("a pattern");
    for document in ["README.md", "deploy/install.md"] {
        let document = text(document);
        let mut found = path.find_iter(&document).peekable();
        assert!(found.peek().is_some());
        for path in found {
            let (folder, _) = path.as_str().rsplit_once('/').expect("in a folder");
            let asset = format!(
                "[\"{}\", \"usr/share/doc/asyncio-agent/{folder}/\"",
                path.as_str()
            );
            assert!(assets.contains(&asset), "{asset}");
        }
    }
}

/// The document that the unit names is in the package, and so is whose all of it is.
#[test]
fn the_package_has_what_the_unit_names() {
    let (assets, unit) = (
        text("Cargo.toml"),
        text("deploy/systemd/asyncio-agent.service"),
    );
    let document = unit
        .lines()
        .find_map(|line| line.strip_prefix("Documentation=file:///"));
    let (folder, name) = document
        .expect("one is named")
        .rsplit_once('/')
        .expect("a path");
    let is_it = |line: &str| line.contains(&format!("{name}\", \"{folder}/\""));
    assert!(assets.lines().any(is_it), "{document:?}");
    assert!(assets.lines().any(|line| line.starts_with("copyright = ")));
}

#[test]
fn configurations_of_containers_are_good() {
    let config_map = manifest("configmap");
    let of_pod = config_map["data"]["agent.yaml"].as_str().expect("a text");
    let settings = parse("agent.yaml", of_pod).unwrap_or_else(|e| panic!("{e}"));
    let port = container()["ports"][0]["containerPort"].clone();
    let is_open = |address: &&std::net::SocketAddr| !address.ip().is_loopback();
    let mut open = settings.web.listen.iter().filter(is_open);
    assert_eq!(open.next().map(|it| json!(it.port())), Some(port));
    assert!(open.next().is_none());
    // The file that it is told to read is where the map is mounted, the socket where something may be written.
    let mounts = container()["volumeMounts"].clone();
    assert_eq!(container()["args"][1], "/etc/asyncio-agent/agent.yaml");
    assert_eq!(mounts[0]["mountPath"], "/etc/asyncio-agent");
    assert_eq!(mounts[1]["mountPath"], "/run/asyncio-agent");
    parse("container.yaml", &text("deploy/container.yaml")).unwrap_or_else(|e| panic!("{e}"));
}

/// What the sources take in from outside of `src`.
fn included() -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root().join("src")];
    while let Some(folder) = folders.pop() {
        for entry in folder.read_dir().expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let source = fs::read_to_string(&path).expect("a source is text");
            let includes = source.lines().filter(|line| line.contains("include_"));
            let outside =
                includes.filter_map(|line| line.split('"').find(|it| it.starts_with("../")));
            found.extend(outside.map(|it| it.trim_start_matches("../").to_owned()));
        }
    }
    found
}

#[test]
fn licences_that_are_told_are_those_that_are_allowed() {
    let list = |path: &str, key: &str| {
        let text = text(path);
        let line = text.lines().find_map(|line| line.strip_prefix(key));
        line.expect("a list on one line").to_owned()
    };
    let allowed = list("deny.toml", "allow = ");
    // Where there is a choice the first one counts.
    let mut told: Vec<_> = list("deploy/about.toml", "accepted = ")
        .split('"')
        .map(str::to_owned)
        .collect();
    let mut allowed: Vec<_> = allowed.split('"').map(str::to_owned).collect();
    told.sort();
    allowed.sort();
    assert_eq!(told, allowed);
}

#[test]
fn the_image_is_made_of_what_is_there() {
    let dockerfile = text("deploy/Dockerfile");
    // Rust as new as the package wants it, and an image with nothing but what is copied.
    let manifest = text("Cargo.toml");
    let version = |text: &str| -> (u32, u32) {
        let mut parts = text.split('.').map(|part| part.parse().expect("a number"));
        (
            parts.next().expect("a major version"),
            parts.next().expect("a minor version"),
        )
    };
    let wanted = manifest
        .lines()
        .find_map(|line| line.strip_prefix("rust-version = "));
    let used = dockerfile.split("rust:").nth(1).expect("an image of Rust");
    let used = used.split('-').next().expect("a version");
    assert!(version(used) >= version(wanted.expect("a version").trim_matches('"')));
    assert!(dockerfile.contains("\nFROM scratch\n"));
    // What is left out of the context is not needed: each file that the sources take in is there.
    let ignored = text(".dockerignore");
    let kept: Vec<_> = ignored
        .lines()
        .filter_map(|line| line.strip_prefix('!'))
        .collect();
    for path in &kept {
        assert!(root().join(path).exists(), "{path}");
    }
    let mut needed = Vec::new();
    for path in ["Cargo.toml", "Cargo.lock", "src", "deploy/container.yaml"] {
        needed.push(path.to_owned());
    }
    // The script that it runs, and what that reads or runs,
    for path in [
        "LICENSE",
        "deploy/licences.sh",
        "deploy/licences.hbs",
        "deploy/about.toml",
        "tests/cargo_tools.sh",
        "tests/packages.sh",
    ] {
        assert!(root().join(path).exists(), "{path}");
        needed.push(path.to_owned());
    }
    // cargo wants to find all that the manifest names,
    for line in manifest.lines() {
        let path = line
            .strip_prefix("path = \"")
            .map(|it| it.trim_end_matches('"'));
        needed.extend(path.map(str::to_owned));
    }
    // and the compiler all that the sources take in.
    needed.extend(included());
    assert!(
        needed.iter().any(|it| it == "config/agent.yaml"),
        "{needed:?}"
    );
    for path in needed {
        let is_kept = kept.iter().any(|it| Path::new(&path).starts_with(it));
        assert!(is_kept, "{path} is not in .dockerignore");
    }
}
