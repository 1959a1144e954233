//! Every query of the dashboards, as Grafana would send it, to a Prometheus that scrapes an agent. That watches a
//! target with an await cycle and stuck tasks, one that is well, and one without a process.

use super::{Dashboard, Query, text};
use crate::support::agent::Agent;
use crate::support::python;
use crate::support::servers::Prometheus;
use crate::support::target::Target;
use serde_json::Value;

/// What stands for a variable in a query.
type Choice<'c> = &'c [(&'c str, &'c str)];

/// What Grafana itself puts in. Prometheus is asked soon after it has begun, so it has little to look back on.
const BUILT_IN: Choice<'_> = &[("$__rate_interval", "1m"), ("$__range", "1m")];

/// What a user has when a dashboard is opened: everything.
const EVERYTHING: Choice<'_> = &[("$job", ".+"), ("$instance", ".+")];

/// What runs while queries are made.
struct Watched {
    prometheus: Prometheus,
    agent: Agent,
    _programs: [Target; 3],
}

impl Watched {
    fn start() -> Self {
        let programs = ["cycle_of_two", "primitives", "music"];
        let programs = programs.map(|name| Target::start(python::all()[0].program(name)));
        let [cycle, stuck, fine] = programs.each_ref().map(Target::pid);
        // Labels of its own, and one for each process, must not keep a target's numbers apart.
        let agent = Agent::start(&format!(
            "web: {{listen: 127.0.0.1:0}}\ndiscovery: {{interval: 100ms}}\n\
             analysis: {{stuck: {{after: 1s}}}}\n\
             targets:\n\
             - {{name: shop, match: [{{pid: {cycle}}}, {{pid: {stuck}}}], interval: 200ms, per_process: true}}\n\
             - {{name: music, match: {{pid: {fine}}}, interval: 200ms, labels: {{team: sound}}}}\n\
             - {{name: gone, match: {{command: 'no such program is running here'}}}}\n"
        ));
        let prometheus = Prometheus::start(
            &format!(
                "global: {{scrape_interval: 250ms}}\n\
                 scrape_configs: [{{job_name: asyncio-agent, static_configs: [{{targets: ['{}']}}]}}]\n",
                agent.address()
            ),
            &[],
        );
        prometheus.wait_for("asyncio_await_cycles > 0");
        prometheus.wait_for("asyncio_stuck_tasks > 0");
        // Some time with all of it, so that there is something to make rates of.
        prometheus.wait_for("count_over_time((sum(asyncio_stuck_tasks) > 0)[1m:250ms]) > 4");
        Self {
            prometheus,
            agent,
            _programs: programs,
        }
    }

    fn ask(&self, query: &Query, choice: Choice<'_>) -> Vec<Value> {
        let expression = filled_in(&query.expression, choice);
        match query.is_instant {
            true => self.prometheus.query(&expression),
            false => self.prometheus.query_range(&expression, 3),
        }
    }

    /// The number in a panel that shows one.
    fn number(&self, dashboard: &Dashboard, panel: &str, choice: Choice<'_>) -> Option<f64> {
        let mut queries = dashboard.queries().into_iter();
        let query = queries.find(|query| query.panel == panel && query.is_instant);
        let series = self.ask(&query.expect(panel), choice);
        text(&series.first()?["value"][1]).parse().ok()
    }
}

fn filled_in(expression: &str, choice: Choice<'_>) -> String {
    let mut expression = expression.to_owned();
    for (variable, value) in BUILT_IN.iter().chain(choice) {
        expression = expression.replace(variable, value);
    }
    assert!(!expression.contains('$'), "{expression}");
    expression
}

#[test]
fn every_query_has_a_result() {
    let watched = Watched::start();
    let [overview, target] = Dashboard::all();
    // What is chosen is escaped, where several things can be.
    let instance = watched.agent.address().replace('.', "\\\\.");
    let one = [("$job", "asyncio-agent"), ("$instance", &*instance)];
    let with =
        |choice: Choice<'static>, target: &'static str| [choice, &[("$target", target)]].concat();
    let mut empty = Vec::new();
    let mut ask = |dashboard: &Dashboard, choice: Choice<'_>| {
        for query in dashboard.queries() {
            if watched.ask(&query, choice).is_empty() {
                empty.push(format!(
                    "{}: {}",
                    query.at,
                    filled_in(&query.expression, choice)
                ));
            }
        }
    };
    ask(&overview, &with(EVERYTHING, ".*"));
    ask(
        &overview,
        &[&one[..], &[("$target", "music|shop")]].concat(),
    );
    ask(&target, &with(EVERYTHING, "shop"));
    ask(&target, &[&one[..], &[("$target", "shop")]].concat());
    // Where nothing is wrong panels say so, rather than nothing.
    ask(&target, &with(EVERYTHING, "music"));
    assert!(empty.is_empty(), "no result:\n{}", empty.join("\n"));
    variables_offer_what_there_is(&watched);
    tiles_tell_the_truth(watched, &overview, &target);
}

fn variables_offer_what_there_is(watched: &Watched) {
    for dashboard in Dashboard::all() {
        for variable in dashboard.variables() {
            let query = filled_in(text(&variable["query"]), EVERYTHING);
            let Some(query) = query.strip_prefix("label_values(") else {
                assert_eq!(query, "prometheus");
                continue;
            };
            let (matching, label) = query.rsplit_once(", ").expect("a selector and a label");
            let label = label.trim_end_matches(')');
            let values = watched.prometheus.label_values(label, matching);
            let expected = match label {
                "job" => vec!["asyncio-agent"],
                "instance" => vec![watched.agent.address()],
                _ => vec!["gone", "music", "shop"],
            };
            assert_eq!(values, expected, "{}, {label}", dashboard.name);
        }
    }
}

fn tiles_tell_the_truth(watched: Watched, overview: &Dashboard, target: &Dashboard) {
    let of = |name: &'static str| [EVERYTHING, &[("$target", name)]].concat();
    let everything = of(".*");
    for (panel, expected) in [
        ("Await cycles", 1.0),
        ("Stuck tasks", 3.0),
        ("Unreadable targets", 0.0),
        ("Agents down", 0.0),
    ] {
        let shown = watched.number(overview, panel, &everything);
        assert_eq!(shown, Some(expected), "{panel}");
    }
    for (name, panel, expected) in [
        ("shop", "Await cycles", Some(1.0)),
        ("shop", "Processes", Some(2.0)),
        ("shop", "State", Some(1.0)),
        ("music", "Await cycles", Some(0.0)),
        ("music", "Pending tasks", Some(7.0)),
        // Nothing is known of it, which is not the same as that nothing is wrong.
        ("gone", "Await cycles", None),
        ("gone", "State", Some(2.0)),
    ] {
        let shown = watched.number(target, panel, &of(name));
        assert_eq!(shown, expected, "{panel} of {name}");
    }

    // Of an agent that has gone, the only thing that is left is that it was there.
    let Watched {
        prometheus,
        agent,
        _programs,
    } = watched;
    drop(agent);
    prometheus.wait_for("up == 0");
    let mut queries = overview.queries().into_iter();
    let down = queries
        .find(|query| query.panel == "Agents down")
        .expect("a tile");
    let down = prometheus.query(&filled_in(&down.expression, &everything));
    assert_eq!(down[0]["value"][1], "1");
}
