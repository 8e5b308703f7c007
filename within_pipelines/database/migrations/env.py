"""Alembic runs migrations on the connection that `Database.upgrade` hands over."""

from alembic import context

from within_pipelines.database import BaseModel

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=BaseModel.metadata, render_as_batch=True, transaction_per_migration=False)
with context.begin_transaction():
    context.run_migrations()
