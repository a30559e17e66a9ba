//! The page of callbacks: plain HTML with nothing from elsewhere. Whatever came with a callback is
//! written escaped.

use std::fmt::Write;

use super::receiver::{Callback, Shown};

const HEAD: &str = "<!doctype html>
<html lang=\"en\">
<meta charset=\"utf-8\">
<meta http-equiv=\"refresh\" content=\"5\">
<title>penstock: callbacks</title>
<style>
  body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
  article { border: 1px solid #bbb; border-radius: 6px; padding: .5rem 1rem; margin: 1rem 0 }
  h2 { font-size: 1rem; margin: .3rem 0 }
  table { border-spacing: 0 } th { text-align: left; padding-right: 1rem; font-weight: normal; color: #555 }
  td, pre { font: 13px/1.5 ui-monospace, monospace; overflow-wrap: anywhere; white-space: pre-wrap }
  .yes { color: #060 } .no { color: #b00 }
</style>
<h1>Callbacks</h1>
";

/// The page.
pub(super) fn html(shown: &Shown) -> String {
    let Shown { received, callbacks } = shown;
    let mut page = HEAD.to_owned();
    let _infallible = writeln!(
        page,
        "<p>{received} received since the start; the last {} are below, the latest first. This page is \
         part of <code>penstock dev</code> alone, keeps nothing on disk and renews itself; <a \
         href=\"/dev/callbacks.json\">the same as JSON</a>.</p>",
        callbacks.len()
    );
    if callbacks.is_empty() {
        page.push_str("<p>Send a batch, and the events of its items appear here.</p>\n");
    }
    for callback in callbacks {
        write_callback(&mut page, callback);
    }
    page
}

fn write_callback(page: &mut String, callback: &Callback) {
    let Callback { received_at, problem, headers, body, .. } = callback;
    let title = headers.get("ce-type").map_or("no CloudEvent in binary mode", String::as_str);
    let _infallible = writeln!(page, "<article>\n<h2>{}</h2>", escaped(title));
    let verdict = match problem {
        None => "<span class=\"yes\">signature verified</span>".to_owned(),
        Some(problem) => format!("<span class=\"no\">not verified: {}</span>", escaped(problem)),
    };
    let _infallible = writeln!(page, "<p>{} · {verdict}</p>\n<table>", escaped(received_at));
    for (name, value) in headers {
        let _infallible =
            writeln!(page, "<tr><th>{}</th><td>{}</td></tr>", escaped(name), escaped(value));
    }
    let _infallible = writeln!(page, "</table>\n<pre>{}</pre>\n</article>", escaped(&indented(body)));
}

/// JSON in lines; anything else as it is.
fn indented(body: &str) -> String {
    serde_json::from_str::<serde_json::Value>(body)
        .and_then(|json| serde_json::to_string_pretty(&json))
        .unwrap_or_else(|_| body.to_owned())
}

fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}
