// The page by the last client that has what it calls: `client::QdrantClient`, with messages.
#![allow(deprecated, clippy::needless_update)]
mod page;
use page::{check_found, check_info, collections, searches, vector, NAME};
use ::qdrant_client::client::{Payload, QdrantClient};
use ::qdrant_client::qdrant::{PointStruct, SearchPoints};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let port = std::env::args().nth(2).unwrap();
    let client = QdrantClient::from_url(&format!("http://localhost:{port}")).build()?;
    for (what, size, wanted) in collections() {
        client.create_collection(&wanted).await?;
        check_info(&wanted, client.collection_info(NAME).await?.result.unwrap());
        let points: Vec<_> = (0..20)
            .map(|n| PointStruct::new(n, vector(size, n), Payload::new()))
            .collect();
        client
            .upsert_points_blocking(NAME, None, points, None)
            .await?;
        for (_, params) in searches() {
            let found = client
                .search_points(&SearchPoints {
                    collection_name: NAME.to_string(),
                    vector: vector(size, 7),
                    params: Some(params),
                    limit: 10,
                    ..Default::default()
                })
                .await?;
            check_found(&found.result);
        }
        assert!(client.delete_collection(NAME).await?.result);
        println!("collection: {what}");
    }
    for (what, _) in searches() {
        println!("search: {what}");
    }
    println!("page: all");
    Ok(())
}
