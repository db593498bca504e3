"""What the write path and the read path agree on: words, errors, settings, database and vector index."""
