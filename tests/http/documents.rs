//! What the intake says of itself, to everybody, from nothing but its own binary.

use serde_json::Value;

use crate::harness::{Harness, body_of, header};

#[tokio::test]
async fn the_document_is_served_without_a_token() {
    let intake = Harness::new().await;
    let response = intake.get("/openapi.json").send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(header(&response, "content-type"), Some("application/json"));
    let document = body_of(response).await;
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
}

#[tokio::test]
async fn every_documented_endpoint_asks_for_a_token() {
    let intake = Harness::new().await;
    let document = body_of(intake.get("/openapi.json").send().await.unwrap()).await;
    for (path, item) in document["paths"].as_object().unwrap() {
        let method = if item.get("post").is_some() { "POST" } else { "GET" };
        let path = path.replace("{communicationNumber}", "n1");
        let response = intake.request(method.parse().unwrap(), &path).send().await.unwrap();
        assert_eq!(response.status(), 401, "{method} {path}");
    }
}

#[tokio::test]
async fn the_page_and_all_it_loads_come_from_here() {
    let intake = Harness::new().await;
    let response = intake.get("/docs").send().await.unwrap();
    assert_eq!((response.status().as_u16(), response.url().path()), (200, "/docs/"));
    assert_eq!(header(&response, "content-type"), Some("text/html"));
    let policy = header(&response, "content-security-policy").unwrap().to_owned();
    assert!(policy.starts_with("default-src 'none'; ") && !policy.contains("http"), "{policy}");
    let page = response.text().await.unwrap();
    assert!(
        !page.contains("http://") && !page.contains("https://") && !page.contains("=\"//"),
        "{page}"
    );
    let sources = page.split(['"', '\'']).filter(|text| text.starts_with("./"));
    let mut loaded = 0;
    for source in sources {
        let response = intake.get(&format!("/docs/{}", &source[2..])).send().await.unwrap();
        assert_eq!(response.status(), 200, "{source}");
        assert_eq!(header(&response, "content-security-policy"), Some(policy.as_str()));
        loaded += 1;
    }
    assert!(loaded >= 5, "{page}");
    let initializer = intake.get("/docs/swagger-initializer.js").send().await.unwrap();
    let initializer = initializer.text().await.unwrap();
    assert!(initializer.contains("\"/openapi.json\""), "{initializer}");
    assert!(initializer.contains("\"validatorUrl\": \"none\""), "{initializer}");
    let missing = intake.get("/docs/nothing.js").send().await.unwrap();
    assert_eq!(missing.status(), 404);
    assert_eq!(body_of(missing).await["path"], Value::from("/docs/nothing.js"));
}
