//! What `penstock doctor` finds of the endpoints: whether they can be connected to from here, who signs, and
//! who else may read the keys. Nothing is sent.

use std::path::Path;

use futures_util::future::join_all;

use crate::callbacks::Endpoint;
use crate::callbacks::attempt::NoAnswer;
use crate::callbacks::http::HttpSender;
use crate::settings::{Loaded, QueueKind};
use crate::telemetry::Finding;

use super::{callback_options, dev};

/// Looks at every endpoint, and at where operators are told.
pub(super) async fn examine(loaded: &Loaded) -> Vec<Finding> {
    if let Err(refused) = callback_options::check(loaded) {
        let wrong = refused.problems.iter();
        return wrong.map(|problem| Finding::wrong("callbacks", problem.to_string())).collect();
    }
    let mut callbacks = loaded.settings.callbacks.clone();
    if loaded.settings.queue.kind == QueueKind::Sqlite {
        // With an embedded queue it is `penstock dev` that delivers, and it may send to this machine.
        callbacks.allow_networks.extend(dev::loopback());
    }
    let files = callback_options::files(&callbacks);
    let readable = files.iter().filter(|path| is_readable_by_all(path));
    let mut findings: Vec<Finding> = readable
        .map(|path| {
            let advice = "can be read by everybody on this machine; take that right away, unless it holds \
                          nothing but certificates";
            Finding::warning("callbacks", format!("{} {advice}", path.display()))
        })
        .collect();
    let (Ok((endpoints, sender)), Ok(operator)) =
        (callback_options::endpoints(&callbacks), callback_options::operator(&callbacks))
    else {
        return findings;
    };
    findings.extend(join_all(endpoints.iter().map(|endpoint| look(endpoint, &sender))).await);
    if let Some((endpoint, sender)) = operator {
        findings.push(look(&endpoint, &sender).await);
    }
    findings
}

async fn look(endpoint: &Endpoint, sender: &HttpSender) -> Finding {
    let subject = format!("callbacks: {}", endpoint.name);
    let keys = match endpoint.keys.now().len() {
        0 => "nothing signs".to_owned(),
        1 => "one key signs".to_owned(),
        keys => format!("{keys} keys sign"),
    };
    match sender.reach(&endpoint.name).await {
        Ok(()) => Finding::fine(subject, format!("a connection can be made; {keys}")),
        Err(NoAnswer(why)) => Finding::wrong(subject, format!("no connection can be made: {why}")),
    }
}

#[cfg(unix)]
fn is_readable_by_all(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o004 != 0)
}

#[cfg(not(unix))]
fn is_readable_by_all(_: &Path) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::settings::Sources;
    use crate::telemetry::Verdict;

    async fn told(endpoints: String) -> Vec<(Verdict, String)> {
        let options = vec![("callbacks.endpoints", "--test", endpoints)];
        let loaded = Loaded::from(Sources { options, ..Sources::default() }).unwrap();
        examine(&loaded).await.into_iter().map(|found| (found.verdict, found.told)).collect()
    }

    #[tokio::test]
    async fn an_endpoint_is_connected_to_and_sent_nothing() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let with = |further: &str| {
            format!("[{{ name = 'risk', url = 'http://{address}/', allow_http = true, {further} }}]")
        };
        let found = told(with("unsigned = true")).await;
        assert_eq!(found, [(Verdict::Fine, "a connection can be made; nothing signs".to_owned())]);
        drop(listener);
        let found = told(with("unsigned = true")).await;
        assert_eq!(found[0].0, Verdict::Wrong);
        assert!(found[0].1.contains("no connection can be made"), "{found:?}");
        let found = told(with("secret_files = ['/none']")).await;
        assert_eq!(found[0].0, Verdict::Wrong);
        assert!(found[0].1.contains("secret_files (from --test): /none cannot be read"), "{found:?}");
    }
}
