use ::qdrant_client::qdrant::quantization_config::Quantization;
use ::qdrant_client::qdrant::*;
use ::qdrant_client::{Payload, Qdrant};
use serde_json::json;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = format!("http://127.0.0.1:{}", std::env::args().nth(2).unwrap());
    let client = Qdrant::from_url(&url).build()?;
    println!("{:?}", client.health_check().await?);
    let _ = client.delete_collection("rust").await;
    client
        .create_collection(
            CreateCollectionBuilder::new("rust")
                .vectors_config(VectorParamsBuilder::new(4, Distance::Cosine))
                .quantization_config(
                    ScalarQuantizationBuilder::default()
                        .r#type(QuantizationType::Int8.into())
                        .quantile(0.99)
                        .always_ram(true),
                ),
        )
        .await?;
    let points: Vec<PointStruct> = (0..100u64)
        .map(|n| {
            let payload: Payload = json!({"city": if n % 2 == 0 {"Berlin"} else {"Oslo"}, "n": n, "deep": {"x": [1.5, null, true]}}).try_into().unwrap();
            PointStruct::new(n, vec![1.0, 2.0, 3.0, n as f32], payload)
        })
        .collect();
    let done = client
        .upsert_points(UpsertPointsBuilder::new("rust", points).wait(true))
        .await?;
    assert_eq!(done.result.unwrap().status, UpdateStatus::Completed as i32);
    let params = SearchParamsBuilder::default().quantization(
        QuantizationSearchParamsBuilder::default()
            .ignore(false)
            .rescore(true)
            .oversampling(2.0),
    );
    let found = client
        .query(
            QueryPointsBuilder::new("rust")
                .query(vec![1.0, 2.0, 3.0, 40.0])
                .limit(3)
                .filter(Filter::must([Condition::matches(
                    "city",
                    "Berlin".to_string(),
                )]))
                .params(params.clone())
                .with_payload(true)
                .with_vectors(true),
        )
        .await?;
    assert_eq!(found.result.len(), 3);
    println!("{:?}", found.result[0]);
    assert_eq!(
        found.result[0].payload["city"].as_str().map(|s| s.as_str()),
        Some("Berlin")
    );
    let found = client
        .search_points(
            SearchPointsBuilder::new("rust", vec![1.0, 2.0, 3.0, 40.0], 3).params(
                SearchParamsBuilder::default()
                    .quantization(QuantizationSearchParamsBuilder::default().ignore(true)),
            ),
        )
        .await?;
    assert_eq!(found.result.len(), 3);
    let page = client
        .scroll(ScrollPointsBuilder::new("rust").limit(7))
        .await?;
    assert_eq!(page.result.len(), 7);
    assert!(page.next_page_offset.is_some());
    client
        .delete_points(
            DeletePointsBuilder::new("rust")
                .points(PointsIdsList {
                    ids: vec![0.into(), 1.into()],
                })
                .wait(true),
        )
        .await?;
    assert_eq!(
        client
            .count(CountPointsBuilder::new("rust").exact(true))
            .await?
            .result
            .unwrap()
            .count,
        98
    );
    let info = client.collection_info("rust").await?.result.unwrap();
    assert_eq!(info.points_count, Some(98));
    if let Some(Quantization::Scalar(s)) = info
        .config
        .unwrap()
        .quantization_config
        .unwrap()
        .quantization
    {
        assert_eq!(s.quantile, Some(0.99));
    }
    let error = client
        .count(CountPointsBuilder::new("none"))
        .await
        .unwrap_err();
    println!("{error}");
    let made = client.create_snapshot("rust").await?;
    println!("{:?}", made.snapshot_description);
    assert!(client.delete_collection("rust").await?.result);
    println!("main: all");
    Ok(())
}
