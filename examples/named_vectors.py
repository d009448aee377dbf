"""Give each point two vectors, of different sizes and metrics, and search by either.

Run it with ``python examples/named_vectors.py``.
"""

import numpy as np

import vecdb
from vecdb import models


def main() -> None:
    rng = np.random.default_rng(3)
    count = 1000
    titles = rng.standard_normal((count, 64)).astype(np.float32)
    images = rng.standard_normal((count, 256)).astype(np.float32)

    with vecdb.VecDB(":memory:") as db:
        db.create_collection(
            "articles",
            {
                "title": {"size": 64, "distance": "Cosine"},
                # Each name may have its own place and its own quantization.
                "image": {
                    "size": 256,
                    "distance": "Euclid",
                    "on_disk": True,
                    "quantization_config": {"scalar": {"type": "int8", "always_ram": True}},
                },
            },
        )
        articles = db.collection("articles")
        articles.upload_collection({"title": titles, "image": images}, ids=np.arange(count))

        # A point need not have every vector: this one has no image.
        articles.upsert(
            [{"id": 5000, "vector": {"title": titles[7] * 2}, "payload": {"draft": True}}]
        )
        by_title = articles.query_points(titles[7], using="title", limit=2).points
        print("title like that of 7:", [(hit.id, round(hit.score, 3)) for hit in by_title])

        by_image = articles.query_points(7, using="image", limit=2).points
        print("image like that of 7, itself left out:", [hit.id for hit in by_image])

        without = models.Filter(must_not=[models.HasVectorCondition(has_vector="image")])
        print("articles without an image:", [record.id for record in articles.scroll(without)[0]])

        articles.update_vectors([{"id": 5000, "vector": {"image": images[7]}}])
        nearest = articles.query_points(7, using="image", limit=1).points[0]
        print(f"now the nearest image to that of 7 is {nearest.id}'s, at distance {nearest.score}")


if __name__ == "__main__":
    main()
