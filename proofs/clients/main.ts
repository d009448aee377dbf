// Qdrant's client for JavaScript over gRPC: all that a program does with a quantized collection.
import assert from "node:assert/strict";
import { QdrantClient } from "@qdrant/js-client-grpc";

const [, grpcPort] = process.argv.slice(2).map(Number);
const client = new QdrantClient({ host: "127.0.0.1", port: grpcPort, checkCompatibility: false });
const collections = client.api("collections");
const points = client.api("points");
const collectionName = "typescript";
const near = [1, 2, 3, 40];

await collections.create({
  collectionName,
  vectorsConfig: { config: { case: "params", value: { size: 4n, distance: 1 } } },
  quantizationConfig: {
    quantization: { case: "scalar", value: { type: 1, quantile: 0.99, alwaysRam: true } },
  },
});

const written = await points.upsert({
  collectionName,
  wait: true,
  points: Array.from({ length: 100 }, (_, n) => ({
    id: { pointIdOptions: { case: "num", value: BigInt(n) } },
    vectors: {
      vectorsOptions: {
        case: "vector",
        value: { vector: { case: "dense", value: { data: [1, 2, 3, n] } } },
      },
    },
    payload: {
      city: { kind: { case: "stringValue", value: n % 2 ? "Oslo" : "Berlin" } },
      n: { kind: { case: "integerValue", value: BigInt(n) } },
    },
  })),
});
assert.equal(written.result?.status, 2); // completed

const queried = await points.query({
  collectionName,
  query: {
    variant: { case: "nearest", value: { variant: { case: "dense", value: { data: near } } } },
  },
  limit: 3n,
  filter: {
    must: [
      {
        conditionOneOf: {
          case: "field",
          value: { key: "city", match: { matchValue: { case: "keyword", value: "Berlin" } } },
        },
      },
    ],
  },
  params: { quantization: { rescore: true, oversampling: 2 } },
  withPayload: { selectorOptions: { case: "enable", value: true } },
});
assert.equal(queried.result.length, 3);
assert.equal(queried.result[0]?.payload.city?.kind.value, "Berlin");

const searched = await points.search({
  collectionName,
  vector: near,
  limit: 3n,
  params: { quantization: { ignore: true } },
});
assert.equal(searched.result.length, 3);

await points.delete({
  collectionName,
  wait: true,
  points: {
    pointsSelectorOneOf: {
      case: "points",
      value: { ids: [{ pointIdOptions: { case: "num", value: 0n } }] },
    },
  },
});
assert.equal((await points.count({ collectionName, exact: true })).result?.count, 99n);
await assert.rejects(points.count({ collectionName: "none" }), /doesn't exist/);
await collections.delete({ collectionName });
console.log("main: all");
process.exit(0); // the client keeps its connection
