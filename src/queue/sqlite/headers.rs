//! Headers as one blob: per header the length of its name and of its value, each 4 bytes big endian,
//! then both. Values may be any bytes.

use bytes::{Buf, Bytes};

use crate::queue::Headers;

/// Appends the headers' form to `form`.
pub(super) fn encode(headers: &Headers, form: &mut Vec<u8>) {
    for (name, value) in headers.iter() {
        form.extend_from_slice(&length_of(name.as_bytes()));
        form.extend_from_slice(&length_of(value));
        form.extend_from_slice(name.as_bytes());
        form.extend_from_slice(value);
    }
}

/// Reads a form; none when it is not one of ours.
pub(super) fn decode(mut form: Bytes) -> Option<Headers> {
    let mut headers = Headers::default();
    while !form.is_empty() {
        let name = form.try_get_u32().ok()? as usize;
        let value = form.try_get_u32().ok()? as usize;
        if form.len() < name.checked_add(value)? {
            return None;
        }
        let name = form.split_to(name);
        headers.push_read(std::str::from_utf8(&name).ok()?, &form.split_to(value));
    }
    Some(headers)
}

/// A header is part of a request, which is far smaller than 4 GiB.
fn length_of(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_come_back() {
        let mut headers = Headers::default();
        headers.push("reason", "why");
        headers.push("empty", "");
        headers.push("bytes", vec![0, 0xff, b'\n']);
        headers.push("reason", "repeated");
        let mut form = Vec::new();
        encode(&headers, &mut form);
        assert_eq!(decode(form.into()), Some(headers));
    }

    #[test]
    fn a_cut_form_is_no_form() {
        let mut headers = Headers::default();
        headers.push("reason", "why");
        let mut form = Vec::new();
        encode(&headers, &mut form);
        for end in 1..form.len() {
            assert_eq!(decode(Bytes::copy_from_slice(&form[..end])), None, "{end}");
        }
    }
}
