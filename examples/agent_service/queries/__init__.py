"""The queries, one file for each resource; every one is filtered by its tenant."""
