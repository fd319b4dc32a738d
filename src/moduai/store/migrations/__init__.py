"""The schema's history: one module a version, in ``versions``, named by its number.

Rule: append-only. A version that was released is never changed; it names its tables itself instead
of importing today's.
"""
