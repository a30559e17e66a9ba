//! The floor: the HTTP client alone, set as callbacks set it, sending a request that penstock has sent
//! again and again. Nothing is read from a topic, signed or recorded.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use crate::receiver::{Receiver, Sample};

/// What the client writes itself.
const OWN_HEADERS: [&str; 2] = ["host", "content-length"];

/// Sends `sample` so many times, `concurrency` at a time; requests per second.
#[allow(clippy::cast_precision_loss, reason = "a rate")]
pub(crate) async fn run(sample: &Sample, requests: u64, concurrency: usize) -> f64 {
    let receiver = Receiver::start();
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new())
        .pool_idle_timeout(Duration::from_secs(30))
        .pool_max_idle_per_host(concurrency)
        .build(connector);
    let request = request(sample, &format!("http://{}/events", receiver.address));
    let left = Arc::new(AtomicU64::new(requests));
    let start = Instant::now();
    let senders: Vec<_> = (0..concurrency)
        .map(|_| {
            let (client, request, left) = (client.clone(), request.clone(), Arc::clone(&left));
            tokio::spawn(async move {
                let take = |left: u64| left.checked_sub(1);
                while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok() {
                    let response = client.request(request.clone()).await.unwrap();
                    assert!(response.status().is_success(), "a request was refused");
                    response.into_body().collect().await.unwrap();
                }
            })
        })
        .collect();
    for sender in senders {
        sender.await.unwrap();
    }
    requests as f64 / start.elapsed().as_secs_f64()
}

fn request(sample: &Sample, url: &str) -> hyper::Request<Full<Bytes>> {
    let headers = sample.headers.iter().filter(|(name, _)| !OWN_HEADERS.contains(&name.as_str()));
    headers
        .fold(hyper::Request::post(url), |request, (name, value)| request.header(name, value))
        .body(Full::new(Bytes::from(sample.body.clone())))
        .unwrap()
}
