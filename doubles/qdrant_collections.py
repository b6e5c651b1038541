"""The collections of the double, each a shard of Qdrant Edge: the same engine, so the same filters and orders."""

from __future__ import annotations

import json
import re
import shutil
from datetime import date
from pathlib import Path
from typing import Any

import qdrant_edge as edge
from qdrant_client import models

from doubles import qdrant_vectors
from doubles.qdrant_errors import QdrantError, bad_request, invalid, not_found, not_here
from doubles.qdrant_filters import edge_filter, point_id, selected, wanted_indexes

_KINDS = {
    "keyword": edge.PayloadSchemaType.Keyword,
    "integer": edge.PayloadSchemaType.Integer,
    "float": edge.PayloadSchemaType.Float,
    "bool": edge.PayloadSchemaType.Bool,
    "text": edge.PayloadSchemaType.Text,
}
_NAMES = {str(kind): name for name, kind in _KINDS.items()}
_MODES = {
    None: edge.UpdateMode.Upsert,
    models.UpdateMode.UPSERT: edge.UpdateMode.Upsert,
    models.UpdateMode.INSERT_ONLY: edge.UpdateMode.InsertOnly,
    models.UpdateMode.UPDATE_ONLY: edge.UpdateMode.UpdateOnly,
}
_TOKENIZERS = {
    models.TokenizerType.WORD: edge.TokenizerType.Word,
    models.TokenizerType.WHITESPACE: edge.TokenizerType.Whitespace,
    models.TokenizerType.PREFIX: edge.TokenizerType.Prefix,
    models.TokenizerType.MULTILINGUAL: edge.TokenizerType.Multilingual,
}
_BEING_MADE = ".new-"


class Collections:
    """All collections in one folder; what was answered is on disk, whatever then happens to the process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        for torso in folder.glob(f"{_BEING_MADE}*"):
            shutil.rmtree(torso)
        self._shards = {path.name: Collection(path) for path in folder.iterdir() if path.is_dir()}

    def close(self) -> None:
        for collection in self._shards.values():
            collection.close()

    def __contains__(self, name: str) -> bool:
        return name in self._shards

    def __getitem__(self, name: str) -> Collection:
        if name not in self._shards:
            raise not_found(name)
        return self._shards[name]

    def create(self, name: str, wanted: models.CreateCollection) -> None:
        if name in self._shards:
            raise QdrantError(409, f"Wrong input: Collection `{name}` already exists!")
        if not re.fullmatch(r"[\w-]{1,200}", name):
            raise QdrantError(422, f"Validation error in path parameters: [name: value invalid: {name!r}]")
        if wanted.vectors:
            raise not_here("dense vectors")
        sparse = {
            vector: edge.EdgeSparseVectorParams(modifier=edge.Modifier.Idf if params.modifier == "idf" else None)
            for vector, params in (wanted.sparse_vectors or {}).items()
        }
        draft = self._folder / f"{_BEING_MADE}{name}"
        draft.mkdir()
        config = wanted.model_dump(mode="json", exclude_none=True) | {"vectors": {}}
        _config_of(self._folder / name).write_text(json.dumps(config))
        edge.EdgeShard.create(str(draft), edge.EdgeConfig(sparse_vectors=sparse)).close()
        self._shards[name] = Collection(draft.rename(self._folder / name))


class Collection:
    """One collection. Nothing in it waits, so each operation is whole before the next begins, as in Qdrant's shards."""

    def __init__(self, path: Path) -> None:
        self._shard = edge.EdgeShard.load(str(path))
        self._file = _config_of(path)
        self.config: dict[str, Any] = json.loads(self._file.read_text())  # as it was asked for

    def close(self) -> None:
        self._shard.close()

    @property
    def points(self) -> int:
        return int(self._shard.info().points_count)

    @property
    def indexes(self) -> dict[str, str]:
        """The kind of each payload index."""
        return {field: _NAMES[str(index.data_type)] for field, index in self._shard.info().payload_schema.items()}

    def is_tenant(self, field: str) -> bool:
        params = self._shard.info().payload_schema[field].params
        return bool(getattr(params, "is_tenant", None))

    def create_vector(self, name: str, wanted: models.DenseVectorNameConfig | models.SparseVectorNameConfig) -> None:
        """Also if it is there already, the same."""
        with qdrant_vectors.in_words():
            self._shard.update(qdrant_vectors.create_operation(name, wanted))
        if isinstance(wanted, models.DenseVectorNameConfig):
            known = self.config["vectors"].get(name, {})
            self.config["vectors"][name] = known | wanted.dense.model_dump(mode="json", exclude_none=True)
        else:
            self.config["sparse_vectors"][name] = wanted.sparse.model_dump(mode="json", exclude_none=True)
        self._keep()

    def drop_vector(self, name: str) -> None:
        with qdrant_vectors.in_words():
            self._shard.update(edge.UpdateOperation.delete_vector_name(name))
        self.config["vectors"].pop(name, None)
        self._keep()

    def change_vectors(self, wanted: models.UpdateCollection) -> None:
        for name, changed in (wanted.vectors or {}).items():
            if name not in self.config["vectors"]:
                raise QdrantError(400, f"Wrong input: Not existing vector name error: {name}")
            self.config["vectors"][name] |= changed.model_dump(mode="json", exclude_none=True)
        self._keep()

    def _keep(self) -> None:
        draft = self._file.with_suffix(".new")
        draft.write_text(json.dumps(self.config))
        draft.replace(self._file)

    def index(self, wanted: models.CreateFieldIndex) -> None:
        """Also if it is there already."""
        self._shard.update(edge.UpdateOperation.create_field_index(wanted.field_name, _schema(wanted.field_schema)))

    def upsert(self, wanted: models.PointsList) -> None:
        if wanted.update_filter is not None:
            raise not_here("update_filter")
        new = [
            edge.Point(point_id(point.id), qdrant_vectors.named(point.vector), point.payload or {})
            for point in wanted.points
        ]
        with qdrant_vectors.in_words():
            self._shard.update(edge.UpdateOperation.upsert_points(new, update_mode=_MODES[wanted.update_mode]))

    def update_vectors(self, wanted: models.UpdateVectors) -> None:
        if wanted.update_filter is not None:
            raise not_here("update_filter")
        new = [edge.PointVectors(point_id(point.id), qdrant_vectors.named(point.vector)) for point in wanted.points]
        with qdrant_vectors.in_words():
            self._shard.update(edge.UpdateOperation.update_vectors(new))

    def delete(self, wanted: models.FilterSelector | models.PointIdsList) -> None:
        if isinstance(wanted, models.PointIdsList):
            operation = edge.UpdateOperation.delete_points([point_id(given) for given in wanted.points])
        else:
            operation = edge.UpdateOperation.delete_points_by_filter(edge_filter(wanted.filter) or edge.Filter())
        self._shard.update(operation)

    def count(self, wanted: models.CountRequest) -> int:
        exact = wanted.exact is not False
        return int(self._shard.count(edge.CountRequest(exact=exact, filter=edge_filter(wanted.filter))))

    def query(self, wanted: models.QueryRequest) -> list[dict[str, Any]]:
        request = qdrant_vectors.nearest(wanted)
        with qdrant_vectors.in_words():
            found = self._shard.query(request)
        return [_record(point) | {"version": point.version, "score": point.score} for point in found]

    def set_payload(self, wanted: models.SetPayload) -> None:
        if (where := edge_filter(wanted.filter)) is not None:
            operation = edge.UpdateOperation.set_payload_by_filter(where, wanted.payload, wanted.key)
        elif wanted.points is not None:
            ids = [point_id(given) for given in wanted.points]
            operation = edge.UpdateOperation.set_payload(ids, wanted.payload, wanted.key)
        else:
            raise bad_request("Expected payload operation with either points or filter")
        self._shard.update(operation)

    def retrieve(self, wanted: models.PointRequest) -> list[dict[str, Any]]:
        ids = [point_id(given) for given in wanted.ids]
        with qdrant_vectors.in_words():
            found = self._shard.retrieve(ids, selected(wanted.with_payload), wanted.with_vector or False)
        return [_record(record) for record in found]

    def scroll(self, wanted: models.ScrollRequest) -> dict[str, Any]:
        order = models.OrderBy(key=wanted.order_by) if isinstance(wanted.order_by, str) else wanted.order_by
        if order is not None and wanted.offset is not None:
            raise bad_request("Cannot use an `offset` when using `order_by`. Use `order_by.start_from` instead")
        if wanted.limit is not None and wanted.limit < 1:
            raise invalid(f"limit: value {wanted.limit} invalid, must be 1 or larger")
        request = edge.ScrollRequest(
            offset=wanted.offset,
            limit=10 if wanted.limit is None else wanted.limit,
            filter=edge_filter(wanted.filter),
            with_payload=selected(wanted.with_payload),
            with_vector=wanted.with_vector or False,
            order_by=_order(order) if order else None,
        )
        with qdrant_vectors.in_words():
            records, after = self._shard.scroll(request)
        return {
            "points": [_record(record) for record in records],
            "next_page_offset": None if order or after is None else str(after),
        }

    def check_indexed(self, where: models.Filter | None) -> None:
        """As a server in strict mode does."""
        there = self.indexes
        for field, kinds in wanted_indexes(where):
            if there.get(field) not in kinds:
                raise bad_request(
                    f'Index required but not found for "{field}" of one of the following types: [{", ".join(kinds)}]. '
                    "Help: Create an index for this key or use a different filter."
                )


def _config_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _schema(wanted: Any) -> Any:
    if isinstance(wanted, models.TextIndexParams):
        tokenizer = _TOKENIZERS[wanted.tokenizer or models.TokenizerType.WORD]
        return edge.TextIndexParams(tokenizer=tokenizer, lowercase=wanted.lowercase)
    if isinstance(wanted, models.KeywordIndexParams):
        return edge.KeywordIndexParams(is_tenant=wanted.is_tenant, on_disk=wanted.on_disk)
    name = str(getattr(wanted, "type", wanted))
    if name not in _KINDS:
        raise not_here(f"the index {wanted}")
    return _KINDS[name]


def _order(order: models.OrderBy) -> edge.OrderBy:
    direction = edge.Direction.Desc if order.direction == models.Direction.DESC else edge.Direction.Asc
    if isinstance(order.start_from, date):
        raise not_here("an order that starts from a date")
    return edge.OrderBy(order.key, direction, start_from=order.start_from)


def _record(record: Any) -> dict[str, Any]:
    shown = {"id": record.id if isinstance(record.id, int) else str(record.id), "payload": record.payload}
    shown |= {"vector": qdrant_vectors.shown(record.vector)} if record.vector else {}
    return shown | ({"order_value": record.order_value} if record.order_value is not None else {})
