//! `web`: where the HTTP server listens.

use super::super::FileKind;
use super::super::problem::quote;
use super::super::section::{Reader, Section};
use super::super::settings::{WebDetails, WebSettings};
use super::super::value::one_or_more;
use std::collections::HashSet;
use std::net::SocketAddr;

pub(super) fn read(top: &Section<'_>, reader: &mut Reader<'_>) -> WebSettings {
    let default = WebSettings::default();
    let known = ["listen", "config_file", "details", "reload"];
    let Some(web) = top.section("web", &known, reader) else {
        return default;
    };
    let details = [
        ("loopback", WebDetails::Loopback),
        ("users", WebDetails::Users),
    ];
    WebSettings {
        listen: match web.get("listen") {
            None => default.listen,
            Some(item) => {
                let items = one_or_more(item, "address", reader);
                let texts = items.iter().filter_map(|item| item.scalar(reader));
                let texts: Vec<_> = texts.collect();
                let mut seen = HashSet::new();
                let addresses = texts.iter().filter_map(|text| {
                    let address = address(text, reader)?;
                    if address.port() != 0 && !seen.insert(address) {
                        let what = format!("{address} is listed twice, expected each address once");
                        text.problem(what, reader);
                    }
                    Some(address)
                });
                addresses.collect()
            }
        },
        config_file: web.file("config_file", FileKind::WebConfig, reader),
        details: web
            .choice("details", &details, reader)
            .unwrap_or(default.details),
        reload: web.flag("reload", default.reload, reader),
    }
}

fn address(text: &super::super::section::Located, reader: &mut Reader<'_>) -> Option<SocketAddr> {
    let address = text.value.parse().ok();
    if address.is_none() {
        let what = format!(
            "{} is not an address to listen on, \
             expected IP:PORT such as 127.0.0.1:9849 or '[::1]:9849'",
            quote(&text.value)
        );
        text.problem(what, reader);
    }
    address
}
