//! Which requests a web page is behind that is not ours.
//!
//! A web page may have its own name resolve to a loopback address and then read, in the browser of somebody on
//! this machine, what is served there (DNS rebinding). The browser still says that name in the header `Host`
//! (RFC 9110, 7.2), which a page cannot change. So what is shown on loopback addresses only is shown only to those
//! who ask for such an address or for `localhost`. Addresses cannot be rebound, and `localhost` never leaves
//! the machine (RFC 6761, 6.3).
//!
//! A page may also send a request without reading what comes of it, to any address and with the password that
//! the browser knows. With all but GET and HEAD the browser says from where (`Origin`, RFC 6454, 7.3; Fetch
//! Standard, 3.2); with requests to this machine or over TLS also `Sec-Fetch-Site` (W3C Fetch Metadata).

use hyper::Uri;
use hyper::header::{HOST, HeaderMap, HeaderValue, ORIGIN};
use std::net::{IpAddr, SocketAddr};

const SEC_FETCH_SITE: &str = "sec-fetch-site";

/// Whether a request is addressed to a loopback address, to `localhost`, or to an address of `listen`.
///
/// One that names no host comes from no browser.
pub(super) fn is_ours(uri: &Uri, headers: &HeaderMap, listen: &[SocketAddr]) -> bool {
    let is_ours = |host: &str| is_our_name(host, listen);
    let named = |value: &HeaderValue| value.to_str().is_ok_and(is_ours);
    headers.get_all(HOST).iter().all(named) && uri.authority().is_none_or(|it| is_ours(it.as_str()))
}

/// Whether a page had a browser send this. Ours sends nothing.
pub(super) fn is_of_page(headers: &HeaderMap) -> bool {
    let site = headers.get(SEC_FETCH_SITE);
    // `none`: somebody typed the address.
    headers.contains_key(ORIGIN) || site.is_some_and(|site| site != "none")
}

/// `host` may have a port behind it.
fn is_our_name(host: &str, listen: &[SocketAddr]) -> bool {
    let name = without_port(host);
    if name.eq_ignore_ascii_case("localhost") {
        return true;
    }
    let address: Option<IpAddr> = match name.strip_prefix('[') {
        Some(v6) => v6
            .strip_suffix(']')
            .and_then(|v6| v6.parse().ok())
            .map(IpAddr::V6),
        None => name.parse().ok().map(IpAddr::V4),
    };
    address.is_some_and(|address| {
        address.is_loopback() || listen.iter().any(|listens| listens.ip() == address)
    })
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_ours_by(hosts: &[&str], uri: &str) -> bool {
        let hosts = hosts.iter();
        let headers = hosts.map(|host| (HOST, HeaderValue::from_str(host).unwrap()));
        let listen = ["10.1.2.3:80".parse().unwrap()];
        is_ours(&uri.parse().unwrap(), &headers.collect(), &listen)
    }

    #[test]
    fn loopback_addresses_localhost_and_what_is_listened_on_are_ours() {
        for host in [
            "127.0.0.1",
            "127.0.0.1:9849",
            "127.9.9.9:1",
            "[::1]",
            "[::1]:9849",
            "localhost",
            "LocalHost:9849",
            "10.1.2.3:9849",
        ] {
            assert!(is_ours_by(&[host], "/"), "{host}");
        }
        assert!(is_ours_by(&[], "/"));
    }

    #[test]
    fn what_pages_send_says_so() {
        let is_of_page = |headers: &[(&'static str, &'static str)]| {
            let headers = headers.iter().map(|(name, value)| {
                let name = hyper::header::HeaderName::from_static(name);
                (name, HeaderValue::from_static(value))
            });
            is_of_page(&headers.collect())
        };
        assert!(!is_of_page(&[]));
        assert!(!is_of_page(&[("sec-fetch-site", "none")]));
        for origin in ["http://evil.example", "http://127.0.0.1:9849", "null", ""] {
            assert!(is_of_page(&[("origin", origin)]), "{origin}");
        }
        for site in ["cross-site", "same-site", "same-origin"] {
            assert!(is_of_page(&[("sec-fetch-site", site)]), "{site}");
        }
    }

    #[test]
    fn all_other_names_are_not() {
        for host in [
            "",
            "evil.example",
            "evil.example:9849",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "10.1.2.4",
            "::1",
            "[::1",
            "[127.0.0.1]",
            "127.1",
            "2130706433",
            "127.0.0.1:9849:evil",
            "evil@127.0.0.1",
            "127.0.0.1 evil",
        ] {
            assert!(!is_ours_by(&[host], "/"), "{host}");
        }
        // Whichever of several somebody goes by.
        let (ours, other) = ("127.0.0.1", "evil.example");
        let mut headers = HeaderMap::new();
        headers.append(HOST, HeaderValue::from_static(ours));
        headers.append(HOST, HeaderValue::from_static(other));
        assert!(!is_ours(&Uri::from_static("/"), &headers, &[]));
        assert!(!is_ours_by(&[ours], "http://evil.example/"));
        assert!(is_ours_by(&[ours], "http://127.0.0.1:9849/"));
    }
}
