"""What was used, by whom: the ledger.

Words: a *row* is what one request used; a *segment* is a file of rows that one worker appends to; the
*loader* moves segments into the database; the *ledger* is the database's usage table.

Rule: every request leaves exactly one row, with no word of what was asked or answered. Rows are
written to a file first, so that no answer waits for a database, and loaded by id, so that a row that
is loaded twice counts once. The modules are imported by name; this package imports none.
"""
