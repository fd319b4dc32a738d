"""Who may ask: organisations, their API keys, and the principal that a request is made by.

Words: an *organisation* owns *keys*; a key has a *subject* (the opaque id of the person or
programme that uses it), *scopes* (what it may do) and a *prefix* (its first 12 characters, for
people to tell keys apart); a *principal* is what the gateway knows of a request's author.

Rule: a key is shown once, when it is made, and kept as a digest only; what is not known, is expired
or is revoked is refused (fails closed). The modules are imported by name; this package imports none.
"""
