//! Settings of OTLP that variables of OpenTelemetry make.
#![allow(clippy::unwrap_used, reason = "a failed step of a test is its end")]
#![cfg(feature = "agent")]

use asyncio_agent::config::{
    self, Compression, ConfigError, OtlpProtocol, Secret, Settings, Surroundings, Temporality,
};
use expect_test::expect;
use std::time::Duration;

/// What the section says when these variables are set.
fn with_variables(all: &[(&str, &str)], otlp: &str) -> Result<Settings, ConfigError> {
    let variables = |name: &str| {
        let found = all.iter().find(|(key, _)| *key == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    let surroundings = Surroundings {
        variables: &variables,
        base: None,
        files: None,
    };
    let text = format!("exporters: {{otlp: {otlp}}}");
    config::parse_in(surroundings, "agent.yaml", &text)
}

#[test]
fn a_variable_says_what_temporality_is_preferred() {
    let variable = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE";
    let temporality = |value: &str, otlp: &str| {
        let settings = with_variables(&[(variable, value)], otlp).unwrap();
        settings.exporters.otlp.unwrap().metrics.temporality
    };
    assert_eq!(temporality("delta", "{}"), Temporality::Delta);
    assert_eq!(
        temporality("LowMemory", "{metrics: {interval: 5s}}"),
        Temporality::LowMemory
    );
    assert_eq!(temporality("CUMULATIVE", "{}"), Temporality::Cumulative);
    // The file wins.
    let file = "{metrics: {temporality: cumulative}}";
    assert_eq!(temporality("delta", file), Temporality::Cumulative);
    assert_eq!(temporality("", "{}"), Temporality::Cumulative);
    let error = with_variables(&[(variable, "both")], "{}").unwrap_err();
    let expected = format!("metrics.temporality (from {variable}): <hidden>, expected");
    assert!(error.to_string().contains(&expected), "{error}");
}

#[test]
fn a_timeout_of_a_variable_is_in_milliseconds() {
    let variable = "OTEL_EXPORTER_OTLP_TIMEOUT";
    for (wrong, told) in [
        ("abc", "<hidden>"),
        ("10s", "\"10s\""),
        ("-1", "<hidden>"),
        ("1", "\"1\""),
        ("99999999999999999999", "\"99999999999999999999\""),
    ] {
        let error = with_variables(&[(variable, wrong)], "{}").unwrap_err();
        let expected = format!(
            "(from {variable}): {told}, expected a number of milliseconds from 10 to 600000"
        );
        assert!(error.to_string().contains(&expected), "{error}");
    }
    let settings = with_variables(&[(variable, "1500")], "{}").unwrap();
    let otlp = settings.exporters.otlp.unwrap();
    assert_eq!(otlp.receiver.timeout, Duration::from_millis(1_500));
}

#[test]
fn variables_of_opentelemetry_stand_in() {
    let read = |section: &str| {
        let surroundings = Surroundings {
            variables: &|name| {
                let value = match name.strip_prefix("OTEL_EXPORTER_OTLP_")? {
                    "ENDPOINT" => "https://a:1/b",
                    "PROTOCOL" => "http/protobuf",
                    "HEADERS" => "a=b, C=d=e",
                    "TIMEOUT" => "2500",
                    "CERTIFICATE" => "/ca.pem",
                    _ => return None,
                };
                Some(value.to_owned())
            },
            base: None,
            files: None,
        };
        let text = format!("exporters: {{otlp: {section}}}");
        config::parse_in(surroundings, "agent.yaml", &text)
    };
    let otlp = read("{}").unwrap().exporters.otlp.unwrap();
    assert_eq!(otlp.receiver.endpoint, "https://a:1/b");
    assert_eq!(otlp.receiver.timeout, Duration::from_millis(2_500));
    assert_eq!(otlp.receiver.headers["c"], Secret::Inline("d=e".to_owned()));
    assert_eq!(otlp.receiver.tls.ca_file, Some("/ca.pem".into()));
    let section = "{endpoint: 'http://c', headers: {x: y}, timeout: 1s}";
    let otlp = read(section).unwrap().exporters.otlp.unwrap();
    assert_eq!(otlp.receiver.endpoint, "http://c");
    assert_eq!(otlp.receiver.headers.len(), 1);
    assert_eq!(otlp.receiver.timeout, Duration::from_secs(1));
    let error = read("{protocol: grpc}").unwrap_err().to_string();
    let expected = "exporters.otlp.endpoint (from OTEL_EXPORTER_OTLP_ENDPOINT): grpc has no paths";
    assert!(error.contains(expected), "{error}");
    // Without the section, nothing is sent, whatever the environment says.
    assert_eq!(
        config::parse("agent.yaml", "").unwrap().exporters.otlp,
        None
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "one receiver after the other")]
fn a_signal_has_what_is_its_own_and_the_rest_of_all() {
    let read = |section: &str, variables: &[(&str, &str)]| {
        let surroundings = Surroundings {
            variables: &|name| {
                let mut given = variables.iter();
                let found = given.find(|(variable, _)| {
                    name.strip_prefix("OTEL_EXPORTER_OTLP_") == Some(variable)
                })?;
                Some(found.1.to_owned())
            },
            base: None,
            files: None,
        };
        let text = format!("exporters: {{otlp: {section}}}");
        config::parse_in(surroundings, "agent.yaml", &text)
    };
    let good = |section: &str, variables: &[(&str, &str)]| {
        let read = read(section, variables).unwrap().exporters.otlp.unwrap();
        (read.metrics_receiver(), read.spans_receiver())
    };
    // Nothing of its own: below the endpoint of all.
    let (metrics, spans) = good("{endpoint: 'http://a/x/', protocol: http/protobuf}", &[]);
    assert_eq!(metrics.endpoint, "http://a/x/v1/metrics");
    assert_eq!(spans.endpoint, "http://a/x/v1/traces");
    // An endpoint of its own is taken as it is.
    let (metrics, spans) = good(
        "{headers: {a: b}, timeout: 1s, metrics: {endpoint: 'http://vm/y', protocol: http/protobuf}, \
         spans: {headers: {c: d}, compression: gzip}}",
        &[],
    );
    assert_eq!(
        (&*metrics.endpoint, metrics.protocol),
        ("http://vm/y", OtlpProtocol::Http)
    );
    assert!(metrics.headers.contains_key("a"));
    assert_eq!(
        (&*spans.endpoint, spans.protocol),
        ("http://localhost:4317", OtlpProtocol::Grpc)
    );
    assert_eq!(spans.headers.keys().collect::<Vec<_>>(), ["c"]);
    assert_eq!(
        (spans.timeout, spans.compression, metrics.compression),
        (Duration::from_secs(1), Compression::Gzip, Compression::None)
    );
    // Another protocol has another usual port.
    let (metrics, _) = good("{metrics: {protocol: http/protobuf}}", &[]);
    assert_eq!(metrics.endpoint, "http://localhost:4318/v1/metrics");
    // Variables of the signal come before those of all, and the file before both.
    let variables = [
        ("ENDPOINT", "http://all:1"),
        ("TRACES_ENDPOINT", "http://tempo:2"),
        ("TRACES_HEADERS", "a=b"),
        ("METRICS_TIMEOUT", "70"),
    ];
    let (metrics, spans) = good("{}", &variables);
    assert_eq!(metrics.endpoint, "http://all:1");
    assert_eq!(metrics.timeout, Duration::from_millis(70));
    assert_eq!(spans.endpoint, "http://tempo:2");
    assert!(spans.headers.contains_key("a") && metrics.headers.is_empty());
    let (metrics, spans) = good(
        "{endpoint: 'http://file:3', headers_file: {x: y}}",
        &variables,
    );
    assert_eq!(
        (&*metrics.endpoint, &*spans.endpoint),
        ("http://file:3", "http://file:3")
    );
    assert!(spans.headers.contains_key("x"));
    // What is wrong is told once, and where.
    let error = read("{metrics: {endpoint: nowhere, tls: {cert_file: a}}}", &[]).unwrap_err();
    expect![[r#"
        agent.yaml:1:40: exporters.otlp.metrics.endpoint: no http:// or https:// in front, expected one such as http://localhost:4317
            exporters: {otlp: {metrics: {endpoint: <hidden>
                                                   ^
        agent.yaml:1:54: exporters.otlp.metrics.tls: cert_file and key_file belong together, expected both or none
            exporters: {otlp: {metrics: {endpoint: <hidden>
                                                   ^"#]]
    .assert_eq(&error.to_string());
    let error = read("{}", &[("TRACES_ENDPOINT", "nowhere")]).unwrap_err();
    let told = error.to_string();
    let path = "exporters.otlp.spans.endpoint (from OTEL_EXPORTER_OTLP_TRACES_ENDPOINT): no http";
    assert!(told.contains(path), "{told}");
}

#[test]
fn headers_of_a_variable_are_percent_decoded() {
    for variable in ["HEADERS", "METRICS_HEADERS", "TRACES_HEADERS"] {
        let variable = format!("OTEL_EXPORTER_OTLP_{variable}");
        let headers = |value: &str| {
            let read = with_variables(&[(&variable, value)], "{}")?;
            let otlp = read.exporters.otlp.unwrap();
            let receiver = match variable.contains("METRICS") {
                true => otlp.metrics_receiver(),
                false => otlp.spans_receiver(),
            };
            Ok::<_, ConfigError>(receiver.headers)
        };
        let inline = |value: &str| Secret::Inline(value.to_owned());
        let read = headers("authorization=Basic%20YWxh%3D%3d, b=x%2Cy%3B%25,c=a+b").unwrap();
        assert_eq!(read["authorization"], inline("Basic YWxh=="));
        assert_eq!(read["b"], inline("x,y;%"));
        assert_eq!(read["c"], inline("a+b"));
        // What is no such sequence stays as it is.
        let read = headers("a=100%,b=%zz%4,c=%ff").unwrap();
        assert_eq!(read["a"], inline("100%"));
        assert_eq!(read["b"], inline("%zz%4"));
        assert_eq!(read["c"], inline("%ff"));
        // Nothing gets into a request that is no part of a header; the value is not told.
        let error = headers("a=secret%0D%0Ax: y").unwrap_err().to_string();
        let expected = format!("(from {variable}): has characters that no header may have");
        assert!(
            error.contains(&expected) && !error.contains("secret"),
            "{error}"
        );
    }
}

#[test]
fn half_a_pair_of_files_names_the_variable() {
    for (variable, key) in [
        ("CLIENT_KEY", "key_file"),
        ("TRACES_CLIENT_CERTIFICATE", "cert_file"),
    ] {
        let variable = format!("OTEL_EXPORTER_OTLP_{variable}");
        let error = with_variables(&[(&variable, "a.pem")], "{}").unwrap_err();
        let expected =
            format!("tls.{key} (from {variable}): cert_file and key_file belong together");
        assert!(error.to_string().contains(&expected), "{error}");
    }
}
