//! The URL of a check, and the request for it.

use crate::sensor::{SensorError, Target};

/// The port of `http` (RFC 9110, 4.2.1).
const PORT: u16 = 80;

/// `http://host[:port]/path`, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Url {
    /// Without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// Host and port as written, for the `Host` field.
    authority: String,
    /// Path and query; at least `/`.
    path: String,
}

impl Url {
    pub(super) fn parse(text: &str) -> Result<Self, SensorError> {
        let refuse = |reason: &str| SensorError::Target {
            target: text.to_owned(),
            reason: reason.to_owned(),
        };
        let rest = text.strip_prefix("http://").ok_or_else(|| refuse(Target::Url.wanted()))?;
        // A line break would end the request line and begin another field.
        if !rest.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(refuse("write blanks and other special characters as %20 and so on"));
        }
        let rest = rest.split('#').next().unwrap_or_default();
        let path_at = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(path_at);
        if authority.contains('@') {
            return Err(refuse("user names in URLs are not supported; use the sensor `command`"));
        }
        let (host, port) = match authority.rsplit_once(':') {
            // The colon of an IPv6 address is inside its brackets.
            Some((host, port)) if !port.ends_with(']') => {
                (host, port.parse().map_err(|_| refuse("the port must be a number up to 65535"))?)
            }
            _ => (authority, PORT),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() || port == 0 {
            return Err(refuse(Target::Url.wanted()));
        }
        let slash = if path.starts_with('/') { "" } else { "/" };
        Ok(Self {
            host: host.to_owned(),
            port,
            authority: authority.to_owned(),
            path: format!("{slash}{path}"),
        })
    }

    /// The whole request.
    pub(super) fn request(&self) -> Vec<u8> {
        let Self { authority, path, .. } = self;
        format!(
            "GET {path} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: mastiff\r\nAccept: */*\r\n\
             Connection: close\r\n\r\n"
        )
        .into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        for (text, host, port, path) in [
            ("http://db1", "db1", 80, "/"),
            ("http://db1:8080/health?x=1#y", "db1", 8080, "/health?x=1"),
            ("http://[::1]:81?q", "::1", 81, "/?q"),
            ("http://[::1]/a", "::1", 80, "/a"),
        ] {
            let url = Url::parse(text).expect("a URL");
            assert_eq!(
                (url.host.as_str(), url.port, url.path.as_str()),
                (host, port, path),
                "{text}"
            );
        }
        for text in [
            "https://a/",
            "http://",
            "http:///x",
            "http://a b/",
            "http://a/\r\nX: y",
            "http://u@a/",
            "http://a:99999/",
            "http://a:0/",
        ] {
            assert!(Url::parse(text).is_err(), "{text:?}");
        }
    }
}
