//! Reads the version from what a server answered, which may be no etcd at all.

/// The version in a whole HTTP/1 answer to `GET /version`; `None` if no etcd answers like that.
pub fn etcd_version(answer: &[u8]) -> Option<String> {
    let answer = String::from_utf8_lossy(answer);
    let (head, body) = answer.split_once("\r\n\r\n")?;
    if head.split(' ').nth(1) != Some("200") {
        return None;
    }
    // The body may come in chunks, whose lengths stand around it.
    let body = body.get(body.find('{')?..=body.rfind('}')?)?;
    let body: serde_json::Value = serde_json::from_str(body).ok()?;
    Some(body["etcdserver"].as_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_how_an_etcd_answers() {
        let body = r#"{"etcdserver":"3.5.9","etcdcluster":"3.5.0"}"#;
        check(
            &format!("HTTP/1.1 200 OK\r\nA: b\r\n\r\n{body}"),
            Some("3.5.9"),
        );
        check(
            &format!("HTTP/1.1 200 OK\r\n\r\n2c\r\n{body}\r\n0\r\n\r\n"),
            Some("3.5.9"),
        );
    }

    #[test]
    fn reads_nothing_from_other_servers() {
        check("HTTP/1.1 404 Not Found\r\n\r\n{\"etcdserver\":\"3\"}", None);
        check("HTTP/1.1 200 OK\r\n\r\n{\"version\":\"3\"}", None);
        check("SSH-2.0-OpenSSH_9.6\r\n", None);
        check("HTTP/1.1 200 OK\r\n\r\nno JSON", None);
    }

    #[test]
    fn survives_braces_in_the_wrong_order() {
        check("HTTP/1.1 200 OK\r\n\r\n} a template {", None);
        check("HTTP/1.1 200 OK\r\n\r\n}{", None);
    }

    #[track_caller]
    fn check(answer: &str, expected: Option<&str>) {
        assert_eq!(etcd_version(answer.as_bytes()).as_deref(), expected);
    }
}
