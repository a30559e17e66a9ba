//! What one account costs before any I/O: parse, check against the schema, rules, fingerprint,
//! decide. Run with `cargo bench --bench decide`; the time of one item is the inverse of `elem/s`.
#![allow(
    missing_docs,
    clippy::expect_used,
    reason = "criterion makes undocumented items; a benchmark may panic"
)]

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use penstock::account::{
    BatchItem, BatchLimits, Coordinates, Policy, Submission, View, decide, parse_batch,
};

/// As in the binary.
#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ITEMS: usize = 1_000;
const LIMITS: BatchLimits = BatchLimits { max_items: ITEMS, max_item_bytes: 64 * 1024 };

/// A batch of fresh accounts of about 560 bytes each.
fn body() -> Bytes {
    let accounts: Vec<String> = (0..ITEMS)
        .map(|index| {
            format!(
                r#"{{"communicationNumber":"9b1c7a52-6c1f-4d0a-8b7e-{index:012x}","requester":"CORE-BANKING",
                "businessUnit":"sandbox","businessEntityExtId":"CUST-{index:016x}",
                "accountExtId":"ACC-{index:016x}","accountNumber":"LT60101001234567{index:04}",
                "accountPurpose":"Salary and household payments","currencyCode":"EUR",
                "openingDate":"2019-03-12T10:31:07.250+02:00","accountStatus":"ACTIVE",
                "isOtherFinInstAccount":true,"bankTitle":"Baltic Meridian Bank","bic":"BMERLT2XXXX"}}"#
            )
        })
        .collect();
    Bytes::from(format!(r#"{{"accounts":[{}]}}"#, accounts.join(",")))
}

fn parse(body: &Bytes) -> Vec<BatchItem> {
    parse_batch(body, LIMITS).expect("the batch meets the schema")
}

fn submissions(items: Vec<BatchItem>) -> Vec<Submission> {
    let place = |(index, item): (usize, BatchItem)| {
        Submission::new(item.account, None, Coordinates::hypothetical(index))
    };
    items.into_iter().enumerate().map(place).collect()
}

fn benchmarks(criterion: &mut Criterion) {
    let (body, policy, view) = (body(), Policy::default(), View::default());
    let parsed = parse(&body);
    let submitted = submissions(parsed.clone());
    let mut group = criterion.benchmark_group("per item");
    group.throughput(Throughput::Elements(ITEMS as u64));
    group.bench_function("parse", |bencher| bencher.iter(|| parse(black_box(&body))));
    group.bench_function("fingerprint", |bencher| {
        bencher.iter(|| submissions(black_box(parsed.clone())));
    });
    group.bench_function("rules and decide", |bencher| {
        bencher.iter(|| decide(black_box(&submitted), &[], &view, &policy));
    });
    group.bench_function("all", |bencher| {
        bencher.iter(|| decide(&submissions(parse(black_box(&body))), &[], &view, &policy));
    });
    group.finish();
}

criterion_group!(benches, benchmarks);
criterion_main!(benches);
