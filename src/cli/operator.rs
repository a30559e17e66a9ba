//! Who runs a command, and why: what the store keeps of what operators decide.

/// Who runs the command, and where.
pub(super) fn operator() -> String {
    let user = ["USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok());
    let user = user.unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()));
    format!("{user}@{}", rustix::system::uname().nodename().to_string_lossy())
}

/// Takes a reason that says something.
pub(super) fn parse_reason(text: &str) -> Result<String, &'static str> {
    let text = text.trim();
    if text.is_empty() { Err("must say why") } else { Ok(text.to_owned()) }
}
