"""Everything that the console does, as JSON operations under ``/api`` that programmes can call too.

Words: an *operation* is one typed record (method, path, permission, request, answer, handler); a *caller*
is a person with a role, known by the cookie of a session or by an API key with the scope ``manage``; a
*call* is one caller's use of one operation.

Rule: the table of operations (``table.py``) is the only source: the router, the permissions, the OpenAPI
document, the console's forms and the reference page are all made from it. What the table does not allow
is refused (fails closed), and each change leaves an entry in the audit log in its own transaction.
"""
