// The eight examples of Qdrant's page on quantization: five collections, three searches of each.
use ::qdrant_client::qdrant::quantization_config::Quantization;
use ::qdrant_client::qdrant::vectors_config::Config;
use ::qdrant_client::qdrant::*;

pub const NAME: &str = "{collection_name}"; // as on the page, braces and all

fn collection(size: u64, quantization: Quantization, threshold: Option<u64>) -> CreateCollection {
    CreateCollection {
        collection_name: NAME.to_string(),
        vectors_config: Some(VectorsConfig {
            config: Some(Config::Params(VectorParams {
                size,
                distance: Distance::Cosine.into(),
                ..Default::default()
            })),
        }),
        optimizers_config: threshold.map(|kilobytes| OptimizersConfigDiff {
            memmap_threshold: Some(kilobytes),
            ..Default::default()
        }),
        quantization_config: Some(QuantizationConfig {
            quantization: Some(quantization),
        }),
        ..Default::default()
    }
}

fn scalar(quantile: Option<f32>, always_ram: bool) -> Quantization {
    Quantization::Scalar(ScalarQuantization {
        r#type: QuantizationType::Int8.into(),
        quantile,
        always_ram: Some(always_ram),
        ..Default::default()
    })
}

pub fn collections() -> Vec<(&'static str, u64, CreateCollection)> {
    let binary = Quantization::Binary(BinaryQuantization {
        always_ram: Some(true),
        ..Default::default()
    });
    let product = Quantization::Product(ProductQuantization {
        compression: CompressionRatio::X16.into(),
        always_ram: Some(true),
        ..Default::default()
    });
    let in_memory = scalar(None, true);
    let on_disk = scalar(None, false);
    vec![
        ("scalar", 768, collection(768, scalar(Some(0.99), true), None)),
        ("binary", 1536, collection(1536, binary, None)),
        ("product", 768, collection(768, product, None)),
        ("originals on disk", 768, collection(768, in_memory, Some(20000))),
        ("all on disk", 768, collection(768, on_disk, Some(20000))),
    ]
}

pub fn searches() -> Vec<(&'static str, SearchParams)> {
    let params = |quantization| SearchParams {
        quantization: Some(quantization),
        ..Default::default()
    };
    let oversampled = QuantizationSearchParams {
        ignore: Some(false),
        rescore: Some(true),
        oversampling: Some(2.0),
    };
    let without_codes = QuantizationSearchParams {
        ignore: Some(true),
        ..Default::default()
    };
    let without_rescoring = QuantizationSearchParams {
        rescore: Some(false),
        ..Default::default()
    };
    vec![
        ("with oversampling", params(oversampled)),
        ("without codes", params(without_codes)),
        ("without rescoring", params(without_rescoring)),
    ]
}

pub fn vector(size: u64, n: u64) -> Vec<f32> {
    (1..=size)
        .map(|at| (((n + 1) * at) as f32 * 1.7).sin())
        .collect()
}

pub fn check_info(wanted: &CreateCollection, info: CollectionInfo) {
    let config = info.config.unwrap();
    assert_eq!(config.quantization_config, wanted.quantization_config);
    let threshold = |config: Option<OptimizersConfigDiff>| config.and_then(|c| c.memmap_threshold);
    assert_eq!(
        threshold(config.optimizer_config),
        threshold(wanted.optimizers_config.clone())
    );
}

pub fn check_found(found: &[ScoredPoint]) {
    assert_eq!(found.len(), 10);
    assert_eq!(found[0].id, Some(7.into()));
    assert!((found[0].score - 1.0).abs() < 0.01, "{}", found[0].score);
}
