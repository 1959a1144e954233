//! The page of the agent as somebody sees it who was called: in a real browser, Chromium.
#![cfg(feature = "agent")]

mod support;

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::BufReader;
use std::path::Path;
use std::process::Command;
use support::agent::Agent;
use support::python;
use support::target::{Target, wait_until};
use tempfile::TempDir;

const WIDTH: u32 = 1200;
const HEIGHT: u32 = 900;

/// Which colors the user wants.
#[derive(Clone, Copy)]
struct Scheme {
    name: &'static str,
    /// Chromium's number for it.
    setting: u8,
}

const LIGHT: Scheme = Scheme {
    name: "light",
    setting: 1,
};
const DARK: Scheme = Scheme {
    name: "dark",
    setting: 0,
};

type Rgb = [u8; 3];

const PAGE_LIGHT: Rgb = [0xff, 0xff, 0xff];
const PAGE_DARK: Rgb = [0x16, 0x18, 0x1c];
/// What is behind the number of await cycles, if there are any.
const BAD_LIGHT: Rgb = [0xfd, 0xec, 0xea];
const BAD_DARK: Rgb = [0x4a, 0x1c, 0x19];

/// What a browser made of a page.
struct Seen {
    /// The page as it stands after it was read.
    dom: String,
    /// How many pixels have which color.
    pixels: HashMap<Rgb, usize>,
}

impl Seen {
    fn share(&self, color: Rgb) -> f64 {
        let n = self.pixels.get(&color).copied().unwrap_or(0);
        n as f64 / f64::from(WIDTH * HEIGHT)
    }
}

fn look_at(url: &str, scheme: Scheme, folder: &TempDir) -> Seen {
    let Scheme { name, setting } = scheme;
    let launcher = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/browser/bin/chromium");
    assert!(
        launcher.exists(),
        "{} is missing: run `make browser`, which brings it (`make test` does)",
        launcher.display()
    );
    let path = |suffix: &str| folder.path().join(format!("{name}.{suffix}"));
    let picture = path("png");
    let output = Command::new(launcher)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--hide-scrollbars",
            "--dump-dom",
        ])
        .arg(format!("--user-data-dir={}", path("profile").display()))
        .arg(format!("--window-size={WIDTH},{HEIGHT}"))
        .arg(format!("--screenshot={}", picture.display()))
        .arg(format!("--blink-settings=preferredColorScheme={setting}"))
        .arg(url)
        .output()
        .expect("Chromium starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && picture.exists(), "{errors}");
    // For those who want to look at it themselves.
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("page-{name}.png"));
    fs::copy(&picture, kept).expect("our own folder");
    Seen {
        dom: String::from_utf8_lossy(&output.stdout).into_owned(),
        pixels: pixels_of(&picture),
    }
}

fn pixels_of(picture: &Path) -> HashMap<Rgb, usize> {
    let file = BufReader::new(File::open(picture).expect("it was written"));
    let mut reader = png::Decoder::new(file).read_info().expect("a PNG");
    let mut bytes = vec![0; reader.output_buffer_size().expect("it fits")];
    let frame = reader.next_frame(&mut bytes).expect("a picture");
    assert_eq!((frame.width, frame.height), (WIDTH, HEIGHT));
    let mut pixels = HashMap::new();
    for pixel in bytes.chunks_exact(frame.color_type.samples()) {
        *pixels.entry([pixel[0], pixel[1], pixel[2]]).or_default() += 1;
    }
    pixels
}

#[test]
fn the_page_shows_what_was_found_and_where() {
    let programs = ["cycle_of_two", "primitives"];
    let programs = programs.map(|name| Target::start(python::all()[0].program(name)));
    let [cycle, stuck] = programs.each_ref().map(Target::pid);
    let agent = Agent::start(&format!(
        "web: {{listen: 127.0.0.1:0}}\ndiscovery: {{interval: 100ms}}\n\
         analysis: {{stuck: {{after: 1s}}}}\n\
         targets:\n\
         - {{name: 'shop <b>', match: [{{pid: {cycle}}}, {{pid: {stuck}}}], interval: 200ms}}\n\
         - {{name: gone, match: {{command: 'no such program is running here'}}}}\n"
    ));
    agent.wait_for_value("asyncio_await_cycles{target=\"shop <b>\"}", 1.0);
    wait_until("tasks are stuck", || {
        let stuck = agent.value("asyncio_stuck_tasks{target=\"shop <b>\"}");
        stuck == Some(3.0)
    });
    let folder = tempfile::tempdir().expect("a temporary folder");
    let url = format!("http://{}/", agent.address());

    let seen = look_at(&url, LIGHT, &folder);
    for part in [
        "shop &lt;b&gt;",
        "<b>1</b>await cycle<",
        "<b>3</b>stuck tasks<",
        "<b>0</b>unreadable targets<",
        "<b>cycle a</b> in awaits <code>",
        "cycle_of_two.py:12</code>",
        "<b>waits_for_lock</b>",
        "no process of it is watched now",
        &format!("href=\"/api/v1/targets/{cycle}/pstree\""),
    ] {
        assert!(seen.dom.contains(part), "{part} is not in\n{}", seen.dom);
    }
    assert!(!seen.dom.contains("<script"));
    // Text on a page, rather than an empty one or an error of the browser, which is grey.
    let page = seen.share(PAGE_LIGHT);
    assert!((0.5..0.95).contains(&page), "{page} of it is the page");
    let bad = seen.share(BAD_LIGHT);
    assert!(bad > 0.005, "{bad} of it says that something is wrong");

    let seen = look_at(&url, DARK, &folder);
    let page = seen.share(PAGE_DARK);
    assert!((0.5..0.95).contains(&page), "{page} of it is the page");
    let bad = seen.share(BAD_DARK);
    assert!(bad > 0.005, "{bad} of it says that something is wrong");
}
