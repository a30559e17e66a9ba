//! What the URL of a server may say. The client's own parser writes what it does not know to the log, values
//! and all, so nothing it does not know reaches it; no message quotes a value.

use url::Url;

use super::schema::PostgresOpenError;

/// Parameters that are heeded.
const KNOWN: [&str; 12] = [
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "options",
    "password",
    "port",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "user",
];

/// Other spellings of some of them, and what the client writes into URLs of its own: the setting
/// `store.postgres.statement_cache` says that in any case.
const ALIASES: [&str; 6] =
    ["ssl-mode", "ssl-root-cert", "ssl-ca", "ssl-cert", "ssl-key", "statement-cache-capacity"];

/// What the URL says besides host, user and database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Checked {
    /// Whether it says how the connection is secured.
    pub(super) names_sslmode: bool,
}

/// Refuses what would be ignored or misread.
pub(super) fn check(text: &str) -> Result<Checked, PostgresOpenError> {
    if names_several_hosts(text) {
        return Err(PostgresOpenError::SeveralHosts);
    }
    // What does not parse is not shown: it may have a password in it.
    let url = Url::parse(text).map_err(|_| PostgresOpenError::BadUrl)?;
    if !matches!(url.scheme(), "postgres" | "postgresql") {
        return Err(PostgresOpenError::BadUrl);
    }
    let mut checked = Checked { names_sslmode: false };
    for (name, value) in url.query_pairs() {
        match &*name {
            "host" | "hostaddr" if value.contains(',') => return Err(PostgresOpenError::SeveralHosts),
            "sslmode" | "ssl-mode" => checked.names_sslmode = true,
            name if KNOWN.contains(&name) || ALIASES.contains(&name) => {}
            name if name.starts_with("options[") && name.ends_with(']') => {}
            name => return Err(unknown(name)),
        }
    }
    Ok(checked)
}

/// `user:password@one,two:5433/database`, as libpq would read it. It is no URL.
fn names_several_hosts(text: &str) -> bool {
    let rest = text.split_once("://").map_or("", |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let hosts = authority.rsplit_once('@').map_or(authority, |(_, hosts)| hosts);
    hosts.contains(',')
}

fn unknown(name: &str) -> PostgresOpenError {
    let instead = match name {
        "target_session_attrs" | "load_balance_hosts" => {
            "penstock needs the server that writes: name that one, or an address that leads to it"
                .to_owned()
        }
        "connect_timeout" => "store.postgres.connect_timeout is that setting".to_owned(),
        "prepareThreshold" => "store.postgres.statement_cache is that setting".to_owned(),
        "passfile" | "sslpassword" => {
            "store.postgres.password_file names a file with the password, and a key must have none"
                .to_owned()
        }
        _ => format!("known are {} and options[name]", KNOWN.join(", ")),
    };
    // A name has no secrets, unless somebody wrote one there.
    let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    let name = if is_name && name.len() <= 40 { name } else { "with an odd name" };
    PostgresOpenError::UnknownParameter { name: name.to_owned(), instead }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(url: &str) -> String {
        let error = check(url).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("TOPSECRET"), "{error:?}");
        error.to_string()
    }

    #[test]
    fn what_the_client_does_not_know_is_refused_by_name_and_never_shown() {
        let says = refused("postgres://u:TOPSECRET@db/p?sslmode=disable&sslpassword=TOPSECRET");
        assert!(says.contains("sslpassword") && says.contains("password_file"), "{says}");
        let says = refused("postgres://db/p?target_session_attrs=TOPSECRET");
        assert!(says.contains("target_session_attrs") && says.contains("that writes"), "{says}");
        assert!(refused("postgres://db/p?gssencmode=TOPSECRET").contains("gssencmode"));
        assert!(refused("postgres://db/p?TOPSECRET%3D=1").contains("with an odd name"));
        assert!(refused("postgres://db/p?prepareThreshold=0").contains("statement_cache"));
    }

    #[test]
    fn several_hosts_are_refused_as_that() {
        for url in [
            "postgres://u:TOPSECRET@db1,db2/p",
            "postgres://db1:5432,db2:5433/p?sslmode=require",
            "postgres:///p?host=db1,db2",
        ] {
            assert!(refused(url).contains("several servers"), "{url}");
        }
        assert_eq!(check("postgres://u:a,b@db/p").unwrap(), Checked { names_sslmode: false });
    }

    #[test]
    fn what_the_client_knows_is_let_through() {
        let url =
            "postgresql://u@db/p?ssl-mode=require&options[search_path]=a&application_name=x&user=y";
        assert_eq!(check(url).unwrap(), Checked { names_sslmode: true });
        for bad in ["postgres//user:TOPSECRET@db", "mysql://db/p", ""] {
            assert!(refused(bad).contains("is no URL"), "{bad}");
        }
    }
}
