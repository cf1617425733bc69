//! The distribution-spec, endpoint by endpoint, against the embedded registry.

use crate::support::{TestRegistry, client};

#[tokio::test]
async fn end_1_says_that_this_is_a_registry() {
    let registry = TestRegistry::start().await;
    let url = format!("http://{}/v2/", registry.address());
    let answer = client().get(url).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 200);
    let version = &answer.headers()["docker-distribution-api-version"];
    assert_eq!(version, "registry/2.0");
}
