// The page by the last client that has `search`, which is what the page calls.
import { QdrantClient } from "@qdrant/js-client-rest";
import { page } from "./page.js";

const client = new QdrantClient({ host: "localhost", port: Number(process.argv[2]) });
await page(client, (name, vector, params) => client.search(name, { vector, params }));
