"""Other names of collections: how they are changed, and what comes back."""

from __future__ import annotations

from vecdb.models.reading import Model
from vecdb.models.results import Result


class CreateAlias(Model, frozen=True, kw_only=True):
    collection_name: str
    alias_name: str


class DeleteAlias(Model, frozen=True, kw_only=True):
    alias_name: str


class RenameAlias(Model, frozen=True, kw_only=True):
    old_alias_name: str
    new_alias_name: str


class CreateAliasOperation(Model, frozen=True, kw_only=True):
    create_alias: CreateAlias


class DeleteAliasOperation(Model, frozen=True, kw_only=True):
    delete_alias: DeleteAlias


class RenameAliasOperation(Model, frozen=True, kw_only=True):
    rename_alias: RenameAlias


AliasOperations = CreateAliasOperation | DeleteAliasOperation | RenameAliasOperation


class AliasDescription(Result, forbid_unknown_fields=True):
    alias_name: str
    collection_name: str


class CollectionsAliasesResponse(Result, forbid_unknown_fields=True):
    aliases: list[AliasDescription]
