"""The verbs as coroutines: `AsyncVecDB` and `AsyncCollection`, over the ordinary ones."""
