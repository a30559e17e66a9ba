//! How many files the process may have open: every connection is one. The usual soft limit of 1,024 is for
//! programs that know no better; what the system grants is taken.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files besides the connections of clients: queue, store, endpoints, the admin listener.
const OTHER_FILES: u64 = 256;

/// Raises the limit to what the system grants, and warns when that is not enough for `max_connections`
/// clients.
pub(in crate::cli) fn raise_limit(max_connections: Option<usize>) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: maximum, maximum };
    let limit = if current == maximum || setrlimit(Resource::Nofile, raised).is_err() {
        current
    } else {
        maximum
    };
    let Some(max_connections) = max_connections else { return };
    if let Some(limit) = limit.filter(|limit| *limit < needed(max_connections)) {
        tracing::warn!(
            limit,
            max_connections,
            "this process may open fewer files than intake.max_connections needs, so probes and the \
             store may find none left; raise the limit (ulimit -n, LimitNOFILE), or lower \
             intake.max_connections"
        );
    }
}

fn needed(max_connections: usize) -> u64 {
    OTHER_FILES.saturating_add(u64::try_from(max_connections).unwrap_or(u64::MAX))
}
