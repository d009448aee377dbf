// The page by today's client: its builders, and `query` in the place of `search`.
#![allow(deprecated)]
mod page;
use page::{check_found, check_info, collections, searches, vector, NAME};
use ::qdrant_client::qdrant::{PointStruct, QueryPointsBuilder, UpsertPointsBuilder};
use ::qdrant_client::{Payload, Qdrant};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let port = std::env::args().nth(2).unwrap();
    let client = Qdrant::from_url(&format!("http://localhost:{port}")).build()?;
    for (what, size, wanted) in collections() {
        client.create_collection(wanted.clone()).await?;
        check_info(&wanted, client.collection_info(NAME).await?.result.unwrap());
        let points: Vec<_> = (0..20)
            .map(|n| PointStruct::new(n, vector(size, n), Payload::new()))
            .collect();
        client
            .upsert_points(UpsertPointsBuilder::new(NAME, points).wait(true))
            .await?;
        for (_, params) in searches() {
            let query = QueryPointsBuilder::new(NAME)
                .query(vector(size, 7))
                .params(params)
                .limit(10);
            check_found(&client.query(query).await?.result);
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
