"""The gateway: HTTP in, admit, relay, settle, out.

Words: the *lane* is the short way of a model request, an *exchange* is one request on it, a *sink*
is where its answer goes. Rule: nothing on the lane waits for a database, bytes pass through unless
they concern us, and every exchange leaves exactly one ledger row.
"""
