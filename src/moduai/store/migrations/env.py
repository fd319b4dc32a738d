"""Alembic's environment: runs on the connection, in the transaction, that ``store.migrate`` opened."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], transactional_ddl=True)
context.run_migrations()
