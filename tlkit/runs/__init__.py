"""Whole paths: from a module and data to a saved run, its exports and its publication."""
