package main

import (
	"context"
	"fmt"
	"os"
	"strconv"

	"github.com/qdrant/go-client/qdrant"
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func main() {
	port := must(strconv.Atoi(os.Args[2]))
	ctx := context.Background()
	client := must(qdrant.NewClient(&qdrant.Config{Host: "127.0.0.1", Port: port}))
	fmt.Println(must(client.HealthCheck(ctx)))
	err := client.CreateCollection(ctx, &qdrant.CreateCollection{
		CollectionName:     "go",
		VectorsConfig:      qdrant.NewVectorsConfig(&qdrant.VectorParams{Size: 4, Distance: qdrant.Distance_Cosine}),
		QuantizationConfig: qdrant.NewQuantizationScalar(&qdrant.ScalarQuantization{Type: qdrant.QuantizationType_Int8, Quantile: qdrant.PtrOf(float32(0.99)), AlwaysRam: qdrant.PtrOf(true)}),
	})
	if err != nil {
		panic(err)
	}
	points := []*qdrant.PointStruct{}
	for n := 0; n < 100; n++ {
		city := "Berlin"
		if n%2 == 1 {
			city = "Oslo"
		}
		points = append(points, &qdrant.PointStruct{Id: qdrant.NewIDNum(uint64(n)), Vectors: qdrant.NewVectors(1, 2, 3, float32(n)), Payload: qdrant.NewValueMap(map[string]any{"city": city, "n": n, "deep": map[string]any{"x": []any{1.5, nil, true}}})})
	}
	done := must(client.Upsert(ctx, &qdrant.UpsertPoints{CollectionName: "go", Points: points, Wait: qdrant.PtrOf(true)}))
	fmt.Println(done.Status)
	found := must(client.Query(ctx, &qdrant.QueryPoints{CollectionName: "go", Query: qdrant.NewQuery(1, 2, 3, 40), Limit: qdrant.PtrOf(uint64(3)),
		Filter:      &qdrant.Filter{Must: []*qdrant.Condition{qdrant.NewMatch("city", "Berlin")}},
		Params:      &qdrant.SearchParams{Quantization: &qdrant.QuantizationSearchParams{Rescore: qdrant.PtrOf(true), Oversampling: qdrant.PtrOf(2.0)}},
		WithPayload: qdrant.NewWithPayload(true), WithVectors: qdrant.NewWithVectors(true)}))
	if len(found) != 3 || found[0].Payload["city"].GetStringValue() != "Berlin" {
		panic(found)
	}
	fmt.Println(found[0])
	must(client.Delete(ctx, &qdrant.DeletePoints{CollectionName: "go", Points: qdrant.NewPointsSelector(qdrant.NewIDNum(0), qdrant.NewIDNum(1)), Wait: qdrant.PtrOf(true)}))
	count := must(client.Count(ctx, &qdrant.CountPoints{CollectionName: "go", Exact: qdrant.PtrOf(true)}))
	if count != 98 {
		panic(count)
	}
	_, err = client.Count(ctx, &qdrant.CountPoints{CollectionName: "none"})
	fmt.Println(err)
	fmt.Println(must(client.GetCollectionInfo(ctx, "go")).GetStatus(), must(client.ListCollections(ctx)))
	if err := client.DeleteCollection(ctx, "go"); err != nil {
		panic(err)
	}
	fmt.Println("main: all")
}
