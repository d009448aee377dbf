"""The other protocol of the server: gRPC, on a port of its own.

A call is read into the same ``Call`` that a request over HTTP is, and means the same operation.
``methods`` says which and how, ``shapes`` turns messages into the JSON of HTTP and back, ``core``
answers a call, whatever brought it: ``grpcio`` or ``http2``.
"""
