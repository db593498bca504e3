"""Qdrant Edge: the vector index of one machine, in the process that serves it."""
