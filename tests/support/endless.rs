//! An answer that never ends.

use axum::body::Body;

/// A body that is sent for as long as somebody reads it.
pub fn endless() -> Body {
    let portions = futures_util::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b'x'; 4_096]));
    Body::from_stream(portions)
}
