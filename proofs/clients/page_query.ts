// The page by today's client, which has `query` in the place of `search`.
import { QdrantClient } from "@qdrant/js-client-rest";
import { page } from "./page.js";

const client = new QdrantClient({ host: "localhost", port: Number(process.argv[2]) });
await page(client, async (name, query, params) => (await client.query(name, { query, params })).points);
