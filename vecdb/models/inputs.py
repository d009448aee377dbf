"""What callers may give, by the name of what it is: the unions that public parameters are typed by.

Whatever takes a struct takes its JSON shape as a dict, and an object of ``qdrant_client.models``,
too (`Given`). What is really in these is checked where it is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeAlias
from uuid import UUID

import numpy as np

from vecdb.models.aliases import AliasOperations
from vecdb.models.cluster import CollectionParamsDiff
from vecdb.models.conditions import Filter
from vecdb.models.config import (
    DenseVectorNameConfig,
    HnswConfigDiff,
    IdTrackerParams,
    OptimizersConfigDiff,
    PayloadStorageParams,
    VectorParams,
    VectorParamsDiff,
    WalConfigDiff,
)
from vecdb.models.documents import Document, TextQuery
from vecdb.models.examples import (
    ContextQuery,
    DiscoverQuery,
    LookupLocation,
    RecommendQuery,
    RelevanceFeedbackQuery,
)
from vecdb.models.formulas import FormulaQuery
from vecdb.models.payload_schema import PayloadSchemaParams, PayloadSchemaType
from vecdb.models.quantization import QuantizationConfig, QuantizationConfigDiff
from vecdb.models.requests import (
    Batch,
    DenseVector,
    FilterSelector,
    FusionQuery,
    MultiVector,
    NamedVector,
    NearestQuery,
    OrderBy,
    OrderByQuery,
    PayloadSelector,
    PayloadSelectorExclude,
    PayloadSelectorInclude,
    PointIdsList,
    PointStruct,
    PointVectors,
    Prefetch,
    QueryRequest,
    RrfQuery,
    SampleQuery,
    SearchParams,
    SearchRequest,
    WithLookup,
)
from vecdb.models.sparse import (
    NamedSparseVector,
    SparseVector,
    SparseVectorNameConfig,
    SparseVectorParams,
)
from vecdb.models.updates import PointsBatch, PointsList, UpdateMode, UpdateOperation


class QdrantModel(Protocol):
    """An object of ``qdrant_client.models``, which is known by this method and never imported."""

    @property
    def model_dump(self) -> Callable[..., dict[str, Any]]:
        """Its fields."""


Given: TypeAlias = Mapping[str, Any] | QdrantModel
IdInput: TypeAlias = int | str | UUID | np.integer[Any]
IdsInput: TypeAlias = Iterable[IdInput] | np.ndarray[Any, Any]
PointInput: TypeAlias = PointStruct | Given
PointsInput: TypeAlias = (
    Batch | Sequence[PointInput] | Iterator[PointInput] | PointsList | PointsBatch | Given
)
UpdateModeInput: TypeAlias = UpdateMode | str
UpdateOperationsInput: TypeAlias = Sequence[UpdateOperation | Given]
PointVectorsInput: TypeAlias = Sequence[PointVectors | Given]
SelectorInput: TypeAlias = IdsInput | PointIdsList | Filter | FilterSelector | Given
ManyVectorsInput: TypeAlias = (
    np.ndarray[Any, Any]
    | Mapping[str, np.ndarray[Any, Any]]
    | Iterable[DenseVector | Mapping[str, DenseVector]]
)
FilterInput: TypeAlias = Filter | Given
QueryVectorInput: TypeAlias = (
    DenseVector
    | MultiVector
    | SparseVector
    | Document
    | tuple[str, DenseVector | MultiVector | SparseVector | Document]
    | NamedVector
    | NamedSparseVector
    | Given
)
QueryInput: TypeAlias = (
    QueryVectorInput
    | IdInput
    | NearestQuery
    | RecommendQuery
    | DiscoverQuery
    | ContextQuery
    | RelevanceFeedbackQuery
    | OrderByQuery
    | SampleQuery
    | FusionQuery
    | RrfQuery
    | FormulaQuery
    | TextQuery
)
PrefetchInput: TypeAlias = Prefetch | Given | Sequence[Prefetch | Given]
LookupInput: TypeAlias = LookupLocation | Given
OrderByInput: TypeAlias = str | OrderBy | Given
SearchParamsInput: TypeAlias = SearchParams | Given
SearchRequestsInput: TypeAlias = Sequence[SearchRequest | Given]
QueryRequestsInput: TypeAlias = Sequence[QueryRequest | Given]
AliasOperationsInput: TypeAlias = Sequence[AliasOperations | Given]
WithPayloadInput: TypeAlias = (
    bool | Sequence[str] | PayloadSelector | PayloadSelectorInclude | PayloadSelectorExclude | Given
)
WithVectorsInput: TypeAlias = bool | Sequence[str]
WithLookupInput: TypeAlias = str | WithLookup | Given
VectorNameInput: TypeAlias = DenseVectorNameConfig | SparseVectorNameConfig | Given
VectorsConfigInput: TypeAlias = VectorParams | Mapping[str, VectorParams | Given] | Given
SparseVectorsConfigInput: TypeAlias = Mapping[str, SparseVectorParams | Given | None] | Given
VectorsConfigDiffInput: TypeAlias = (
    VectorParamsDiff | Mapping[str, VectorParamsDiff | Given] | Given
)
QuantizationInput: TypeAlias = QuantizationConfig | Given
QuantizationDiffInput: TypeAlias = QuantizationConfigDiff | str | Given
OptimizersInput: TypeAlias = OptimizersConfigDiff | Given
HnswInput: TypeAlias = HnswConfigDiff | Given
CollectionParamsDiffInput: TypeAlias = CollectionParamsDiff | Given
PayloadStorageInput: TypeAlias = PayloadStorageParams | Given
IdTrackerInput: TypeAlias = IdTrackerParams | Given
WalInput: TypeAlias = WalConfigDiff | Given
FieldSchemaInput: TypeAlias = PayloadSchemaType | PayloadSchemaParams | str | Given
