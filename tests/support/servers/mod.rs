//! Real servers that tests use side by side, each test with data of its own there. A test that needs a
//! server fails without one.

pub mod kafka;
pub mod pooler;
pub mod postgres;

/// What an environment variable names, or how to get it.
fn named_by(variable: &str, script: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| {
        panic!(
            "{variable} is not set: these tests need a real server. Set it to what `deploy/local/{script} \
             start` prints, or run tests/run.sh, which does so"
        )
    })
}

/// Does cleaning up on a runtime of its own: that of the test may be the one that drops. What is left
/// behind on a failing server breaks no promise.
fn clean_up<F: Future<Output = ()>>(work: impl FnOnce() -> F + Send + 'static) {
    let cleaning = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        if let Ok(runtime) = runtime {
            runtime.block_on(work());
        }
    });
    let _ = cleaning.join();
}
