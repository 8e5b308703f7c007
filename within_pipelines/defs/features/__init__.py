"""Definitions of the group features."""
