// The eight examples of Qdrant's page on quantization: five collections, three searches of each.
import assert from "node:assert/strict";
import type { QdrantClient, Schemas } from "@qdrant/js-client-rest";

type Found = Schemas["ScoredPoint"][];
type Params = Schemas["SearchParams"];
export type Search = (name: string, vector: number[], params: Params) => Promise<Found>;

const NAME = "{collection_name}"; // as on the page, braces and all
const mapped = { memmap_threshold: 20000 };
const scalar = (config: object) => ({ scalar: { type: "int8" as const, ...config } });
const cosine = (size: number) => ({ size, distance: "Cosine" as const });

const COLLECTIONS: Record<string, Schemas["CreateCollection"]> = {
  scalar: {
    vectors: cosine(768),
    quantization_config: scalar({ quantile: 0.99, always_ram: true }),
  },
  binary: { vectors: cosine(1536), quantization_config: { binary: { always_ram: true } } },
  product: {
    vectors: cosine(768),
    quantization_config: { product: { compression: "x16", always_ram: true } },
  },
  "originals on disk": {
    vectors: cosine(768),
    optimizers_config: mapped,
    quantization_config: scalar({ always_ram: true }),
  },
  "all on disk": {
    vectors: cosine(768),
    optimizers_config: mapped,
    quantization_config: scalar({ always_ram: false }),
  },
};

const SEARCHES: Record<string, Params> = {
  "with oversampling": { quantization: { ignore: false, rescore: true, oversampling: 2.0 } },
  "without codes": { quantization: { ignore: true } },
  "without rescoring": { quantization: { rescore: false } },
};

const vector = (size: number, n: number) =>
  Array.from({ length: size }, (_, at) => Math.sin((n + 1) * (at + 1) * 1.7));

export async function page(client: QdrantClient, search: Search): Promise<void> {
  for (const [what, wanted] of Object.entries(COLLECTIONS)) {
    assert.equal(await client.createCollection(NAME, wanted), true);
    const { config } = await client.getCollection(NAME);
    assert.deepEqual(config.quantization_config, wanted.quantization_config);
    const threshold = wanted.optimizers_config?.memmap_threshold ?? null;
    assert.equal(config.optimizer_config.memmap_threshold, threshold);

    const { size } = wanted.vectors as { size: number };
    const points = Array.from({ length: 20 }, (_, id) => ({ id, vector: vector(size, id) }));
    await client.upsert(NAME, { wait: true, points });
    for (const params of Object.values(SEARCHES)) {
      const found = await search(NAME, vector(size, 7), params);
      assert.equal(found.length, 10);
      assert.equal(found[0]?.id, 7);
      assert.ok(Math.abs(found[0].score - 1) < 0.01, `a score of ${found[0].score}`);
    }
    assert.equal(await client.deleteCollection(NAME), true);
    console.log(`collection: ${what}`);
  }
  for (const what of Object.keys(SEARCHES)) console.log(`search: ${what}`);
  console.log("page: all");
}
