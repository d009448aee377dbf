"""Other names of collections: how they are changed, and what comes back."""

from __future__ import annotations

from vecdb.models.reading import Model
from vecdb.models.results import Result


class CreateAlias(Model, frozen=True, kw_only=True):
    """Give a collection another name. An alias of that name is moved to it."""

    collection_name: str
    alias_name: str


class DeleteAlias(Model, frozen=True, kw_only=True):
    """Take another name away; the collection stays."""

    alias_name: str


class RenameAlias(Model, frozen=True, kw_only=True):
    """Give an alias another name."""

    old_alias_name: str
    new_alias_name: str


class CreateAliasOperation(Model, frozen=True, kw_only=True):
    """`CreateAlias` as an operation of ``update_collection_aliases``."""

    create_alias: CreateAlias


class DeleteAliasOperation(Model, frozen=True, kw_only=True):
    """`DeleteAlias` as an operation of ``update_collection_aliases``."""

    delete_alias: DeleteAlias


class RenameAliasOperation(Model, frozen=True, kw_only=True):
    """`RenameAlias` as an operation of ``update_collection_aliases``."""

    rename_alias: RenameAlias


AliasOperations = CreateAliasOperation | DeleteAliasOperation | RenameAliasOperation


class AliasDescription(Result, forbid_unknown_fields=True):
    """An alias, and the collection that it stands for."""

    alias_name: str
    collection_name: str


class CollectionsAliasesResponse(Result, forbid_unknown_fields=True):
    """The aliases of a collection, or of all."""

    aliases: list[AliasDescription]
