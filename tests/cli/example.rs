//! The contract's own example, sent to the real binary.

use serde_json::{Value, json};

use crate::process::{Dev, example_batch};

/// The answer without its times, which alone may differ.
fn timeless(mut answer: Value) -> Value {
    let times = |value: &mut Value| value.as_object_mut().unwrap().remove("timeElapsedMs").unwrap();
    assert!(times(&mut answer).is_u64());
    for result in answer["results"].as_array_mut().unwrap() {
        assert!(times(result).is_u64());
    }
    answer
}

async fn send(dev: &Dev) -> Value {
    let (status, answer) = dev.send(example_batch()).await;
    assert_eq!(status, 200);
    timeless(answer)
}

#[tokio::test]
async fn the_example_gets_the_same_outcomes_whenever_it_is_sent() {
    let directory = tempfile::tempdir().unwrap();
    let dev = Dev::start(&directory, &[]).await;
    let expected = json!({ "results": [
        {
            "resultType": "REQUEST_ACCEPTED",
            "communicationNumber": "1b1e1c23-f62f-4338-90b9-8d54993dd2cd",
            "accountExtId": "accountExtId3",
            "businessUnit": "sandbox",
        },
        {
            "resultType": "REQUEST_REJECTED",
            "communicationNumber": "1b1e1c23-f62f-4338-90b9-8d54993dd2cd",
            "accountExtId": "accountExtId4",
            "businessUnit": "sandbox",
            "errorCode": "O005",
            "errorDescription": "CommunicationNumber already used in AMLYZE",
        },
    ]});
    assert_eq!(send(&dev).await, expected, "to an empty store");
    assert_eq!(send(&dev).await, expected, "sent again");
    dev.kill().await;
    let dev = Dev::start(&directory, &[]).await;
    assert_eq!(send(&dev).await, expected, "after kill -9");
    dev.stop().await;
}
