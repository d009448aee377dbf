import static io.qdrant.client.ConditionFactory.matchKeyword;
import static io.qdrant.client.PointIdFactory.id;
import static io.qdrant.client.QueryFactory.nearest;
import static io.qdrant.client.ValueFactory.value;
import static io.qdrant.client.VectorsFactory.vectors;
import static io.qdrant.client.WithPayloadSelectorFactory.enable;

import io.qdrant.client.QdrantClient;
import io.qdrant.client.QdrantGrpcClient;
import io.qdrant.client.grpc.Collections.*;
import io.qdrant.client.grpc.Points.*;
import io.qdrant.client.grpc.Common.Filter;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

public class Main {
  static void check(boolean good, Object found) {
    if (!good) throw new AssertionError(found);
  }

  public static void main(String[] words) throws Exception {
    int port = Integer.parseInt(words[1]);
    QdrantClient client =
        new QdrantClient(QdrantGrpcClient.newBuilder("127.0.0.1", port, false).build());
    client
        .createCollectionAsync(
            CreateCollection.newBuilder()
                .setCollectionName("java")
                .setVectorsConfig(
                    VectorsConfig.newBuilder()
                        .setParams(
                            VectorParams.newBuilder().setSize(4).setDistance(Distance.Cosine)))
                .setQuantizationConfig(
                    QuantizationConfig.newBuilder()
                        .setScalar(
                            ScalarQuantization.newBuilder()
                                .setType(QuantizationType.Int8)
                                .setQuantile(0.99f)
                                .setAlwaysRam(true)))
                .build())
        .get();
    List<PointStruct> points = new ArrayList<>();
    for (int n = 0; n < 100; n++) {
      points.add(
          PointStruct.newBuilder()
              .setId(id(n))
              .setVectors(vectors(1f, 2f, 3f, (float) n))
              .putAllPayload(Map.of("city", value(n % 2 == 0 ? "Berlin" : "Oslo"), "n", value(n)))
              .build());
    }
    UpdateResult done = client.upsertAsync("java", points).get();
    check(done.getStatus() == UpdateStatus.Completed, done);
    QueryPoints query =
        QueryPoints.newBuilder()
            .setCollectionName("java")
            .setQuery(nearest(1f, 2f, 3f, 40f))
            .setLimit(3)
            .setFilter(Filter.newBuilder().addMust(matchKeyword("city", "Berlin")))
            .setParams(
                SearchParams.newBuilder()
                    .setQuantization(
                        QuantizationSearchParams.newBuilder().setRescore(true).setOversampling(2)))
            .setWithPayload(enable(true))
            .build();
    List<ScoredPoint> found = client.queryAsync(query).get();
    check(found.size() == 3, found);
    check(found.get(0).getPayloadMap().get("city").getStringValue().equals("Berlin"), found);
    client.deleteAsync("java", List.of(id(0), id(1))).get();
    check(client.countAsync("java").get() == 98, "count");
    check(client.listCollectionsAsync().get().equals(List.of("java")), "collections");
    try {
      client.countAsync("none").get();
      check(false, "a collection that is not there");
    } catch (java.util.concurrent.ExecutionException error) {
      check(error.getMessage().contains("Collection `none` doesn't exist!"), error);
    }
    client.deleteCollectionAsync("java").get();
    client.close();
    System.out.println("main: all");
  }
}
