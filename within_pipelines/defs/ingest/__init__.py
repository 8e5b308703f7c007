"""Exports become facts: the lake's tables, their quality checks, the landing sensor."""
