"""How collections are laid out on a Qdrant server: vectors, indexes, and what an operator chooses for a cluster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from qdrant_client import models

from adapters import qdrant_points as points

STRONG = models.WriteOrdering.STRONG
Quantization = Literal["none", "scalar", "binary", "product"]
_TENANTS = ("tenant", "owner")  # each search names one: the server keeps what is theirs together
_INDEXES: dict[points.IndexKind, Any] = {
    "keyword": models.PayloadSchemaType.KEYWORD,
    "integer": models.PayloadSchemaType.INTEGER,
    "float": models.PayloadSchemaType.FLOAT,
    "words": models.TextIndexParams(
        type=models.TextIndexType.TEXT, tokenizer=models.TokenizerType.WORD, lowercase=True
    ),
}
# The full vectors stay beside the small ones, which are what is kept in memory.
_QUANTIZATION: dict[Quantization, Any] = {
    "none": None,
    "scalar": models.ScalarQuantization(
        scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8, quantile=0.99, always_ram=True)
    ),
    "binary": models.BinaryQuantization(binary=models.BinaryQuantizationConfig(always_ram=True)),
    "product": models.ProductQuantization(
        product=models.ProductQuantizationConfig(compression=models.CompressionRatio.X16, always_ram=True)
    ),
}


@dataclass(frozen=True)
class Layout:
    """Of collections that are made from now on; those that are there stay as they are. None is the server's choice.

    `write_consistency` is how many replicas must have a write before it is done: all of them unless something is said,
    since a read may go to any.
    """

    shards: int | None = None
    replicas: int | None = None
    write_consistency: int | None = None
    quantization: Quantization = "none"  # of dense vectors
    on_disk: bool = False  # vectors, their graph and payloads, rather than in memory

    def collection(self) -> dict[str, Any]:
        """The arguments of `create_collection`; dense vectors are added by `dense` when their model is known."""
        sparse = models.SparseVectorParams(
            modifier=models.Modifier.IDF, index=models.SparseIndexParams(on_disk=True) if self.on_disk else None
        )
        return {
            "vectors_config": {},
            "sparse_vectors_config": {points.SPARSE_VECTOR: sparse},
            "shard_number": self.shards,
            "replication_factor": self.replicas,
            "write_consistency_factor": self.write_consistency or self.replicas,
            "on_disk_payload": True if self.on_disk else None,
            "hnsw_config": models.HnswConfigDiff(on_disk=True) if self.on_disk else None,
            "quantization_config": _QUANTIZATION[self.quantization],
        }


def dense(dimensions: int) -> models.DenseVectorNameConfig:
    """A vector for each piece of a text, of which the nearest counts."""
    nearest = models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM)
    return models.DenseVectorNameConfig(
        dense=models.DenseVectorConfig(size=dimensions, distance=models.Distance.COSINE, multivector_config=nearest)
    )


def index_of(field: str, kind: points.IndexKind) -> Any:
    if field in _TENANTS:
        return models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, is_tenant=True)
    return _INDEXES[kind]
