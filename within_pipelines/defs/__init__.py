"""Tell Dagster when each step runs and what the UI shows.

Assets by subject, one folder each. Nothing heavy is imported while definitions load: each asset imports what it calls when it runs. An
asset calls one function of `within_pipelines.pipeline` and returns its result as metadata; data moves through the lake, the derived
tables and the database, never through an I/O manager, so nothing is pickled between steps."""
