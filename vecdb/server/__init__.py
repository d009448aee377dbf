"""A server over one database: Qdrant's interfaces, for programs in any language.

``vecdb serve DIR`` starts it. An operation (``operations``) knows no protocol: it takes a ``Call``
and returns plain values. ``routes`` says which requests mean which operation, ``app`` speaks HTTP,
``grpc`` the other protocol.
"""
