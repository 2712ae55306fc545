//! Access control of the server. Pages of other sites must be kept out even though the browser that shows them runs on
//! this machine: `Host` rejects names that were bound to this address later (DNS rebinding), `Origin` and
//! `Sec-Fetch-Site` reject requests from other pages. If an address was given, other machines can reach it, so a token
//! is required too.

use axum::http::{HeaderMap, Method, Uri, header};
use std::net::IpAddr;

/// The data that requests are checked against.
#[derive(Debug, Clone)]
pub(in crate::live) struct Guard {
    /// A part of the printed address, if other machines may connect.
    pub token: Option<String>,
    /// The port of the server. It is part of the cookie's name, because cookies do not distinguish ports.
    pub port: u16,
    /// This machine's own names.
    pub names: Vec<String>,
}

/// Why a request is refused: a status, and what to do.
pub(super) type Refusal = (u16, &'static str);

impl Guard {
    pub fn cookie_name(&self) -> String {
        format!("glassnet-{}", self.port)
    }

    /// Whether a request may be answered.
    pub fn check(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let host = text(header::HOST).or(uri.authority().map(|authority| authority.as_str()));
        let Some(host) = host.filter(|host| self.is_own(host)) else {
            return Err((421, "this is not the server of that name; open the address that glassnet printed"));
        };
        let foreign = (403, "a page of another site asked; open the address that glassnet printed");
        if headers.contains_key(header::ORIGIN) && text(header::ORIGIN) != Some(&format!("http://{host}")) {
            return Err(foreign);
        }
        // A link to the page itself may be anywhere.
        let opens = method == Method::GET && uri.path() == "/";
        if !opens
            && text(header::HeaderName::from_static("sec-fetch-site"))
                .is_some_and(|site| !["same-origin", "none"].contains(&site))
        {
            return Err(foreign);
        }
        if !self.knows_token(uri, headers) {
            return Err((401, "the token is missing; open the whole address that glassnet printed"));
        }
        Ok(())
    }

    /// Whether the host of a request, with or without a port, is this machine.
    fn is_own(&self, host: &str) -> bool {
        let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((name, rest)) if rest.is_empty() || rest.starts_with(':') => name,
            Some(_) => return false,
            None => host.rsplit_once(':').map_or(host, |(name, _)| name),
        };
        let address: Option<IpAddr> = name.parse().ok();
        match (&self.token, address) {
            (_, Some(address)) if address.is_loopback() => true,
            // Any address is accepted, because nobody can bind a name to a number.
            (Some(_), Some(_)) => true,
            (None, Some(_)) => false,
            (token, None) => {
                // The name with or without its domain.
                let first = name.split('.').next().unwrap_or_default();
                let own = |own: &String| name.eq_ignore_ascii_case(own) || first.eq_ignore_ascii_case(own);
                name.eq_ignore_ascii_case("localhost") || (token.is_some() && self.names.iter().any(own))
            }
        }
    }

    /// Whether the token is in the query, as printed, or in the cookie that the page sets.
    fn knows_token(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        let Some(token) = &self.token else { return true };
        let query = uri.query().unwrap_or_default().split('&').filter_map(|pair| pair.strip_prefix("token="));
        let name = format!("{}=", self.cookie_name());
        let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        let cookies = cookies.flat_map(|list| list.split(';')).filter_map(|pair| pair.trim().strip_prefix(&name));
        query.chain(cookies).any(|given| equal(given, token))
    }
}

/// Compares in the same time for every wrong token.
fn equal(a: &str, b: &str) -> bool {
    a.len() == b.len() && a.bytes().zip(b.bytes()).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(token: Option<&str>) -> Guard {
        Guard { token: token.map(str::to_string), port: 8000, names: vec!["server".into()] }
    }

    fn asked(guard: &Guard, method: Method, uri: &str, headers: &[(&'static str, &str)]) -> u16 {
        let headers = headers
            .iter()
            .map(|(name, value)| (header::HeaderName::from_static(name), value.parse().expect("a header")));
        guard
            .check(&method, &uri.parse().expect("an address"), &headers.collect())
            .map_or_else(|(status, _)| status, |()| 200)
    }

    #[test]
    fn on_loopback_only_its_own_names_are_answered() {
        let open = guard(None);
        for host in ["127.0.0.1:8000", "localhost:9999", "localhost", "[::1]:8000", "LOCALHOST:1"] {
            assert_eq!(asked(&open, Method::GET, "/", &[("host", host)]), 200, "{host}");
        }
        for host in ["evil.example:8000", "192.168.1.7:8000", "localhost.evil.example", "server:8000", ""] {
            assert_eq!(asked(&open, Method::GET, "/", &[("host", host)]), 421, "{host}");
        }
        assert_eq!(asked(&open, Method::GET, "/", &[]), 421, "no host at all");
    }

    #[test]
    fn pages_of_other_sites_are_refused() {
        let (open, host) = (guard(None), ("host", "localhost:8000"));
        let post =
            |headers: &[(&'static str, &str)]| asked(&open, Method::POST, "/control", &[&[host], headers].concat());
        assert_eq!(post(&[]), 200, "not from a browser");
        assert_eq!(post(&[("origin", "http://localhost:8000"), ("sec-fetch-site", "same-origin")]), 200);
        for origin in ["http://evil.example", "null", "https://localhost:8000", "http://localhost:8001"] {
            assert_eq!(post(&[("origin", origin)]), 403, "{origin}");
        }
        assert_eq!(post(&[("sec-fetch-site", "cross-site")]), 403);
        let get = |path| asked(&open, Method::GET, path, &[host, ("sec-fetch-site", "cross-site")]);
        assert_eq!((get("/"), get("/events"), get("/snapshot.json")), (200, 403, 403), "only a link to the page");
    }

    #[test]
    fn where_others_can_come_the_token_is_needed() {
        let closed = guard(Some("abc123"));
        let get = |uri, headers: &[(&'static str, &str)]| {
            asked(&closed, Method::GET, uri, &[&[("host", "10.0.0.5:8000")], headers].concat())
        };
        assert_eq!(get("/", &[]), 401);
        assert_eq!(get("/?token=abc123", &[]), 200);
        assert_eq!(get("/events?token=abc124", &[]), 401);
        assert_eq!(get("/events?token=", &[]), 401);
        assert_eq!(get("/events", &[("cookie", "a=b; glassnet-8000=abc123")]), 200);
        assert_eq!(get("/events", &[("cookie", "glassnet-8001=abc123")]), 401);
        let named = |host| asked(&closed, Method::GET, "/?token=abc123", &[("host", host)]);
        assert_eq!((named("server:8000"), named("evil.example:8000")), (200, 421));
        assert_eq!((named("server.lab.example:8000"), named("[::1]evil.example")), (200, 421));
    }
}
