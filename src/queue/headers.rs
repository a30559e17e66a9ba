//! Headers of a record. All values lie one after the other in one piece of memory, and the names that
//! penstock writes itself are never copied: a record costs two allocations for however many headers.

use std::borrow::Cow;
use std::fmt::Display;
use std::io::Write;

use crate::telemetry::semantic::header::{TRACEPARENT, TRACESTATE};
use crate::telemetry::{TraceContext, TraceHeaders};

use super::envelope::Envelope;

/// A record's headers in their order. Values may be any bytes, and a name may occur more than once. Their
/// `Debug` shows how many there are, and no more: values are personal data.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers {
    /// Names, each with the end of its value.
    names: Vec<(Cow<'static, str>, usize)>,
    values: Vec<u8>,
}

impl std::fmt::Debug for Headers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} headers of {} bytes", self.names.len(), self.values.len())
    }
}

impl Headers {
    /// No headers yet, with room for `headers` of them whose values have `bytes` together.
    pub fn with_capacity(headers: usize, bytes: usize) -> Self {
        Self { names: Vec::with_capacity(headers), values: Vec::with_capacity(bytes) }
    }

    /// Adds a header after those that are there.
    pub fn push(&mut self, name: impl Into<Cow<'static, str>>, value: impl AsRef<[u8]>) {
        self.values.extend_from_slice(value.as_ref());
        self.names.push((name.into(), self.values.len()));
    }

    /// Adds a header whose value is the text of `value`.
    pub fn push_text(&mut self, name: impl Into<Cow<'static, str>>, value: impl Display) {
        // Memory takes whatever is written to it.
        let _ = write!(self.values, "{value}");
        self.names.push((name.into(), self.values.len()));
    }

    /// Adds a header as it was read.
    pub fn push_read(&mut self, name: &str, value: &[u8]) {
        let known =
            Envelope::NAMES.iter().chain(&[TRACEPARENT, TRACESTATE]).find(|known| **known == name);
        match known {
            Some(known) => self.push(*known, value),
            None => self.push(name.to_owned(), value),
        }
    }

    /// Gives the last header of a name another value; adds the header when there is none.
    pub fn replace_last(&mut self, name: &'static str, value: &[u8]) {
        let replaced = self.names.iter().rposition(|(known, _)| known == name);
        let mut fresh = Self::with_capacity(self.names.len(), self.values.len() + value.len());
        for (place, (known, old)) in self.iter().enumerate() {
            let is_it = replaced == Some(place);
            fresh.push_read(known, if is_it { value } else { old });
        }
        if replaced.is_none() {
            fresh.push(name, value);
        }
        *self = fresh;
    }

    /// The first value of a name.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// The first value of a name, if it is UTF-8.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// The place in a trace that the record was published at, if it is told and valid.
    pub fn trace_context(&self) -> Option<TraceContext> {
        TraceContext::parse(self.get(TRACEPARENT)?, self.get(TRACESTATE))
    }

    /// Tells the place in a trace that the record is published at.
    pub fn push_trace(&mut self, trace: &TraceHeaders) {
        self.push(TRACEPARENT, &trace.traceparent);
        if let Some(state) = &trace.tracestate {
            self.push(TRACESTATE, state);
        }
    }

    /// All headers in their order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &[u8])> {
        let mut start = 0;
        self.names.iter().map(move |(name, end)| {
            let value = &self.values[start..*end];
            start = *end;
            (name.as_ref(), value)
        })
    }

    /// Bytes of all names and values.
    pub fn size_bytes(&self) -> usize {
        self.values.len() + self.names.iter().map(|(name, _)| name.len()).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_sizes_of_records_and_nothing_of_what_is_in_them() {
        let canary = bytes::Bytes::from_static(b"CANARY");
        let mut headers = Headers::default();
        headers.push("ce_subject", &canary);
        let record = crate::queue::Record { key: canary.clone(), value: canary, headers };
        let shown = format!("{record:?}");
        assert_eq!(shown, "Record { key_bytes: 6, value_bytes: 6, headers: 1 headers of 6 bytes }");
    }

    #[test]
    fn values_keep_their_bounds_and_their_order() {
        let mut headers = Headers::with_capacity(1, 1);
        headers.push("bytes", [0, 0xff]);
        headers.push("empty", "");
        headers.push_text("number", 17);
        headers.push_read("bytes", b"again");
        headers.push_read(TRACEPARENT, b"a trace");
        let all: Vec<_> = headers.iter().collect();
        assert_eq!(
            all,
            [
                ("bytes", &[0, 0xff][..]),
                ("empty", b""),
                ("number", b"17"),
                ("bytes", b"again"),
                (TRACEPARENT, b"a trace"),
            ]
        );
        assert_eq!(headers.get("bytes"), Some(&[0, 0xff][..]), "the first one");
        assert_eq!((headers.text("bytes"), headers.text("number")), (None, Some("17")));
        assert_eq!(headers.get("other"), None);
        let names = "bytes".len() + "empty".len() + "number".len() + "bytes".len() + TRACEPARENT.len();
        assert_eq!(headers.size_bytes(), names + 2 + "17".len() + "again".len() + "a trace".len());
        headers.replace_last("bytes", b"other");
        headers.replace_last("new", b"one");
        let values: Vec<_> = headers.iter().map(|(_, value)| value).collect();
        assert_eq!(values, [&[0, 0xff][..], b"", b"17", b"other", b"a trace", b"one"]);
    }

    #[test]
    fn headers_are_equal_when_they_tell_the_same() {
        let (mut written, mut read) = (Headers::default(), Headers::default());
        written.push(TRACESTATE, "vendor=1");
        read.push_read(TRACESTATE, b"vendor=1");
        assert_eq!(written, read);
        let (mut one, mut other) = (Headers::default(), Headers::default());
        one.push("a", "12");
        one.push("a", "3");
        other.push("a", "1");
        other.push("a", "23");
        assert_ne!(one, other);
    }
}
