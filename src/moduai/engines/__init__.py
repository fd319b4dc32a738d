"""The engines: what serves the models, on whatever hardware the operator has.

Words: an *engine* is one OpenAI-compatible server, its *record* says what it can do and what it runs on,
a *replica* is one engine as a gateway sees it now (connections, breaker). Rule: what an engine says is
believed only within bounds (time, size, framing), and an engine that fails is left alone for a while.
"""
