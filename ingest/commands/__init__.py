"""The commands of `python -m ingest` that need more than a few lines: `configure` adds the arguments, `run` acts."""
