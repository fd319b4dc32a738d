"""Where facts are kept: the database, its schema's history, its change feed, and what seals secrets.

Words: the *database* is SQLite in the home folder or PostgreSQL; a *topic* names what changed
("keys", "engines"); the *feed* tells processes that a topic changed; the *keyring* seals secrets and
is never kept with the data or in a backup.

Rule: tables live with the package that owns their meaning (``accounts/tables.py`` and so on); here
is only what all of them share. Import the modules themselves: this package imports none, so that a
process pays only for what it uses.
"""
